#include "config/schema.h"

#include "base/limits.h"
#include "base/sys.h"

/* --- the shapes that rows are written with ------------------------------------------------------
 */

#define SHAPE(...) (&(const struct shape){__VA_ARGS__})
#define PLAIN(of_kind) SHAPE(.kind = (of_kind))
#define INTEGER(least, most) SHAPE(.kind = KIND_INTEGER, .min = (least), .max = (most))
#define DECIMAL(places, most) SHAPE(.kind = KIND_DECIMAL, .digits = (places), .max = (most))
#define DURATION(least, most) SHAPE(.kind = KIND_DURATION, .min = (least), .max = (most))
#define SIZE(least, most) SHAPE(.kind = KIND_SIZE, .min = (least), .max = (most))
#define CHOICE(table)                                                                              \
    SHAPE(.kind = KIND_CHOICE, .choices = (table), .choice_count = ARRAY_LEN(table))
#define SECTION(row) SHAPE(.kind = KIND_SECTION, .section = &(row))
#define LIST(elements) SHAPE(.kind = KIND_LIST, .of = (elements))
#define MAP(name_kind, things) SHAPE(.kind = KIND_MAP, .names = (name_kind), .of = (things))
#define EITHER(one, other) SHAPE(.kind = KIND_EITHER, .of = (one), .otherwise = (other))
#define WORDS(rows) .words = (rows), .word_count = ARRAY_LEN(rows)

#define MS NS_PER_MS
#define S NS_PER_S
#define H (3600 * NS_PER_S)
#define DAY (24 * H)
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)
#define COUNT_MAX INT64_C(1000000000000)

/* Decimal digits behind the point of what is summed as an integer (DESIGN, section 7). */
enum {
    PRICE_DIGITS = 6,  /* USD per million tokens is 10^6 pico-dollars per token */
    BUDGET_DIGITS = 9, /* nano-dollars */
    SHARE_DIGITS = 6,
};
#define PRICE_MAX (INT64_C(1000000) * 1000000)        /* a dollar a token */
#define BUDGET_MAX (INT64_C(1000000000) * 1000000000) /* a milliard dollars */
#define SHARE_MAX INT64_C(1000000)

static const struct choice word_auto[] = {{.name = "auto"}};
static const struct choice word_off[] = {{.name = "off"}};
static const struct choice word_free[] = {{.name = "free"}};

/* In the order of enum dialect. */
static const struct choice dialects[] = {
    {.name = "openai"},  {.name = "openai-responses"}, {.name = "azure"},   {.name = "anthropic"},
    {.name = "gemini"},  {.name = "vertex"},           {.name = "bedrock"}, {.name = "cohere"},
    {.name = "mistral"}, {.name = "ollama"},
};

/* In the order of enum balance. */
static const struct choice balances[] = {
    {.name = "ordered"},
    {.name = "weighted"},
    {.name = "fastest", .is_later = true},
    {.name = "least_busy", .is_later = true},
    {.name = "cheapest", .is_later = true},
    {.name = "headroom", .is_later = true},
    {.name = "sticky", .is_later = true},
};

/* In the order of enum http_version_policy. */
static const struct choice http_versions[] = {{.name = "auto"}, {.name = "1"}, {.name = "2"}};

/* In the order of enum half_close. */
static const struct choice half_closes[] = {
    {.name = "probe"}, {.name = "abort"}, {.name = "allow"}};

static const struct choice periods[] = {
    {.name = "hour"}, {.name = "day"}, {.name = "week"}, {.name = "month"}, {.name = "total"},
};

#define NAMES_OR_PATTERNS LIST(PLAIN(KIND_PATTERN))

/* --- the server itself --------------------------------------------------------------------------
 */

