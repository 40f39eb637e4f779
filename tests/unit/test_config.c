#include "base/mem.h"
#include "base/sys.h"
#include "config/config.h"
#include "config/numbers.h"
#include "config/scalar.h"
#include "config/schema.h"
#include "config/suggest.h"
#include "tests/test.h"
#include "json/tree.h"

#include <fcntl.h>
#include <unistd.h>

/* --- helpers ------------------------------------------------------------------------------------
 */

static const char *fake_env(const char *name)
{
    static const char *const values[][2] = {
        {"EMPTY", ""},
        {"FOUR", "4"},
        {"KEY", "kq8f0s9dfh2k3jh4k"},
        {"SEARCH_DEV_KEY", "kq8f0s9dfh2k3jh4k"},
        {"YAML", "x\nworkers: 9"},
        {"HOST", "127.0.0.1"},
        {"CONTROL", "a\x01z\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (strcmp(values[i][0], name) == 0)
            return values[i][1];
    }
    return NULL;
}

static struct builder report;

/* The report of a text stays in `report` until the next one. */
static struct config *parse(const char *text)
{
    builder_deinit(&report);
    builder_init(&report, 1 << 20);
    return config_parse(span_of_cstr(text), "f", fake_env, &report);
}

/* A case expects lines without "f:", each ended by '\n' but the last. */
struct config_case {
    const char *text, *expected;
};

static bool report_is(const char *expected)
{
    struct span got = builder_span(&report), want = span_of_cstr(expected), line, want_line;
    while (got.n > 0 || want.n > 0) {
        span_cut(got, '\n', &line, &got);
        span_cut(want, '\n', &want_line, &want);
        if (!span_starts(line, SPAN("f:")) || !span_eq(span_from(line, 2), want_line))
            return false;
    }
    return true;
}

__attribute__((noinline)) static bool run_case(const struct config_case *c)
{
    struct config *config = parse(c->text);
    bool is_right = report_is(c->expected);
    /* Warnings alone leave a configuration. */
    for (struct span rest = span_of_cstr(c->expected), line; rest.n > 0;) {
        span_cut(rest, '\n', &line, &rest);
        is_right &= config == NULL || memmem(line.p, line.n, ": warning: ", 11) != NULL;
    }
    is_right &= c->expected[0] != '\0' || config != NULL;
    if (!is_right)
        printf("# of: %s\n# expected %s: %s\n# got %s: %.*s\n", c->text,
               c->expected[0] ? "" : "none", c->expected, config ? "a config" : "none",
               SPAN_ARG(builder_span(&report)));
    config_free(config);
    return is_right;
}

#define RUN_CASES(table)                                                                           \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < ARRAY_LEN(table); i_++)                                           \
            EXPECT(run_case(&(table)[i_]));                                                        \
    } while (0)

#define MOCK "providers: {mock: {}}\n"
#define KEYTEXT "kq8f0s9dfh2k3jh4k"

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

/* --- YAML ---------------------------------------------------------------------------------------
 */

#define NOT_IN_LINE                                                                                \
    "YAML: this is not in line with what stands above; mend the indentation, or the quotes "       \
    "before it"
#define COLON                                                                                      \
    "YAML: a \":\" cannot stand behind this word; mend the indentation, or put quotes around a "   \
    "value that holds \": \""
#define BAD_START "YAML: this character cannot begin a value; put quotes around the value"

TEST(mistakes_of_yaml_are_told_with_their_place)
{
    static const struct config_case cases[] = {
        {"listen: [a, b\nstore: x\n", "2:1: YAML: a \"[\" is not closed; write \",\" or \"]\""},
        {"listen: [a, b\n", "1:9: YAML: a \"[\" is not closed; write \",\" or \"]\""},
        {"listen: {a: b\n", "1:9: YAML: a \"{\" is not closed; write \",\" or \"}\""},
        {"admin: {key: [a}\n", "1:16: YAML: a \"[\" is not closed; write \",\" or \"]\""},
        {"key: [a, {b: c]\n", "1:15: YAML: a \"{\" is not closed; write \",\" or \"}\""},
        {"listen: 'abc\nx: y\n", "1:9: YAML: this quote is never closed; write the second one"},
        {"listen: \"abc\n", "1:9: YAML: this quote is never closed; write the second one"},
        {"# c\n\n  a: 'it''s\n", "3:6: YAML: this quote is never closed; write the second one"},
        {"a: b: c\n", "1:4: " COLON},
        {"a: \xc3\xa9: c\n", "1:4: " COLON},
        {"providers:\n  openai: x\n   anthropic: y\n", "3:4: " COLON},
        {"workers: 3\n  listen: x\n", "2:3: " COLON},
        {"providers:\n\topenai: x\n", "2:1: YAML: a tab cannot indent; use blanks"},
        {"listen: x\nworkers\nstore: y\n",
         "2:1: YAML: this word has no \":\" behind it; write WORD: VALUE"},
        {"a:\n- b\nc\n", "3:1: YAML: this word has no \":\" behind it; write WORD: VALUE"},
        {"listen: @x\n", "1:9: " BAD_START},
        {"listen: `x`\n", "1:9: " BAD_START},
        {"listen: %x\n", "1:9: " BAD_START},
        {"\xc3\xa9\xc3\xa9: @\n", "1:7: " BAD_START}, /* columns count bytes */
        {"a: '\xe2\x82\xac'\nb: {\"\xf0\x9f\x98\x80\": @}\n", "2:13: " BAD_START},
        {"a: 'b' c\n", "1:8: " NOT_IN_LINE},
        {"a: |\n  x\n y\n", "3:2: " NOT_IN_LINE},
        {"  workers: 3\nlisten: x\n", "2:1: YAML: this is not in line with what stands above; "
                                      "mend the indentation"},
        {"a: ]\n", "1:4: YAML: a value should stand here; write one, or remove this"},
        {"}\n", "1:1: YAML: a value should stand here; write one, or remove this"},
        {"a: - b\n", "1:4: YAML: a list cannot begin here; put its \"-\" on a line of its own"},
        {"a: \"\\q\"\n", "1:5: YAML: this text holds an escape that YAML does not know; write \\\\ "
                         "for a backslash, or use single quotes"},
    };
    RUN_CASES(cases);
}

