#include "tests/unit/config_case.h"

#include "base/mem.h"
#include "base/sys.h"
#include "config/schema.h"
#include "json/tree.h"

#include <fcntl.h>
#include <unistd.h>

#define LATER(at, word) at ": warning: " word " is read but not enforced by this version"

/* The contract's example, word for word. */
static const char contract[] =
    "listen: 127.0.0.1:8080               # or a list of {address, tls: {certificate, key}}\n"
    "workers: auto\n"
    "access_log: stdout                   # or a path, or off\n"
    "store: sqlite:penstock.db            # or postgresql://user@host/db\n"
    "fleet: redis://127.0.0.1:6379        # optional: several nodes share limits, budgets, cache\n"
    "master_key: ${PENSTOCK_MASTER_KEY:-} # seals secrets in the store; absent: made once\n"
    "admin: {key: ${PENSTOCK_ADMIN_KEY:-}}  # absent: made once and printed once\n"
    "\n"
    "providers:\n"
    "  openai:    {api_key: ${OPENAI_API_KEY:-}}        # a name from the catalogue needs no more\n"
    "  anthropic: {api_key: ${ANTHROPIC_API_KEY:-}}\n"
    "  house:     {dialect: openai, base_url: http://10.0.0.5:8000/v1, private: true, "
    "max_concurrent: 64, region: eu}\n"
    "\n"
    "models:                               # the names that callers use\n"
    "  gpt-4o: openai/gpt-4o               # one target: PROVIDER/MODEL, cut at the first slash\n"
    "  fast:\n"
    "    targets: [{to: openai/gpt-4o-mini, weight: 9}, {to: anthropic/claude-haiku-4-5, weight: "
    "1}]\n"
    "    balance: weighted                 # ordered weighted fastest least_busy cheapest\n"
    "    fallback: [house-llama]           # other models, in order\n"
    "  house-llama: house/llama-3.1-8b\n"
    "  \"claude-*\": \"anthropic/claude-*\"    # patterns; the longest match wins\n"
    "\n"
    "prices:                               # USD per million tokens\n"
    "  house/llama-3.1-8b: {input: 0.05, output: 0.10}     # also cached, cache_write, reasoning\n"
    "  \"house/*\": free                     # names may be patterns\n"
    "\n"
    "routes:                               # use cases\n"
    "  support-search: {model: fast, max_tokens: 400, timeout: 20s}\n"
    "\n"
    "organisations:                        # who\n"
    "  acme:\n"
    "    budget: {usd: 50000, per: month}\n"
    "    teams:\n"
    "      search:\n"
    "        limits: {requests_per_minute: 1200, tokens_per_minute: 100000, tokens_per_day: "
    "20000000, concurrent: 50}\n"
    "        budget: {usd: 2000, per: month, alert_at: [0.8], degrade_at: 0.9, hard: true}\n"
    "        models: [gpt-4o, fast]        # allowed; absent: all\n"
    "        users: {ana: {limits: {tokens_per_hour: 500000}}}\n"
    "keys:                                 # a key also takes models, limits, budget, expires\n"
    "  - {name: search-dev, key: ${SEARCH_DEV_KEY}, team: acme/search, user: ana, route: "
    "support-search}\n";

/* --- what belongs together ----------------------------------------------------------------------
 */

#define ORG "organisations: {acme: {teams: {search: {users: {ana: {}}}}}}\n"