static const struct word tls_words[] = {
    {.name = "certificate",
     .shape = PLAIN(KIND_FILE),
     .is_required = true,
     .help = "The certificate and the chain behind it, as PEM. Read again at every reload."},
    {.name = "key",
     .shape = PLAIN(KIND_FILE),
     .is_required = true,
     .help = "The private key of the certificate, as PEM."},
    {.name = "client_ca",
     .shape = PLAIN(KIND_FILE),
     .absent = "clients show no certificate",
     .help = "Clients must show a certificate that one of these authorities signed."},
};
static const struct section tls_section = {
    .name = "tls",
    .title = "TLS of an address",
    .path = "listen[].tls",
    .help = "TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 by ALPN.",
    .example = "listen:\n"
               "  - address: 0.0.0.0:8443\n"
               "    tls: {certificate: tls/chain.pem, key: tls/key.pem}\n",
    WORDS(tls_words)};

static const struct word listen_words[] = {
    {.name = "address",
     .shape = PLAIN(KIND_ADDRESS),
     .is_required = true,
     .help = "`HOST:PORT` with an IPv4 address, an IPv6 address in brackets or `localhost`, or "
             "`unix:/path`. Port 0 takes any free port."},
    {.name = "tls",
     .shape = SECTION(tls_section),
     .absent = "no TLS",
     .help = "What the address answers TLS with."},
};
static const struct section listen_section = {
    .name = "an address",
    .title = "Addresses",
    .path = "listen[]",
    .help = "An address is written as text, or as a mapping when it takes TLS.",
    .example = "listen:\n"
               "  - 127.0.0.1:8080\n"
               "  - unix:/run/penstock.sock\n"
               "  - {address: \"[::]:8443\", tls: {certificate: chain.pem, key: key.pem}}\n",
    WORDS(listen_words)};

#define ADDRESS EITHER(PLAIN(KIND_ADDRESS), SECTION(listen_section))

static const struct word admin_words[] = {
    {.name = "key",
     .shape = PLAIN(KIND_SECRET),
     .is_secret = true,
     .absent = "one is made and printed once, at start",
     .help = "What operators send as `Authorization: Bearer`. The admin API is never open."},
    {.name = "listen",
     .shape = ADDRESS,
     .absent = "operators and callers share `listen`",
     .help = "The operators' paths (`/admin`, `/metrics`, the dashboard) answer here and nowhere "
             "else."},
};
static const struct section admin_section = {
    .name = "admin",
    .title = "Operators",
    .path = "admin",
    .help = "Who runs this instance, and where they reach it.",
    .example = "admin: {key: ${PENSTOCK_ADMIN_KEY:-}, listen: 127.0.0.1:8081}\n",
    WORDS(admin_words)};

static const struct word bound_words[] = {
    {.name = "body",
     .shape = SIZE(1024, 4 * GIB),
     .standard = "32MiB",
     .help = "The largest request body, counted after decompression. Beyond it: 413."},
    {.name = "memory",
     .shape = EITHER(CHOICE(word_off), SIZE(16 * MIB, 1024 * GIB)),
     .standard = "off",
     .help = "Buffers and arenas of all calls together. Near to it new calls get 503 with "
             "`retry-after`, before their body is read."},
    {.name = "connections",
     .shape = INTEGER(1, 1000000),
     .standard = "65536",
     .help = "Open client connections a worker. Beyond it the longest idle one is closed, or else "
             "the new one."},
    {.name = "requests",
     .shape = INTEGER(1, 1000000),
     .standard = "16384",
     .help = "Calls in flight a worker. Beyond it: 503 with `retry-after`."},
};
static const struct section bound_section = {
    .name = "limits",
    .title = "Bounds of the server",
    .path = "limits",
    .help = "What this instance takes on at most, whoever calls. Limits of callers stand with "
            "organisations, teams, users and keys.",
    .example = "limits: {body: 64MiB, memory: 2GiB}\n",
    WORDS(bound_words)};