TEST(what_yaml_has_beyond_a_tree_is_refused)
{
    static const struct config_case cases[] = {
        {"listen: *x\n", "1:9: there is no anchor \"x\" before this alias"},
        {"x: &a [*a]\n", "1:8: the alias \"a\" stands inside of what it names"},
        {"a: &x {b: {c: *x}}\n", "1:15: the alias \"x\" stands inside of what it names"},
        {"a: &x b\n*x : c\n", "2:1: the alias \"x\" stands where a word is due; write the word"},
        {"a: !!str b\n",
         "1:4: tags have no meaning here; leave the \"!\" away, or put quotes around it"},
        {"a: !x [b]\n",
         "1:4: tags have no meaning here; leave the \"!\" away, or put quotes around it"},
        {"!x\na: b\n",
         "1:1: tags have no meaning here; leave the \"!\" away, or put quotes around it"},
        {"workers: 1\n---\nworkers: 2\n",
         "2:1: a second document starts here; a configuration is one document"},
        {"? [a]\n: b\n", "1:3: a list or a mapping stands where a word is due; put the word in "
                         "quotes"},
        {"{{a: b}: c}\n", "1:2: a list or a mapping stands where a word is due; put the word in "
                          "quotes"},
        {"a: &x {b: c}\n<<: *x\n", "2:1: \"<<\" merges nothing here; write the words out"},
        {"- a\n- b\n", "1:1: the configuration: a list stands here; write a mapping with words "
                       "such as \"listen\""},
        {"listen\n", "1:1: the configuration: a single value stands here; write a mapping with "
                     "words such as \"listen\""},
    };
    RUN_CASES(cases);
}