TEST(names_must_name_something)
{
    static const struct config_case cases[] = {
        {MOCK "models: {a: mok/x}\n", "2:13: there is no provider \"mok\"; did you mean \"mock\"?"},
        {MOCK "models: {a: anthropic/x}\n",
         "2:13: there is no provider \"anthropic\"; add it to \"providers\": anthropic: {api_key: "
         "${ANTHROPIC_API_KEY}}"},
        {MOCK "models: {a: elsewhere/x}\n",
         "2:13: there is no provider \"elsewhere\"; write one of \"mock\""},
        {MOCK "models: {aa: mock/x, bb: mock/x, cc: mock/x, dd: mock/x, ee: mock/x, ff: mock/x}\n"
              "routes: {r: {model: zzz}}\n",
         "3:21: there is no model \"zzz\"; write one of \"aa\", \"bb\", \"cc\", \"dd\", "
         "\"ee\", ..."},
        {MOCK "models: {a: gpt-4o}\n", "2:13: models: \"gpt-4o\" is not a target; write "
                                       "PROVIDER/MODEL, such as openai/gpt-4o"},
        {MOCK "models: {a: /x}\n", "2:13: models: \"/x\" is not a target; write PROVIDER/MODEL, "
                                   "such as openai/gpt-4o"},
        {MOCK "models: {a: mock/}\n", "2:13: models: \"mock/\" is not a target; write "
                                      "PROVIDER/MODEL, such as openai/gpt-4o"},
        {MOCK "models: {a: mock/b/c}\n", ""}, /* cut at the first slash */
        {MOCK "models: {a: mock/x-*}\n",
         "2:13: the target holds \"*\", but the name \"a\" holds none to fill it with"},
        {MOCK "models: {\"a-*\": mock/x}\n", ""},
        {MOCK "models: {\"a-*-*\": mock/x}\n",
         "2:10: models: \"a-*-*\" holds two \"*\"; a pattern has one"},
        {MOCK "models:\n  a: {targets: []}\n",
         "3:16: targets: the list is empty; write PROVIDER/MODEL"},
        {MOCK "models:\n  a: {targets: [mock/x], fallback: [b]}\n  bb: mock/x\n",
         "3:37: there is no model \"b\"; did you mean \"bb\"?"},
        {MOCK "routes: {r: {model: fats}}\nmodels: {fast: mock/x}\n",
         "2:21: there is no model \"fats\"; did you mean \"fast\"?"},
        {MOCK "routes: {r: {model: mock/any}}\n", ""},
        {MOCK "routes: {r: {model: gpt-x}}\nmodels: {\"gpt-*\": mock/x}\n", ""},
        {MOCK "keys: [{name: a, key: " KEYTEXT ", route: r}]\n",
         "2:49: there is no route \"r\"; none is configured"},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", team: acme/saerch}]\n",
         "3:48: there is no team \"saerch\"; did you mean \"search\"?"},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", team: acne/search}]\n",
         "3:48: there is no organisation \"acne\"; did you mean \"acme\"?"},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", team: search}]\n",
         "3:48: team: \"search\" is not a team; write ORGANISATION/TEAM, such as acme/search"},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", team: acme/search, user: an}]\n",
         "3:67: there is no user \"an\"; did you mean \"ana\"?"},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", user: ana}]\n",
         "3:48: a key with a user needs its team; add \"team\""},
        {MOCK ORG "keys: [{name: a, key: " KEYTEXT ", team: acme/search, user: ana}]\n", ""},
        {MOCK "models: {fast: mock/x}\nkeys: [{name: a, key: " KEYTEXT ", models: [fast, slow, "
              "\"gpt-*\", mock/y]}]\n",
         "3:57: there is no model \"slow\"; write one of \"fast\""},
        {MOCK "keys: [{name: a, key: " KEYTEXT ", models: []}]\n",
         "2:50: the list is empty; leave the word out to allow all, or name what is allowed"},
        {MOCK "organisations: {a: {models: [x]}}\n",
         "2:30: there is no model \"x\"; none is configured"},
        {MOCK "organisations: {a: {teams: {b/c: {}}}}\n",
         "2:29: \"b/c\" holds a slash; a team is called ORGANISATION/TEAM elsewhere"},
    };
    RUN_CASES(cases);
}