static const struct word timeout_words[] = {
    {.name = "header",
     .shape = DURATION(100 * MS, H),
     .standard = "10s",
     .help = "From the first byte of a request's head to its last."},
    {.name = "body",
     .shape = DURATION(100 * MS, H),
     .standard = "30s",
     .help = "Between two reads of a request's body."},
    {.name = "write",
     .shape = DURATION(100 * MS, H),
     .standard = "60s",
     .help = "How long a client may read nothing of an answer that waits for it."},
    {.name = "keepalive",
     .shape = DURATION(100 * MS, DAY),
     .standard = "75s",
     .help = "How long a connection stays open between two requests."},
    {.name = "drain",
     .shape = DURATION(0, DAY),
     .standard = "30s",
     .help = "How long calls in flight may go on after TERM."},
    {.name = "call",
     .shape = DURATION(10 * MS, DAY),
     .standard = "10m",
     .help = "A whole call, all attempts together. A route's `timeout` or the caller's "
             "`x-penstock-timeout` may say less."},
};
static const struct section timeout_section = {
    .name = "timeouts",
    .title = "Timeouts",
    .path = "timeouts",
    .help = "Deadlines of the inbound side. Those of a provider stand with the provider.",
    .example = "timeouts: {header: 5s, drain: 2m}\n",
    WORDS(timeout_words)};

/* --- providers and models -----------------------------------------------------------------------
 */

static const struct word provider_words[] = {
    {.name = "api_key",
     .shape = PLAIN(KIND_API_KEY),
     .is_secret = true,
     .absent = "none is sent; a provider of the catalogue that wants one is not available",
     .help = "The credential, best taken from the environment."},
    {.name = "dialect",
     .shape = EITHER(CHOICE(dialects), LIST(CHOICE(dialects))),
     .absent = "the catalogue's",
     .help = "What it speaks; of several, the caller's own is preferred."},
    {.name = "base_url",
     .shape = PLAIN(KIND_URL),
     .absent = "the catalogue's",
     .help = "`http://`, `https://` or `unix:`. It includes the version for `openai`, "
             "`openai-responses` and `mistral` (`https://api.openai.com/v1`) and ends before it "
             "for the others (`https://api.anthropic.com`)."},
    {.name = "private",
     .shape = PLAIN(KIND_BOOL),
     .standard = "false",
     .help = "It is reached without the public internet; for routing by residency."},
    {.name = "region",
     .shape = PLAIN(KIND_NAME),
     .absent = "unknown",
     .help = "Where it computes; for routing by residency."},
    {.name = "max_concurrent",
     .shape = INTEGER(1, 1000000),
     .absent = "no bound",
     .help = "Calls that may be in flight to it from this instance."},
    {.name = "http",
     .shape = CHOICE(http_versions),
     .standard = "auto",
     .help = "`auto`: ALPN decides over TLS, HTTP/1.1 in the clear. `1` or `2`: only that."},
    {.name = "proxy",
     .shape = PLAIN(KIND_PROXY),
     .is_secret = true,
     .absent = "none",
     .help = "An egress proxy that is asked to CONNECT: `http://user:password@host:port`."},
    {.name = "ca_file",
     .shape = PLAIN(KIND_FILE),
     .absent = "the system's trust store",
     .help = "Authorities that may sign its certificate, as PEM."},
    {.name = "certificate",
     .shape = PLAIN(KIND_FILE),
     .absent = "none is shown",
     .help = "Our own certificate, for providers that ask for one, as PEM."},
    {.name = "key",
     .shape = PLAIN(KIND_FILE),
     .absent = "none",
     .help = "The private key of `certificate`, as PEM."},
    {.name = "connect_timeout",
     .shape = DURATION(10 * MS, H),
     .standard = "5s",
     .help = "Name, connection and TLS together."},
    {.name = "first_byte_timeout",
     .shape = DURATION(10 * MS, DAY),
     .standard = "10m",
     .help = "From the last byte of the request to the first of the answer. Models that think "
             "before they speak take minutes."},
    {.name = "idle_timeout",
     .shape = DURATION(10 * MS, DAY),
     .standard = "5m",
     .help = "Between two reads of an answer."},
};
static const struct section provider_section = {
    .name = "a provider",
    .title = "Providers",
    .path = "providers.NAME",
    .help = "Who answers calls. A name from the catalogue (below) needs no more than a key; any "
            "other name needs `dialect` and `base_url`. The name `mock` is the built-in mock "
            "provider unless it has a `base_url`.",
    .example = "providers:\n"
               "  openai: {api_key: ${OPENAI_API_KEY}}\n"
               "  house:\n"
               "    dialect: [openai, openai-responses]\n"
               "    base_url: http://10.0.0.5:8000/v1\n"
               "    private: true\n"
               "    max_concurrent: 64\n",
    WORDS(provider_words)};