TEST(bytes_that_yaml_cannot_hold_are_told)
{
    static const char unprintable[] =
        "this character cannot be in YAML text; write it as an escape in double quotes";
    static const struct {
        const char *text;
        int line, column;
        bool is_utf8;
    } cases[] = {
        {"\x01", 1, 1, true},
        {"a: b\nc: \x7f", 2, 4, true},
        {"\xc3\xa9: \x1b[0m", 1, 5, true},
        {"a: \xef\xbb\xbf", 1, 4, true},      /* a byte order mark inside */
        {"a: \xc2\x80", 1, 4, true},          /* a C1 control */
        {"a: \xf4\x8f\xa0\x80", 1, 4, true},  /* what references are hidden by */
        {"a: \xff", 1, 4, false},             /* RFC 3629: never */
        {"a: \xc0\x80", 1, 4, false},         /* overlong NUL */
        {"a: \xe0\x80\xaf", 1, 4, false},     /* overlong slash */
        {"a: \xed\xa0\x80", 1, 4, false},     /* a surrogate */
        {"a: \xf4\x90\x80\x80", 1, 4, false}, /* beyond U+10FFFF */
        {"a: \xc3", 1, 4, false},             /* cut */
        {"a: \xe2\x82", 1, 4, false},
        {"a: \x80", 1, 4, false},
        {"a\n\xfe\xff", 2, 1, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char expected[160];
        snprintf(expected, sizeof expected, "%d:%d: %s", cases[i].line, cases[i].column,
                 cases[i].is_utf8 ? unprintable : "this byte is not UTF-8; save the file as UTF-8");
        CHECK(run_case(&(struct config_case){cases[i].text, expected}));
    }
}

TEST(forms_of_yaml_that_are_right_are_taken)
{
    static const char *const texts[] = {
        MOCK,
        "\xef\xbb\xbf" MOCK, /* an editor's byte order mark */
        "---\n" MOCK,
        "--- # c\n" MOCK "...\n",
        "%YAML 1.1\n---\n" MOCK,
        "{\"providers\": {\"mock\": {}}}",
        "providers:\r\n  mock:\r\n",
        "providers:\n  mock: ~\n",
        "providers:\n  mock: null\n",
        "providers:\n  \"mock\":\n    {}\nmodels:\n  'a': >-\n    mock/mock-ok\n",
        "providers: &p {mock: {}}\nroutes:\n",
        MOCK "keys:\nroutes: # all commented out\n#  a: b\n",
        MOCK "workers: \"4\"\n",
        MOCK "routes: {a: &r {timeout: 1s}, b: *r, c: *r}\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config *c = parse(texts[i]);
        if (!c || builder_span(&report).n > 0)
            printf("# %s\n# %.*s", texts[i], SPAN_ARG(builder_span(&report)));
        EXPECT(c != NULL && builder_span(&report).n == 0);
        config_free(c);
    }
}

/* One anchor used by the next, ten times each: the laughs are counted, not written out. */
TEST(aliases_are_bounded_by_what_they_say)
{
    static const struct config_case laughs = {
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
        "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
        "1:12: there are too many values, with aliases written out; shorten the file"};
    struct config *c = parse(laughs.text);
    CHECK(c == NULL);
    CHECK(memmem(builder_span(&report).p, builder_span(&report).n, "too many values", 15) != NULL);
}

TEST(depth_is_bounded_also_through_aliases)
{
    char deep[400], expected[64];
    for (size_t depth = 31; depth <= 40; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        deep[2 * depth] = '\0';
        struct config *c = parse(deep);
        CHECK(c == NULL);
        snprintf(expected, sizeof expected, "1:33: values are nested too deeply");
        CHECK(report_is(expected) == (depth > 32));
    }
    /* Twenty levels behind an anchor, used fifteen levels down. */
    struct config *c = parse("a: &x [[[[[[[[[[[[[[[[[[[[y]]]]]]]]]]]]]]]]]]]]\n"
                             "b: [[[[[[[[[[[[[[[*x]]]]]]]]]]]]]]]\n");
    CHECK(c == NULL);
    CHECK(memmem(builder_span(&report).p, builder_span(&report).n, "nested too deeply", 17));
}

/* --- variables ----------------------------------------------------------------------------------
 */

TEST(variables_are_expanded_as_text)
{
    static const struct config_case cases[] = {
        {"workers: ${FOUR}\n" MOCK, ""},
        {"workers: ${NONE:-4}\n" MOCK, ""},
        {"workers: ${EMPTY:-4}\n" MOCK, ""},
        {"workers: ${NONE:-}\n" MOCK, ""}, /* left out: the default */
        {"limits: {body: ${NONE:-}, connections: ${FOUR}}\n" MOCK, ""},
        {"listen: ${HOST}:${FOUR}\n" MOCK, ""},
        {"listen: [\"${HOST}:${FOUR}${FOUR}\", '${HOST}:80']\n" MOCK, ""},
        {"listen: ${NONE:-127.0.0.1:80}\n" MOCK, ""},
        {"listen: ${NONE:-[::1]:80}\n" MOCK, ""},
        {"routes: {$${NAME}: {}}\n" MOCK, ""},
        {"routes: {a: {timeout: \"${NONE:-2s}\"}} # ${COMMENT}\n" MOCK, ""},
        {"workers: ${NONE}\n" MOCK, "1:10: the environment variable \"NONE\" is not set; set it, "
                                    "or write ${NONE:-default}"},
        {"workers: 4\nlisten: 127.0.0.1:${NONE}\n" MOCK,
         "2:19: the environment variable \"NONE\" is not set; set it, or write ${NONE:-default}"},
        {"listen: ['$${${HOST}', \"a${FOUR}${NONE}\"]\n" MOCK,
         "1:10: listen: \"$${${HOST}\" is not an address; write HOST:PORT, such as "
         "127.0.0.1:8080\n"
         "1:33: the environment variable \"NONE\" is not set; set it, or write ${NONE:-default}"},
        {"workers: ${FOUR\n" MOCK, "1:10: \"${\" begins no variable; write ${NAME} or "
                                   "${NAME:-default}, or $${ for the two characters"},
        {"workers: '${}'\n" MOCK, "1:11: \"${\" begins no variable; write ${NAME} or "
                                  "${NAME:-default}, or $${ for the two characters"},
        {"workers: '${4X}'\n" MOCK, "1:11: \"${\" begins no variable; write ${NAME} or "
                                    "${NAME:-default}, or $${ for the two characters"},
        {"workers: '${X-Y}'\n" MOCK, "1:11: \"${\" begins no variable; write ${NAME} or "
                                     "${NAME:-default}, or $${ for the two characters"},
        {"workers: ${NONE:-${FOUR}}\n" MOCK,
         "1:10: \"${\" begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the two "
         "characters"},
        /* What a variable holds cannot add words, and is not shown. */
        {"access_log: off\nclient_half_close: ${YAML}\n" MOCK,
         "2:20: client_half_close: \"${YAML}\" is not known; write probe, abort or allow"},
        {"workers: ${KEY}\n" MOCK,
         "1:10: workers: \"${KEY}\" is not auto or a whole number from 1 to 256"},
        {"routes: {a: {model: ${CONTROL}}}\n" MOCK,
         "1:21: model: \"${CONTROL}\" holds a blank; a name has none"},
    };
    RUN_CASES(cases);
    struct config *c = parse("workers: ${FOUR}\naccess_log: a$${HOST}b$c$\n" MOCK);
    CHECK(c != NULL);
    EXPECT(c->workers == 4);
    EXPECT(span_eq(c->access_log, SPAN("a${HOST}b$c$")));
    config_free(c);
}

/* --- words --------------------------------------------------------------------------------------
 */

TEST(unknown_words_are_told_with_the_nearest)
{
    static const struct config_case cases[] = {
        {"lissten: x\n" MOCK,
         "1:1: unknown word \"lissten\" in the configuration; did you mean \"listen\"?"},
        {"Listen: x\n" MOCK,
         "1:1: unknown word \"Listen\" in the configuration; did you mean \"listen\"?"},
        {"lsiten: x\nwokers: 3\n" MOCK,
         "1:1: unknown word \"lsiten\" in the configuration; did you mean \"listen\"?\n"
         "2:1: unknown word \"wokers\" in the configuration; did you mean \"workers\"?"},
        {"organizations: {}\n" MOCK, "1:1: unknown word \"organizations\" in the configuration; "
                                     "did you mean \"organisations\"?"},
        {"admin: {kye: x}\n" MOCK, "1:9: unknown word \"kye\" in admin; did you mean \"key\"?"},
        {"admin: {colour: x}\n" MOCK,
         "1:9: unknown word \"colour\" in admin; its words are key, listen"},
        {"providers:\n  house:\n    dialect: openai\n    base-url: http://x/v1\n",
         "2:3: the provider \"house\" is not in the catalogue and needs \"dialect\" and "
         "\"base_url\"\n"
         "4:5: unknown word \"base-url\" in a provider; did you mean \"base_url\"?"},
        {"admin: {\"\\x01\\n\": x}\n" MOCK,
         "1:9: unknown word \"\\x01\\x0a\" in admin; its words are key, listen"},
        {"workers: 1\nworkers: 2\n" MOCK,
         "2:1: \"workers\" stands here a second time; it is on line 1"},
        {"timeouts: {body: 1s, header: 1s, body: 2s}\n" MOCK,
         "1:34: \"body\" stands here a second time; it is on line 1"},
        {"keys: [{key: " KEYTEXT "}]\n" MOCK, "1:8: a key needs the word \"name\""},
        {"keys: [{}]\n" MOCK,
         "1:8: a key needs the word \"key\"\n1:8: a key needs the word \"name\""},
    };
    RUN_CASES(cases);
}

/* Each word of each section, with one letter taken out, is told with itself. */
TEST(every_word_is_found_when_one_letter_is_missing)
{
    for (size_t i = 0; i < schema_section_count; i++) {
        const struct section *section = schema_sections[i];
        for (size_t k = 0; k < section->word_count; k++) {
            struct span word = span_of_cstr(section->words[k].name);
            char slip[64];
            for (size_t out = 0; out < word.n && word.n > 3; out++) {
                memcpy(slip, word.p, out);
                memcpy(slip + out, word.p + out + 1, word.n - out - 1);
                struct suggestion s;
                suggest_init(&s, span(slip, word.n - 1));
                for (size_t w = 0; w < section->word_count; w++)
                    suggest_offer(&s, span_of_cstr(section->words[w].name));
                CHECK(span_eq(s.nearest, word) || section_word(section, span(slip, word.n - 1)));
            }
        }
    }
}

/* The table of distances is from the definition (optimal string alignment). */
TEST(distances_are_those_of_the_definition)
{
    static const struct {
        const char *a, *b;
        uint32_t distance;
    } cases[] = {
        {"", "", 0},
        {"a", "", 1},
        {"", "abc", 3},
        {"abc", "abc", 0},
        {"abc", "acb", 1},
        {"abc", "abd", 1},
        {"kitten", "sitting", 3},
        {"ca", "abc", 3},
        {"ABC", "abc", 0},
        {"a-b", "a_b", 0},
        {"saturday", "sunday", 3},
        {"abcd", "badc", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span a = span_of_cstr(cases[i].a), b = span_of_cstr(cases[i].b);
        CHECK(edit_distance(a, b) == cases[i].distance);
        CHECK(edit_distance(b, a) == cases[i].distance);
    }
}

TEST(values_of_the_wrong_shape_are_told)
{
    static const struct config_case cases[] = {
        {"timeouts: 5s\n" MOCK, "1:11: timeouts: a single value stands here; write a mapping with "
                                "words such as \"header\""},
        {"timeouts: [a]\n" MOCK,
         "1:11: timeouts: a list stands here; write a mapping with words such as \"header\""},
        {"workers: [4]\n" MOCK,
         "1:10: workers: a list stands here; write auto or a whole number from 1 to 256"},
        {"access_log: {a: b}\n" MOCK,
         "1:13: access_log: a mapping stands here; write stdout, off or a path"},
        {"access_log:\n" MOCK, "1:12: access_log: a value is missing; write stdout, off or a path"},
        {"providers: []\n", "1:12: providers: a list stands here; write a mapping from names to a "
                            "mapping with words such as \"api_key\""},
        {"keys: {a: b}\n" MOCK,
         "1:7: keys: a mapping stands here; write a list, each a mapping with words such as "
         "\"name\""},
        {"keys: [a]\n" MOCK, "1:8: keys: a single value stands here; write a mapping with words "
                             "such as \"name\""},
        {"models: {a: [mock/x]}\n" MOCK,
         "1:13: models: a list stands here; write PROVIDER/MODEL or a mapping with words such as "
         "\"targets\""},
        {"models: {a: }\n" MOCK, "1:13: models: a value is missing; write PROVIDER/MODEL"},
        {"listen: []\n" MOCK, "1:9: listen: the list is empty; write at least one address"},
    };
    RUN_CASES(cases);
}

/* --- scalars ------------------------------------------------------------------------------------
 */

/* `word` is a path to a scalar: a template with %s for the value. */
struct scalar_case {
    const char *value, *wrong; /* NULL: right */
};

__attribute__((noinline)) static bool run_scalars(const char *format, const char *word,
                                                  size_t column, const struct scalar_case *cases,
                                                  size_t count)
{
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        char text[1024], expected[1024] = "";
        snprintf(text, sizeof text, format, cases[i].value);
        if (cases[i].wrong)
            snprintf(expected, sizeof expected, "1:%zu: %s: \"%s\" %s", column, word,
                     cases[i].value, cases[i].wrong);
        all &= run_case(&(struct config_case){text, expected});
    }
    return all;
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

TEST(durations_have_a_unit)
{
    static const char no[] = "is not a duration such as 500ms, 20s, 2m, 1h or 1d";
    static const struct scalar_case cases[] = {
        {"20s", NULL},
        {"500ms", NULL},
        {"2m", NULL},
        {"1h", NULL},
        {"100ms", NULL},
        {"3600s", NULL},
        {"60m", NULL},
        {"20", no},
        {"20x", no},
        {"s", no},
        {"-1s", no},
        {"+1s", no},
        {"1.5s", no},
        {"1 s", no},
        {"20S", no},
        {"1h30m", no},
        {"0x1s", no},
        {"1e3s", no},
        {"1_0s", no},
        {"ms", no},
        {"99999999999999999999s", no},
        {"9999999999999999d", no},
        {"20sec", no},
        {"1us", no},
        {"99ms", "is too small; the least is 100ms"},
        {"0s", "is too small; the least is 100ms"},
        {"61m", "is too large; the most is 1h"},
        {"1d", "is too large; the most is 1h"},
    };
    EXPECT(run_scalars("timeouts: {header: \"%s\"}\n" MOCK, "header", 20, cases, ARRAY_LEN(cases)));
}

TEST(sizes_have_a_unit)
{
    static const char no[] = "is not a size such as 512KiB, 32MiB or 4GiB";
    static const struct scalar_case cases[] = {
        {"32MiB", NULL},
        {"1KiB", NULL},
        {"1024B", NULL},
        {"4GiB", NULL},
        {"32MB", no},
        {"32", no},
        {"32M", no},
        {"32mib", no},
        {"MiB", no},
        {"1.5MiB", no},
        {"-1B", no},
        {"32 MiB", no},
        {"0x20MiB", no},
        {"99999999999GiB", no},
        {"1023B", "is too small; the least is 1KiB"},
        {"5GiB", "is too large; the most is 4GiB"},
        {"0B", "is too small; the least is 1KiB"},
    };
    EXPECT(run_scalars("limits: {body: \"%s\"}\n" MOCK, "body", 16, cases, ARRAY_LEN(cases)));
}

TEST(whole_numbers_are_digits)
{
    static const char no[] = "is not a whole number";
    static const struct scalar_case cases[] = {
        {"1", NULL},
        {"1000000", NULL},
        {"007", NULL},
        {"-1", no},
        {"+1", no},
        {"1.0", no},
        {"1e3", no},
        {"0x10", no},
        {"1,000", no},
        {"1_000", no},
        {"one", no},
        {" 1", no},
        {"1 ", no},
        {"99999999999999999999", no},
        {"9223372036854775808", no},
        {"0", "is too small; the least is 1"},
        {"1000001", "is too large; the most is 1000000"},
    };
    EXPECT(
        run_scalars("limits: {requests: \"%s\"}\n" MOCK, "requests", 20, cases, ARRAY_LEN(cases)));
}

TEST(booleans_are_true_or_false)
{
    static const char no[] = "is not true or false";
    static const struct scalar_case cases[] = {
        {"true", NULL}, {"false", NULL}, {"yes", no}, {"no", no},    {"on", no},
        {"off", no},    {"True", no},    {"1", no},   {"truee", no}, {"y", no},
    };
    EXPECT(run_scalars("providers: {openai: {private: \"%s\"}}\n", "private", 31, cases,
                       ARRAY_LEN(cases)));
}

TEST(addresses_can_be_listened_on)
{
    static const char no_port[] = "has no port from 0 to 65535";
    static const char no_host[] = "has no host to listen on; write an IPv4 address, an IPv6 "
                                  "address in brackets, or localhost";
    static const char no[] = "is not an address; write HOST:PORT, such as 127.0.0.1:8080";
    static const struct scalar_case cases[] = {
        {"127.0.0.1:8080", NULL},
        {"0.0.0.0:0", NULL},
        {"[::]:80", NULL},
        {"[::1]:65535", NULL},
        {"localhost:1", NULL},
        {"unix:/run/x", NULL},
        {"unix:@x", NULL},
        {"unix:x.sock", NULL},
        {"8080", no},
        {"localhost", no},
        {"", no},
        {":8080", no_host},
        {"::1:80", no_host},
        {"[::1:80", no_host},
        {"host:80", no_host},
        {"256.0.0.1:1", no_host},
        {"1.2.3:1", no_host},
        {"*:80", no_host},
        {"[]:80", no_host},
        {"[127.0.0.1]:80", no_host},
        {"127.0.0.1:", no_port},
        {"127.0.0.1:x", no_port},
        {"127.0.0.1:65536", no_port},
        {"127.0.0.1:-1", no_port},
        {"127.0.0.1:080808", no_port},
        {"unix:", "has no path; write unix:/run/penstock.sock"},
        {"unix:@", "has no path; write unix:/run/penstock.sock"},
    };
    EXPECT(run_scalars("listen: \"%s\"\n" MOCK, "listen", 9, cases, ARRAY_LEN(cases)));
}

TEST(urls_of_providers_are_checked)
{
#define URL(why) "is not a URL of a provider: " why "; write one such as https://api.openai.com/v1"
    static const struct scalar_case cases[] = {
        {"http://x/v1", NULL},
        {"https://x:1/a/b", NULL},
        {"unix:/run/x:/v1", NULL},
        {"", URL("it does not begin with http://, https:// or unix:")},
        {"api.openai.com", URL("it does not begin with http://, https:// or unix:")},
        {"http://u:p@x/v1", URL("it may not hold a user or a password")},
        {"http://x/v1?k=v", URL("it may not have a query or a fragment")},
        {"http://x:0/v1", URL("its port is not a number from 1 to 65535")},
        {"http:///v1", URL("it has no host")},
        {"http://x y/v1", URL("its host is neither a name nor an address")},
    };
    EXPECT(run_scalars("providers: {openai: {base_url: \"%s\", api_key: x}}\n", "base_url", 32,
                       cases, ARRAY_LEN(cases)));
}

TEST(stores_fleets_and_proxies_are_checked)
{
    static const struct config_case cases[] = {
        {"store: mysql://x\n" MOCK,
         "1:1: warning: store is read but not enforced by this version\n"
         "1:8: store: the value is not a store; write sqlite:PATH or postgresql://user@host/db"},
        {"store: postgresql://u:hunter2@h/db\n" MOCK,
         "1:1: warning: store is read but not enforced by this version"},
        {"fleet: 127.0.0.1:6379\n" MOCK,
         "1:1: warning: fleet is read but not enforced by this version\n"
         "1:8: fleet: the value is not a fleet; write redis://HOST:6379"},
        {"fleet: rediss://:pw@x:1\n" MOCK,
         "1:1: warning: fleet is read but not enforced by this version"},
        {"providers: {openai: {api_key: x, proxy: http://u:p@h:1}}\n", ""},
        {"providers: {openai: {api_key: x, proxy: socks://u:p@h}}\n",
         "1:41: proxy: the value is not a URL of a proxy: it does not begin with http://; write "
         "http://user:password@host:port"},
    };
    RUN_CASES(cases);
}

/* Days from date -u -d DATE +%s. */
TEST(times_are_read_as_rfc_3339_says)
{
    static const struct {
        const char *text;
        int64_t seconds; /* -1: wrong */
    } cases[] = {
        {"1970-01-01", 0},
        {"2027-01-31", 1801353600},
        {"2024-02-29", 1709164800},
        {"2000-02-29T12:34:56Z", 951827696},
        {"2027-01-31T12:00:00Z", 1801396800},
        {"2027-01-31t12:00:00z", 1801396800},
        {"2027-01-31 12:00:00Z", 1801396800},
        {"2027-01-31T12:00:00.123Z", 1801396800},
        {"2027-01-31T12:00:00+02:00", 1801389600},
        {"2027-01-31T12:00:00-05:30", 1801416600},
        {"2027-02-29", -1},
        {"2100-02-29", -1},
        {"2027-13-01", -1},
        {"2027-00-01", -1},
        {"2027-01-00", -1},
        {"2027-01-32", -1},
        {"2027-1-31", -1},
        {"27-01-31", -1},
        {"2027/01/31", -1},
        {"2027-01-31T", -1},
        {"2027-01-31T12:00", -1},
        {"2027-01-31T12:00:00", -1},
        {"2027-01-31T24:00:00Z", -1},
        {"2027-01-31T12:60:00Z", -1},
        {"2027-01-31T12:00:00.Z", -1},
        {"2027-01-31T12:00:00+2:00", -1},
        {"2027-01-31T12:00:00+24:00", -1},
        {"2027-01-31T12:00:00Zx", -1},
        {"1969-12-31", -1},
        {"tomorrow", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        bool is_right = time_read(span_of_cstr(cases[i].text), &got);
        if (is_right != (cases[i].seconds >= 0) || (is_right && got != cases[i].seconds * NS_PER_S))
            printf("# %s\n", cases[i].text);
        EXPECT(is_right == (cases[i].seconds >= 0));
        EXPECT(!is_right || got == cases[i].seconds * NS_PER_S);
    }
}

TEST(decimals_are_exact)
{
    static const struct shape six = {.kind = KIND_DECIMAL, .digits = 6};
    static const struct {
        const char *text;
        int64_t number; /* -1: wrong */
    } cases[] = {
        {"0.05", 50000},
        {"0.1", 100000},
        {"0.10", 100000},
        {"50000", 50000000000},
        {"0", 0},
        {"0.000001", 1},
        {"1.000000", 1000000},
        {"0.0000001", -1},
        {".5", -1},
        {"5.", -1},
        {"-1", -1},
        {"1e3", -1},
        {"1,5", -1},
        {"1.5.5", -1},
        {"", -1},
        {"0.0 5", -1},
        {"9223372036854.775807", INT64_MAX},
        {"9223372036854.775808", -1},
        {"99999999999999999999", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        bool is_right = number_read(&six, span_of_cstr(cases[i].text), &got);
        EXPECT(is_right == (cases[i].number >= 0));
        EXPECT(!is_right || got == cases[i].number);
    }
}

/* What is written is read back, for every shape of a number that the schema has. */
static void check_shape(const struct shape *s)
{
    if (s->kind == KIND_EITHER) {
        check_shape(s->of);
        check_shape(s->otherwise);
    }
    if (s->kind < KIND_INTEGER || s->kind > KIND_SIZE)
        return;
    const int64_t numbers[] = {s->min, s->max, s->min + 1, s->max / 3 * 2};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t n = numbers[i], got = -1;
        if (s->kind == KIND_DURATION)
            n -= n % NS_PER_MS;
        char text[NUMBER_BYTES_MAX];
        number_write(s, n, text);
        EXPECT(number_read(s, span_of_cstr(text), &got) && got == n);
    }
}

TEST(numbers_are_written_as_they_are_read)
{
    for (size_t i = 0; i < schema_section_count; i++)
        for (size_t k = 0; k < schema_sections[i]->word_count; k++)
            check_shape(schema_sections[i]->words[k].shape);
}

/* --- secrets ------------------------------------------------------------------------------------
 */

TEST(placeholders_are_known)
{
    static const char *const bad[] = {
        "sk-1234",
        "changeme",
        "change-me",
        "ChangeMe!",
        "secret",
        "password",
        "your-api-key",
        "YOUR_API_KEY",
        "sk-your-api-key-here",
        "xxx",
        "xxxxxxxxxxxxxxxxxxxx",
        "test",
        "admin",
        "123456",
        "1234567890123456",
        "12345678901234567890",
        "<your key here>",
        "<KEY>",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "0000000000000000",
        "sk-xxxxxxxxxxxxxxxxxxxx",
        "changemechangeme",
        "password password",
        "abcdefghijklmnop",
        "................",
        "sk-proj-xxxxxxxxxxxx",
        "testtesttesttest",
        "0123456789abcdef",
        "abcabcabcabcabcabc",
        "********************",
        "replace-me",
        "insert-your-key-here",
        "secretsecretsecret",
    };
    static const char *const good[] = {
        KEYTEXT,
        "f3a9c2e17b5d4860",
        "sk-proj-8fK2mQz7XvB4nLpW",
        CONFIG_DEMO_KEY,
        "correct horse battery",
        "test-key-7f3a9c2e1",
        "sk-test-4eC39HqLyjWDarjtT1zdp7dc",
        "p7",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (!EXPECT(secret_is_placeholder(span_of_cstr(bad[i]))))
            printf("# %s\n", bad[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!EXPECT(!secret_is_placeholder(span_of_cstr(good[i]))))
            printf("# %s\n", good[i]);
    }
}

#define PLACEHOLDER "the value is a placeholder; write a secret of your own"
#define EMPTY_SECRET "the value is empty; an empty secret protects nothing"
#define LATER(at, word) at ": warning: " word " is read but not enforced by this version"

TEST(empty_and_placeholder_secrets_refuse)
{
    static const struct config_case cases[] = {
        {"admin: {key: \"\"}\n" MOCK, "1:14: key: " EMPTY_SECRET},
        {"admin: {key: ${EMPTY}}\n" MOCK, "1:14: key: " EMPTY_SECRET},
        {"admin: {key: ${NONE:-}}\n" MOCK, ""},
        {"admin: {key: changeme}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: ${NONE:-changeme}}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: <your admin key>}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: abc8fk2}\n" MOCK,
         "1:14: key: the value is too short; a secret has at least 16 characters"},
        {"admin: {key: }\n" MOCK,
         "1:14: key: a value is missing; write a secret of 16 to 256 characters"},
        {"master_key: secret\n" MOCK,
         LATER("1:1", "master_key") "\n1:13: master_key: " PLACEHOLDER},
        {"master_key: ${NONE:-}\n" MOCK, ""},
        {"keys: [{name: a, key: \"\"}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: ${EMPTY}}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: ${NONE:-}}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: aaaaaaaaaaaaaaaaaaaa}]\n" MOCK, "1:23: key: " PLACEHOLDER},
        {"keys: [{name: a, key: \"kq8f0s9dfh2k3jh 4k\"}]\n" MOCK,
         "1:23: key: the value holds a blank or a byte that is not visible ASCII"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh\xc3\xa9k}]\n" MOCK,
         "1:23: key: the value holds a blank or a byte that is not visible ASCII"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh}]\n" MOCK,
         "1:23: key: the value is too short; a secret has at least 16 characters"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh4}]\n" MOCK, ""},
        {"providers: {openai: {api_key: your-api-key}}\n",
         "1:31: api_key: the value is a placeholder; write the provider's key, or leave it empty"},
        {"providers: {openai: {api_key: \"a b\"}}\n",
         "1:31: api_key: the value holds a blank or a byte that is not visible ASCII"},
        {"providers: {openai: {api_key: \"a\\r\\nb: c\"}}\n",
         "1:31: api_key: the value holds a blank or a byte that is not visible ASCII"},
        {"providers: {openai: {api_key: ${NONE:-}}}\n", ""},
        {"providers: {openai: {api_key: \"\"}}\n", ""},
        {"providers: {openai: {api_key: }}\n", ""},
        {"providers: {openai: }\n", ""},
    };
    RUN_CASES(cases);
    char text[600], key[300];
    for (size_t n = 255; n <= 258; n++) {
        for (size_t i = 0; i < n; i++)
            key[i] = "kq8f0s9dfh2zm"[i % 13 * i % 13];
        key[n] = '\0';
        snprintf(text, sizeof text, "keys: [{name: a, key: %s}]\n" MOCK, key);
        struct config *c = parse(text);
        CHECK((c != NULL) == (n <= 256));
        config_free(c);
    }
}

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
    RUN(mistakes_of_yaml_are_told_with_their_place);
    RUN(what_yaml_has_beyond_a_tree_is_refused);
    RUN(bytes_that_yaml_cannot_hold_are_told);
    RUN(forms_of_yaml_that_are_right_are_taken);
    RUN(aliases_are_bounded_by_what_they_say);
    RUN(depth_is_bounded_also_through_aliases);
    RUN(variables_are_expanded_as_text);
    RUN(unknown_words_are_told_with_the_nearest);
    RUN(every_word_is_found_when_one_letter_is_missing);
    RUN(distances_are_those_of_the_definition);
    RUN(values_of_the_wrong_shape_are_told);
    RUN(durations_have_a_unit);
    RUN(sizes_have_a_unit);
    RUN(whole_numbers_are_digits);
    RUN(booleans_are_true_or_false);
    RUN(addresses_can_be_listened_on);
    RUN(urls_of_providers_are_checked);
    RUN(stores_fleets_and_proxies_are_checked);
    RUN(times_are_read_as_rfc_3339_says);
    RUN(decimals_are_exact);
    RUN(numbers_are_written_as_they_are_read);
    RUN(placeholders_are_known);
    RUN(empty_and_placeholder_secrets_refuse);
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