TEST(what_must_be_unique_is)
{
    static const struct config_case cases[] = {
        {MOCK "keys:\n- {name: a, key: " KEYTEXT "}\n- {name: a, key: " KEYTEXT "2}\n",
         "4:10: name: the key on line 3 is called \"a\" already"},
        {MOCK "keys:\n- {name: a, key: " KEYTEXT "}\n- {name: b, key: ${KEY}}\n",
         "4:18: key: the key \"a\" has the same text; give each its own"},
        {MOCK "admin: {key: ${KEY}}\nkeys: [{name: a, key: " KEYTEXT "}]\n",
         "2:14: key: a caller's key has the same text; give operators one of their own"},
        {MOCK "listen: [127.0.0.1:80, 127.0.0.1:80]\n",
         "2:24: \"127.0.0.1:80\" is listened on already; write each address once"},
        {MOCK "listen: [127.0.0.1:0, 127.0.0.1:0]\n", ""},
        {MOCK "listen: 127.0.0.1:80\nadmin: {listen: 127.0.0.1:80}\n",
         "3:17: \"127.0.0.1:80\" is listened on already; write each address once"},
        {MOCK "models: {a: mock/x, a: mock/y}\n",
         "2:21: \"a\" stands here a second time; it is on line 2"},
    };
    RUN_CASES(cases);
}

TEST(chains_of_fallbacks_must_end)
{
    static const struct config_case cases[] = {
        {MOCK "models:\n  a: {targets: [mock/x], fallback: [a]}\n",
         "3:37: fallback: \"a\" falls back to \"a\" again; a chain of fallbacks must end"},
        {MOCK
         "models:\n  a: {targets: [mock/x], fallback: [b]}\n"
         "  b: {targets: [mock/x], fallback: [c]}\n  c: {targets: [mock/x], fallback: [d, a]}\n"
         "  d: mock/x\n",
         "5:40: fallback: \"a\" falls back to \"c\" again; a chain of fallbacks must end"},
        {MOCK "models:\n  a: {targets: [mock/x], fallback: [b, c]}\n"
              "  b: {targets: [mock/x], fallback: [c]}\n  c: mock/x\n",
         ""}, /* two ways to one place are no circle */
    };
    RUN_CASES(cases);
}

TEST(providers_need_what_the_catalogue_does_not_know)
{
    static const struct config_case cases[] = {
        {"providers: {opnai: {api_key: x}}\n",
         "1:13: the provider \"opnai\" is not in the catalogue and has no \"dialect\"; did you "
         "mean \"openai\"?"},
        {"providers: {house: {dialect: openai}}\n",
         "1:13: the provider \"house\" is not in the catalogue and needs \"dialect\" and "
         "\"base_url\""},
        {"providers: {azure: {api_key: x}}\n",
         "1:13: the provider \"azure\" needs the word \"base_url\""},
        {"providers: {h: {dialect: opeai, base_url: http://x/v1}}\n",
         "1:26: dialect: \"opeai\" is not known; did you mean \"openai\"?"},
        {"providers: {h: {dialect: [openai, openai-responses], base_url: http://x/v1}}\n", ""},
        {"providers: {h: {dialect: [], base_url: http://x/v1}}\n",
         "1:26: dialect: the list is empty; write what \"h\" speaks"},
        {"providers: {h: {dialect: openai, base_url: http://x}}\n",
         "1:44: warning: base_url: for this dialect it includes the version, as in "
         "http://x:80/v1"},
        {"providers: {h: {dialect: anthropic, base_url: https://x/v1}}\n",
         "1:47: warning: base_url: for this dialect it ends before the version, as in "
         "https://x:443"},
        {"providers: {h: {dialect: anthropic, base_url: https://x/proxy}}\n", ""},
        {"providers: {openai: {api_key: x, certificate: /etc/passwd}}\n",
         "1:47: certificate and key belong together; write \"key\" too"},
        {"providers: {openai: {api_key: x, ca_file: /nowhere/ca.pem}}\n",
         "1:43: ca_file: \"/nowhere/ca.pem\" cannot be read: No such file or directory "
         "(/nowhere/ca.pem)"},
        {"providers: {openai: {api_key: x, http: 3}}\n",
         "1:40: http: \"3\" is not known; write auto, 1 or 2"},
        {"providers: {openai: {api_key: x, http: 2, max_concurrent: 0}}\n",
         "1:59: max_concurrent: \"0\" is too small; the least is 1"},
    };
    RUN_CASES(cases);
}