static const struct word target_words[] = {
    {.name = "to",
     .shape = PLAIN(KIND_TARGET),
     .is_required = true,
     .help = "`PROVIDER/MODEL`, cut at the first slash."},
    {.name = "weight",
     .shape = INTEGER(0, 1000000),
     .standard = "1",
     .help = "Its share of the calls with `balance: weighted`; 0 takes none."},
};
static const struct section target_section = {
    .name = "a target",
    .title = "Targets",
    .path = "models.NAME.targets[]",
    .help = "One place that a model can be served from.",
    .example =
        "models:\n"
        "  fast: {targets: [{to: openai/gpt-4o-mini, weight: 9}, anthropic/claude-haiku-4-5]}\n",
    WORDS(target_words)};

static const struct word model_words[] = {
    {.name = "targets",
     .shape = LIST(EITHER(PLAIN(KIND_TARGET), SECTION(target_section))),
     .is_required = true,
     .help = "Where it is served from: texts or mappings."},
    {.name = "balance",
     .shape = CHOICE(balances),
     .standard = "ordered",
     .help = "How one of the targets is chosen."},
    {.name = "fallback",
     .shape = LIST(PLAIN(KIND_NAME)),
     .absent = "none",
     .help = "Other models, by name, in order, when no target of this one answers."},
};
static const struct section model_section = {
    .name = "a model",
    .title = "Models",
    .path = "models.NAME",
    .help = "The names that callers use. A model is one target, `PROVIDER/MODEL`, or a mapping. A "
            "name may be a pattern with one `*`; the target's `*` is filled with what it stood "
            "for, and of several patterns the longest match wins. Without this section every "
            "`provider/model` is reachable under that name.",
    .example = "models:\n"
               "  gpt-4o: openai/gpt-4o\n"
               "  fast:\n"
               "    targets: [{to: openai/gpt-4o-mini, weight: 9}, {to: "
               "anthropic/claude-haiku-4-5, weight: 1}]\n"
               "    balance: weighted\n"
               "    fallback: [gpt-4o]\n"
               "  \"claude-*\": \"anthropic/claude-*\"\n",
    WORDS(model_words)};

static const struct word price_words[] = {
    {.name = "input",
     .shape = DECIMAL(PRICE_DIGITS, PRICE_MAX),
     .is_required = true,
     .help = "Tokens of the request."},
    {.name = "output",
     .shape = DECIMAL(PRICE_DIGITS, PRICE_MAX),
     .absent = "0",
     .help = "Tokens of the answer."},
    {.name = "cached",
     .shape = DECIMAL(PRICE_DIGITS, PRICE_MAX),
     .absent = "as `input`",
     .help = "Input that the provider had in its cache."},
    {.name = "cache_write",
     .shape = DECIMAL(PRICE_DIGITS, PRICE_MAX),
     .absent = "as `input`",
     .help = "Input that the provider put into its cache."},
    {.name = "reasoning",
     .shape = DECIMAL(PRICE_DIGITS, PRICE_MAX),
     .absent = "as `output`",
     .help = "Tokens that the model thought with."},
};
static const struct section price_section = {
    .name = "a price",
    .title = "Prices",
    .path = "prices.NAME",
    .help = "USD per million tokens, or `free`. Names are `PROVIDER/MODEL` and may be patterns. "
            "The built-in price book knows the common models.",
    .example = "prices:\n"
               "  house/llama-3.1-8b: {input: 0.05, output: 0.10}\n"
               "  \"house/*\": free\n",
    WORDS(price_words)};