TEST(what_is_not_enforced_yet_is_told)
{
    static const struct config_case cases[] = {
        {MOCK "prices: {mock/x: {input: 0.05}, \"mock/*\": free}\n", LATER("2:1", "prices")},
        {MOCK "prices: {mock/x: fre}\n",
         LATER("2:1", "prices") "\n2:18: prices: \"fre\" is not known; did you mean \"free\"?"},
        {MOCK "prices:\norganisations: {a: {limits: {}}, b: {limits: }}\n", ""},
        {MOCK "organisations: {a: {budget: {}}}\n", "2:29: budget needs the word \"usd\""},
        {MOCK "models: {a: {targets: [mock/x], balance: fastest}}\n",
         "2:42: warning: balance: \"fastest\" is read but not enforced by this version"},
        {MOCK "models: {a: {targets: [mock/x], balance: weighted}}\n", ""},
        {MOCK "models: {a: {targets: [mock/x], balance: orderd}}\n",
         "2:42: balance: \"orderd\" is not known; did you mean \"ordered\"?"},
        {MOCK "models: {a: {targets: [{to: mock/x, weight: 0}], balance: weighted}}\n",
         "2:23: targets: all weights are 0; give one of them more"},
        {MOCK "keys: [{name: a, key: " KEYTEXT ", limits: {concurrent: 1}, budget: {usd: 5}}]\n",
         LATER("2:42", "limits") "\n" LATER("2:67", "budget")},
        {MOCK "organisations: {a: {limits: {requests_per_minit: 5}}}\n",
         LATER("2:21", "limits") "\n2:30: unknown word \"requests_per_minit\" in limits; did you "
                                 "mean \"requests_per_minute\"?"},
        {MOCK "organisations: {a: {budget: {per: month, alert_at: [1.5]}}}\n",
         LATER("2:21", "budget") "\n2:29: budget needs the word \"usd\"\n"
                                 "2:53: alert_at: \"1.5\" is too large; the most is 1"},
        {MOCK "keys: [{name: a, key: " KEYTEXT ", expires: 2001-01-31}]\n",
         "2:51: warning: the key \"a\" has expired: it answers 401"},
        {MOCK "keys: [{name: a, key: " KEYTEXT ", expires: soon}]\n",
         "2:51: expires: \"soon\" is not a date such as 2027-01-31 or a time such as "
         "2027-01-31T12:00:00Z"},
        {"providers: {openai: {}}\nmodels: {a: openai/x}\n",
         "2:13: warning: the provider \"openai\" has no api_key: this target is not available"},
        {"", "1:1: warning: there are no providers: no call can be answered; add \"providers\""},
        {MOCK "models: {}\n", "2:9: warning: models: none is named, so none can be called; leave "
                              "the word out to reach every provider/model"},
    };
    RUN_CASES(cases);
}

TEST(a_hundred_mistakes_are_told_and_the_rest_counted)
{
    static char text[4096];
    for (int i = 0; i < 103; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "qqqq%d: 1\n", i);
    CHECK(parse(text) == NULL);
    size_t lines = 0;
    struct span got = builder_span(&report);
    for (size_t i = 0; i < got.n; i++)
        lines += got.p[i] == '\n';
    /* A hundred, the warning about providers, and the count. */
    CHECK(lines == 102);
    CHECK(memmem(got.p, got.n, "f:1:1: 3 more mistakes are not shown", 36) != NULL);
}

/* --- the snapshot -------------------------------------------------------------------------------
 */

TEST(the_contracts_example_becomes_a_snapshot)
{
    struct config *c = parse(contract);
    CHECK(c != NULL);
    CHECK(c->listen_count == 1 && span_eq(c->listen[0].address, SPAN("127.0.0.1:8080")));
    CHECK(c->workers == 0 && span_eq(c->access_log, SPAN("stdout")));
    CHECK(c->admin_key.private_bytes.n == 0 && c->admin_listen.address.n == 0);
    CHECK(span_eq(c->store, SPAN("sqlite:penstock.db")));
    const struct policy *p = c->policy;
    CHECK(p->provider_count == 3 && p->model_count == 4 && !p->models_are_open);
    const struct provider *openai = map_get(&p->providers_by_name, SPAN("openai"));
    const struct provider *house = map_get(&p->providers_by_name, SPAN("house"));
    CHECK(openai && !openai->is_available);
    CHECK(openai->dialects == (1u << DIALECT_OPENAI | 1u << DIALECT_OPENAI_RESPONSES));
    CHECK(span_eq(openai->origin.name, SPAN("https://api.openai.com:443")));
    CHECK(house && house->is_available && house->is_private && house->max_concurrent == 64);
    CHECK(span_eq(house->region, SPAN("eu")) && span_eq(house->path, SPAN("/v1")));
    CHECK(house->origin.port == 8000 && !house->origin.tls);
    struct span star;
    const struct model *fast = policy_find_model(p, SPAN("fast"), &star);
    CHECK(fast && fast->target_count == 2 && fast->balance == BALANCE_WEIGHTED);
    CHECK(fast->targets[0].weight == 9 && fast->targets[0].provider == openai);
    CHECK(span_eq(fast->targets[1].model, SPAN("claude-haiku-4-5")));
    CHECK(fast->fallback_count == 1);
    CHECK(span_eq(fast->fallbacks[0]->name, SPAN("house-llama")));
    const struct model *claude = policy_find_model(p, SPAN("claude-opus"), &star);
    CHECK(claude && span_eq(star, SPAN("opus")));
    CHECK(span_eq(claude->targets[0].model, SPAN("claude-*")));
    const struct key *k = policy_find_key(p, SPAN("kq8f0s9dfh2k3jh4k"));
    CHECK(k && span_eq(k->name, SPAN("search-dev")));
    CHECK(span_eq(k->organisation, SPAN("acme")) && span_eq(k->team, SPAN("search")));
    CHECK(span_eq(k->user, SPAN("ana")) && k->expires_wall_ns == 0);
    CHECK(k->route && span_eq(k->route->model, SPAN("fast")));
    CHECK(k->route->max_tokens == 400 && k->route->timeout_ns == 20 * NS_PER_S);
    CHECK(key_allows_model(k, SPAN("gpt-4o")) && !key_allows_model(k, SPAN("house-llama")));
    CHECK(p->timeout_ns == 600 * NS_PER_S && c->body_max == 32u << 20);
    config_free(c);
}

TEST(defaults_are_filled_in)
{
    struct config *c = parse(MOCK);
    CHECK(c != NULL);
    CHECK(c->listen_count == 1 && span_eq(c->listen[0].address, SPAN("127.0.0.1:8080")));
    CHECK(c->header_timeout_ns == 10 * NS_PER_S && c->body_timeout_ns == 30 * NS_PER_S);
    CHECK(c->write_timeout_ns == 60 * NS_PER_S && c->keepalive_timeout_ns == 75 * NS_PER_S);
    CHECK(c->drain_timeout_ns == 30 * NS_PER_S && c->memory_max == 0);
    CHECK(c->connections_max == 65536 && c->requests_max == 16384);
    CHECK(c->half_close == HALF_CLOSE_PROBE);
    CHECK(c->policy->models_are_open && c->policy->key_count == 0);
    const struct provider *mock = map_get(&c->policy->providers_by_name, SPAN("mock"));
    CHECK(mock && mock->is_mock && mock->is_available && span_eq(mock->path, SPAN("/v1")));
    CHECK(mock->connect_timeout_ns == 5 * NS_PER_S);
    config_free(c);
}