static const struct word route_words[] = {
    {.name = "model",
     .shape = PLAIN(KIND_NAME),
     .absent = "the one that the caller asks for",
     .help = "The model that answers, whatever the caller asks for."},
    {.name = "max_tokens",
     .shape = INTEGER(1, 1000000000),
     .absent = "no bound of its own",
     .help = "The most tokens that an answer may have."},
    {.name = "timeout",
     .shape = DURATION(10 * MS, DAY),
     .absent = "`timeouts.call`",
     .help = "A whole call, all attempts together."},
};
static const struct section route_section = {
    .name = "a route",
    .title = "Routes",
    .path = "routes.NAME",
    .help = "Use cases. A caller names one with `x-penstock-route`, or its key has one.",
    .example = "routes:\n"
               "  support-search: {model: fast, max_tokens: 400, timeout: 20s}\n",
    WORDS(route_words)};

/* --- who calls ----------------------------------------------------------------------------------
 */

#define LIMIT(word_name, text)                                                                     \
    {                                                                                              \
        .name = (word_name), .shape = INTEGER(1, COUNT_MAX), .absent = "no limit", .help = (text)  \
    }

static const struct word limit_words[] = {
    LIMIT("requests_per_minute", "Calls a minute."),
    LIMIT("requests_per_hour", "Calls an hour."),
    LIMIT("requests_per_day", "Calls a day."),
    LIMIT("tokens_per_minute", "Tokens a minute, of requests and answers."),
    LIMIT("tokens_per_hour", "Tokens an hour."),
    LIMIT("tokens_per_day", "Tokens a day."),
    LIMIT("concurrent", "Calls in flight at once."),
};
static const struct section limit_section = {
    .name = "limits",
    .title = "Limits of callers",
    .path = "organisations.NAME.limits",
    .help = "Written the same for an organisation, a team, a user and a key; the narrowest of all "
            "levels holds. A limit of k a minute admits k at once from rest, and never more than "
            "k plus what refills evenly while they arrive.",
    .example =
        "organisations:\n"
        "  acme:\n"
        "    limits: {requests_per_minute: 1200, tokens_per_day: 20000000, concurrent: 50}\n",
    WORDS(limit_words)};

static const struct word budget_words[] = {
    {.name = "usd",
     .shape = DECIMAL(BUDGET_DIGITS, BUDGET_MAX),
     .is_required = true,
     .help = "US dollars."},
    {.name = "per",
     .shape = CHOICE(periods),
     .standard = "month",
     .help = "The calendar period (UTC) that it is for; `total`: for good."},
    {.name = "alert_at",
     .shape = LIST(DECIMAL(SHARE_DIGITS, SHARE_MAX)),
     .absent = "no alerts",
     .help = "Shares of it, from 0 to 1, that raise an alert."},
    {.name = "degrade_at",
     .shape = DECIMAL(SHARE_DIGITS, SHARE_MAX),
     .absent = "never",
     .help = "The share from which on cheaper models answer."},
    {.name = "hard",
     .shape = PLAIN(KIND_BOOL),
     .standard = "true",
     .help = "Calls beyond it are refused with 429; `false`: they are only told."},
};
static const struct section budget_section = {
    .name = "budget",
    .title = "Budgets",
    .path = "organisations.NAME.budget",
    .help = "Written the same for an organisation, a team, a user and a key.",
    .example =
        "organisations:\n"
        "  acme:\n"
        "    budget: {usd: 2000, per: month, alert_at: [0.8], degrade_at: 0.9, hard: true}\n",
    WORDS(budget_words)};

/* Words that every level of callers takes. */
#define CALLER_WORDS                                                                               \
    {.name = "limits",                                                                             \
     .shape = SECTION(limit_section),                                                              \
     .is_later = true,                                                                             \
     .absent = "no limits",                                                                        \
     .help = "See *Limits of callers*."},                                                          \
        {.name = "budget",                                                                         \
         .shape = SECTION(budget_section),                                                         \
         .is_later = true,                                                                         \
         .absent = "no budget",                                                                    \
         .help = "See *Budgets*."},                                                                \
    {                                                                                              \
        .name = "models", .shape = NAMES_OR_PATTERNS, .absent = "all",                             \
        .help = "Models that may be used: names, `provider/model`, or patterns with one `*`."      \
    }