TEST(patterns_of_a_file_are_tried_longest_first)
{
    struct config *c = parse(MOCK "models: {\"g*\": mock/1, \"gpt-*\": mock/2, gpt-4o: mock/3, "
                                  "\"gpt-4*\": \"mock/a-*\"}\n");
    CHECK(c != NULL);
    struct span star;
    static const char *const words[][2] = {
        {"gemini", "g*"}, {"gpt-5", "gpt-*"}, {"gpt-4o", "gpt-4o"}, {"gpt-4.1", "gpt-4*"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        const struct model *m = policy_find_model(c->policy, span_of_cstr(words[i][0]), &star);
        EXPECT(m && span_eq(m->name, span_of_cstr(words[i][1])));
    }
    EXPECT(span_eq(star, SPAN(".1")));
    EXPECT(policy_find_model(c->policy, SPAN("o1"), &star) == NULL);
    config_free(c);
}

TEST(a_key_may_use_what_all_its_levels_allow)
{
    struct config *c = parse(
        MOCK
        "models: {a: mock/x, b: mock/x, c: mock/x, d: mock/x, e: mock/x}\n"
        "organisations: {o: {models: [a, b, c, d], teams: {t: {models: [a, b, c, e], users: {u: "
        "{models: [a, b, d, e]}}}}}}\n"
        "keys: [{name: k, key: " KEYTEXT ", team: o/t, user: u, models: [a, c, d, e]}, "
        "{name: l, key: " KEYTEXT "2, team: o/t}]\n");
    CHECK(c != NULL);
    const struct key *k = policy_find_key(c->policy, SPAN(KEYTEXT));
    const struct key *l = policy_find_key(c->policy, SPAN(KEYTEXT "2"));
    static const char names[] = "abcde";
    for (size_t i = 0; i < 5; i++) {
        EXPECT(key_allows_model(k, span(&names[i], 1)) == (names[i] == 'a'));
        EXPECT(key_allows_model(l, span(&names[i], 1)) == (names[i] <= 'c'));
    }
    config_free(c);
}

TEST(a_mock_with_a_url_is_an_ordinary_provider)
{
    struct config *c =
        parse("providers: {mock: {dialect: openai, base_url: http://127.0.0.1:9/v1}}\n");
    CHECK(c != NULL);
    const struct provider *mock = map_get(&c->policy->providers_by_name, SPAN("mock"));
    CHECK(!mock->is_mock && mock->is_available && mock->origin.port == 9);
    config_free(c);
}

TEST(everything_that_can_be_set_is)
{
    struct config *c = parse(
        MOCK "listen: [127.0.0.1:1, {address: \"unix:@x\"}]\nworkers: 3\naccess_log: off\n"
             "admin: {key: " KEYTEXT "a, listen: 127.0.0.1:2}\nclient_half_close: allow\n"
             "limits: {body: 1MiB, memory: 1GiB, connections: 5, requests: 6}\n"
             "timeouts: {header: 1s, body: 2s, write: 3s, keepalive: 4s, drain: 0s, call: 5s}\n"
             "keys: [{name: k, key: " KEYTEXT ", models: [mock/x], expires: 2100-01-01}]\n");
    if (!c)
        printf("# %.*s", SPAN_ARG(builder_span(&report)));
    CHECK(c != NULL);
    CHECK(c->listen_count == 2 && span_eq(c->listen[1].address, SPAN("unix:@x")));
    CHECK(c->workers == 3 && span_eq(c->access_log, SPAN("off")));
    CHECK(span_eq(c->admin_key.private_bytes, SPAN(KEYTEXT "a")));
    CHECK(span_eq(c->admin_listen.address, SPAN("127.0.0.1:2")));
    CHECK(c->half_close == HALF_CLOSE_ALLOW);
    CHECK(c->body_max == 1 << 20 && c->memory_max == 1 << 30);
    CHECK(c->connections_max == 5 && c->requests_max == 6);
    CHECK(c->header_timeout_ns == NS_PER_S && c->body_timeout_ns == 2 * NS_PER_S);
    CHECK(c->write_timeout_ns == 3 * NS_PER_S && c->keepalive_timeout_ns == 4 * NS_PER_S);
    CHECK(c->drain_timeout_ns == 0 && c->policy->timeout_ns == 5 * NS_PER_S);
    const struct key *k = policy_find_key(c->policy, SPAN(KEYTEXT));
    CHECK(k && k->model_count == 1 && k->expires_wall_ns == 4102444800 * NS_PER_S);
    config_free(c);
}

TEST(paths_are_relative_to_the_files_folder)
{
    char folder[] = "/tmp/penstock-config-XXXXXX", path[128], file[128];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/chain.pem", folder);
    snprintf(file, sizeof file, "%s/penstock.yaml", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
    builder_clear(&report);
    struct config *c = config_parse(
        SPAN(MOCK "access_log: log/a\nlisten: {address: unix:s, tls: {certificate: chain.pem, "
                  "key: chain.pem}}\n"),
        file, fake_env, &report);
    unlink(path);
    rmdir(folder);
    CHECK(c != NULL);
    EXPECT(span_eq(c->listen[0].certificate_file, span_of_cstr(path)));
    EXPECT(span_starts(span_from(c->listen[0].address, 5), span_of_cstr(folder)));
    EXPECT(span_ends(c->listen[0].address, SPAN("/s")));
    EXPECT(span_ends(c->access_log, SPAN("/log/a")));
    config_free(c);
}

/* --- the demo, the reference, the JSON Schema ---------------------------------------------------
 */

static const char *demo_env(const char *name)
{
    if (strcmp(name, "OPENAI_API_KEY") == 0)
        return "sk-proj-8fK2mQz7XvB4nLpW";
    if (strcmp(name, "GROQ_API_KEY") == 0)
        return "your-api-key";
    return NULL;
}

TEST(the_demo_is_a_right_configuration)
{
    struct builder text;
    builder_init(&text, 1 << 20);
    config_demo(demo_env, &text);
    CHECK(builder_check(&text) == ERR_OK);
    builder_clear(&report);
    struct config *c = config_parse(builder_span(&text), "demo", demo_env, &report);
    builder_deinit(&text);
    CHECK(c != NULL);
    CHECK(builder_span(&report).n == 0);
    EXPECT(span_eq(c->listen[0].address, SPAN("127.0.0.1:8080")) && c->listen_count == 1);
    EXPECT(policy_find_key(c->policy, SPAN(CONFIG_DEMO_KEY)) != NULL);
    const struct model *m = policy_find_model(c->policy, SPAN("demo"), NULL);
    EXPECT(m && m->targets[0].provider->is_mock);
    EXPECT(map_get(&c->policy->providers_by_name, SPAN("openai")) != NULL);
    EXPECT(map_get(&c->policy->providers_by_name, SPAN("groq")) == NULL); /* a placeholder */
    config_free(c);
}

TEST(the_reference_names_every_word)
{
    struct builder text;
    builder_init(&text, 1 << 20);
    config_write_reference(&text);
    CHECK(builder_check(&text) == ERR_OK);
    struct span all = builder_span(&text);
    for (size_t i = 0; i < schema_section_count; i++) {
        for (size_t k = 0; k < schema_sections[i]->word_count; k++) {
            const struct word *w = &schema_sections[i]->words[k];
            char row[64];
            int n = snprintf(row, sizeof row, "| `%s` | ", w->name);
            EXPECT(memmem(all.p, all.n, row, (size_t)n) != NULL);
            /* A default, or what happens without: the table must say one. */
            EXPECT(w->is_required || w->standard || w->absent);
            EXPECT(w->help && w->help[0] != '\0');
        }
    }
    builder_deinit(&text);
}

static const char *key_env(const char *name)
{
    static char text[64]; /* no two keys have one text */
    snprintf(text, sizeof text, KEYTEXT "%s", name);
    return text;
}

/* An example stands alone, so what it refers to may be missing; its words and values are right. */
TEST(examples_of_the_reference_are_right)
{
    static const char *const wrong[] = {"YAML",    "unknown word", "stands here",
                                        "is not",  "needs",        "too ",
                                        "missing", "holds",        "the same text"};
    for (size_t i = 0; i < schema_section_count; i++) {
        CHECK(schema_sections[i]->example != NULL);
        builder_clear(&report);
        config_free(config_parse(span_of_cstr(schema_sections[i]->example), "f", key_env, &report));
        builder_add_char(&report, '\0');
        for (size_t k = 0; k < ARRAY_LEN(wrong); k++) {
            if (!EXPECT(!strstr(builder_span(&report).p, wrong[k])))
                printf("# %s", builder_span(&report).p);
        }
    }
}

TEST(the_json_schema_is_json)
{
    struct builder text;
    builder_init(&text, 1 << 20);
    config_write_json_schema(&text);
    CHECK(builder_check(&text) == ERR_OK);
    struct arena a;
    arena_init(&a, 1 << 24, NULL, 0);
    const struct json_node *root = NULL;
    struct json_report told;
    EXPECT(json_parse(&a, builder_span(&text), JSON_UNIQUE_NAMES, &root, &told) == ERR_OK);
    /* Every section has its definition, and each definition its words. */
    const struct json_node *defs = json_find(root, SPAN("$defs"));
    for (size_t i = 0; i < schema_section_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", schema_sections[i]->title);
        for (char *p = name; *p; p++)
            *p = *p == ' ' ? '_' : *p;
        const struct json_node *words =
            json_find(json_find(defs, span_of_cstr(name)), SPAN("properties"));
        for (size_t k = 0; k < schema_sections[i]->word_count; k++)
            EXPECT(json_find(words, span_of_cstr(schema_sections[i]->words[k].name)) != NULL);
    }
    arena_deinit(&a);
    builder_deinit(&text);
}

/* --- faults -------------------------------------------------------------------------------------
 */

static size_t allocations_left;

static void *failing_realloc(void *old, size_t n)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return realloc(old, n);
}

TEST(the_nth_allocation_may_fail)
{
    const struct mem_door door = mem_door;
    static char room[1 << 16];
    size_t n = 0;
    for (bool is_done = false; !is_done; n++) {
        struct builder told;
        builder_init_fixed(&told, room, sizeof room);
        allocations_left = n;
        mem_door.realloc = failing_realloc;
        struct config *c = config_parse(span_of_cstr(contract), "f", fake_env, &told);
        mem_door = door;
        is_done = c != NULL;
        struct span text = builder_span(&told);
        bool says_memory = memmem(text.p, text.n, "not enough memory", 17) != NULL;
        config_free(c);
        CHECK(says_memory == !is_done);
        CHECK(n < 100000);
    }
    CHECK(n > 10); /* it did fail on the way */
}

/* Every text cut at every byte: an answer, and never a crash. */
TEST(a_text_may_end_anywhere)
{
    for (size_t n = 0; n < sizeof contract - 1; n++) {
        builder_clear(&report);
        struct config *c = config_parse(span(contract, n), "f", fake_env, &report);
        CHECK(c != NULL || builder_span(&report).n > 0);
        config_free(c);
    }
}

/* One byte changed at every place. */
TEST(a_byte_may_be_anything)
{
    static char text[sizeof contract];
    static const char bytes[] = "\0\t\n {}[]:,-\"'#&*!|>%@`$\x80\xff";
    for (size_t i = 0; i < sizeof contract - 1; i++) {
        memcpy(text, contract, sizeof contract);
        text[i] = bytes[i * 7 % (sizeof bytes - 1)];
        builder_clear(&report);
        struct config *c = config_parse(span(text, sizeof contract - 1), "f", fake_env, &report);
        CHECK(c != NULL || builder_span(&report).n > 0);
        config_free(c);
    }
}

int main(void)
{
    builder_init(&report, 1 << 20);
    RUN(names_must_name_something);
    RUN(what_must_be_unique_is);
    RUN(chains_of_fallbacks_must_end);
    RUN(providers_need_what_the_catalogue_does_not_know);
    RUN(what_is_not_enforced_yet_is_told);
    RUN(a_hundred_mistakes_are_told_and_the_rest_counted);
    RUN(the_contracts_example_becomes_a_snapshot);
    RUN(defaults_are_filled_in);
    RUN(patterns_of_a_file_are_tried_longest_first);
    RUN(a_key_may_use_what_all_its_levels_allow);
    RUN(a_mock_with_a_url_is_an_ordinary_provider);
    RUN(everything_that_can_be_set_is);
    RUN(paths_are_relative_to_the_files_folder);
    RUN(the_demo_is_a_right_configuration);
    RUN(the_reference_names_every_word);
    RUN(examples_of_the_reference_are_right);
    RUN(the_json_schema_is_json);
    RUN(the_nth_allocation_may_fail);
    RUN(a_text_may_end_anywhere);
    RUN(a_byte_may_be_anything);
    builder_deinit(&report);
    return TESTS_DONE();
}