static const struct word user_words[] = {CALLER_WORDS};
static const struct section user_section = {
    .name = "a user",
    .title = "Users",
    .path = "organisations.NAME.teams.NAME.users.NAME",
    .help = "A person or a program of a team.",
    .example = "organisations:\n"
               "  acme:\n"
               "    teams:\n"
               "      search:\n"
               "        users: {ana: {limits: {tokens_per_hour: 500000}}}\n",
    WORDS(user_words)};

static const struct word team_words[] = {
    CALLER_WORDS,
    {.name = "users",
     .shape = MAP(KIND_NAME, SECTION(user_section)),
     .absent = "none",
     .help = "Users by name."},
};
static const struct section team_section = {
    .name = "a team",
    .title = "Teams",
    .path = "organisations.NAME.teams.NAME",
    .help = "A team of an organisation; elsewhere it is called `ORGANISATION/TEAM`.",
    .example = "organisations:\n"
               "  acme:\n"
               "    teams:\n"
               "      search:\n"
               "        limits: {requests_per_minute: 1200, concurrent: 50}\n"
               "        models: [gpt-4o, fast]\n"
               "        users: {ana: {}}\n",
    WORDS(team_words)};

static const struct word organisation_words[] = {
    CALLER_WORDS,
    {.name = "teams",
     .shape = MAP(KIND_NAME, SECTION(team_section)),
     .absent = "none",
     .help = "Teams by name."},
};
static const struct section organisation_section = {
    .name = "an organisation",
    .title = "Organisations",
    .path = "organisations.NAME",
    .help = "Who calls, from the top down: organisations, their teams, their users.",
    .example = "organisations:\n"
               "  acme:\n"
               "    budget: {usd: 50000, per: month}\n"
               "    teams: {search: {models: [gpt-4o, fast]}}\n",
    WORDS(organisation_words)};

static const struct word key_words[] = {
    {.name = "name",
     .shape = PLAIN(KIND_NAME),
     .is_required = true,
     .help = "What logs and metrics call it; each name once."},
    {.name = "key",
     .shape = PLAIN(KIND_SECRET),
     .is_required = true,
     .is_secret = true,
     .help = "What callers send: 16 to 256 visible ASCII characters, best from the environment. "
             "Only a keyed hash of it stays in memory."},
    {.name = "team",
     .shape = PLAIN(KIND_TEAM),
     .absent = "none",
     .help = "Whose it is, as `ORGANISATION/TEAM`."},
    {.name = "user", .shape = PLAIN(KIND_NAME), .absent = "none", .help = "A user of the team."},
    {.name = "route",
     .shape = PLAIN(KIND_NAME),
     .absent = "what the caller names, or none",
     .help = "The route that its calls take."},
    CALLER_WORDS,
    {.name = "expires",
     .shape = PLAIN(KIND_TIME),
     .absent = "never",
     .help = "From then on it answers 401: `2027-01-31` (its first moment, UTC) or "
             "`2027-01-31T12:00:00Z` (RFC 3339)."},
};
static const struct section key_section = {
    .name = "a key",
    .title = "Keys",
    .path = "keys[]",
    .help = "What callers identify themselves with.",
    .example = "keys:\n"
               "  - {name: search-dev, key: ${SEARCH_DEV_KEY}, team: acme/search, user: ana}\n"
               "  - {name: batch, key: ${BATCH_KEY}, models: [\"gpt-*\"], expires: 2027-01-31}\n",
    WORDS(key_words)};

/* --- the root -----------------------------------------------------------------------------------
 */

static const struct word config_words[] = {
    {.name = "listen",
     .shape = EITHER(ADDRESS, LIST(ADDRESS)),
     .standard = "127.0.0.1:8080",
     .help = "Where callers reach the gateway: one address or a list."},
    {.name = "workers",
     .shape = EITHER(CHOICE(word_auto), INTEGER(1, WORKERS_MAX)),
     .standard = "auto",
     .needs_restart = true,
     .help = "Threads that serve; `auto`: one a core."},
    {.name = "access_log",
     .shape = PLAIN(KIND_LOG),
     .standard = "stdout",
     .help = "One JSON line a call: `stdout`, `off`, or a path."},
    {.name = "store",
     .shape = PLAIN(KIND_STORE),
     .standard = "sqlite:penstock.db",
     .is_secret = true,
     .needs_restart = true,
     .is_later = true,
     .help = "Where usage and what is made at runtime are kept: `sqlite:PATH` or "
             "`postgresql://user@host/db`."},
    {.name = "fleet",
     .shape = PLAIN(KIND_FLEET),
     .is_secret = true,
     .needs_restart = true,
     .is_later = true,
     .absent = "this instance is alone",
     .help = "Several nodes share limits, budgets, cache and breaker news: `redis://host:6379`."},
    {.name = "master_key",
     .shape = PLAIN(KIND_SECRET),
     .is_secret = true,
     .needs_restart = true,
     .is_later = true,
     .absent = "made once, kept in a file beside the store (mode 0600)",
     .help = "Seals secrets in the store."},
    {.name = "admin",
     .shape = SECTION(admin_section),
     .standard = "{}",
     .help = "See *Operators*."},
    {.name = "limits",
     .shape = SECTION(bound_section),
     .standard = "{}",
     .help = "See *Bounds of the server*."},
    {.name = "timeouts",
     .shape = SECTION(timeout_section),
     .standard = "{}",
     .help = "See *Timeouts*."},
    {.name = "client_half_close",
     .shape = CHOICE(half_closes),
     .standard = "probe",
     .help = "A client that closed its sending side may have gone or may still read. `probe`: ask "
             "by an interim answer (100) after a second of silence; `abort`: it has gone, the call "
             "ends; `allow`: it still reads, until a write fails."},
    {.name = "providers",
     .shape = MAP(KIND_NAME, SECTION(provider_section)),
     .absent = "none",
     .help = "See *Providers*."},
    {.name = "models",
     .shape = MAP(KIND_PATTERN, EITHER(PLAIN(KIND_TARGET), SECTION(model_section))),
     .absent = "every `provider/model`",
     .help = "See *Models*."},
    {.name = "prices",
     .shape = MAP(KIND_PATTERN, EITHER(CHOICE(word_free), SECTION(price_section))),
     .absent = "the price book's",
     .is_later = true,
     .help = "See *Prices*."},
    {.name = "routes",
     .shape = MAP(KIND_NAME, SECTION(route_section)),
     .absent = "none",
     .help = "See *Routes*."},
    {.name = "organisations",
     .shape = MAP(KIND_NAME, SECTION(organisation_section)),
     .absent = "none",
     .help = "See *Organisations*."},
    {.name = "keys",
     .shape = LIST(SECTION(key_section)),
     .absent = "none: every call is refused",
     .help = "See *Keys*."},
};

const struct section config_section = {
    .name = "the configuration",
    .title = "The configuration",
    .path = "",
    .help = "One YAML file. `${NAME}` takes a value from the environment, `${NAME:-default}` gives "
            "it a default, and `$${` stands for the two characters. Relative paths are relative "
            "to the file's folder. Unknown words are mistakes. Durations are a number with `ms`, "
            "`s`, `m`, `h` or `d`; sizes a number with `B`, `KiB`, `MiB` or `GiB`.",
    .example = "listen: 127.0.0.1:8080\n"
               "providers:\n"
               "  openai: {api_key: ${OPENAI_API_KEY}}\n"
               "models:\n"
               "  gpt-4o: openai/gpt-4o\n"
               "keys:\n"
               "  - {name: dev, key: ${DEV_KEY}}\n",
    WORDS(config_words)};

const struct section *const schema_sections[] = {
    &config_section,  &listen_section,       &tls_section,   &admin_section,  &bound_section,
    &timeout_section, &provider_section,     &model_section, &target_section, &price_section,
    &route_section,   &organisation_section, &team_section,  &user_section,   &limit_section,
    &budget_section,  &key_section,
};
const size_t schema_section_count = ARRAY_LEN(schema_sections);

const struct word *section_word(const struct section *s, struct span name)
{
    for (size_t i = 0; i < s->word_count; i++) {
        if (span_eq(span_of_cstr(s->words[i].name), name))
            return &s->words[i];
    }
    return NULL;
}
