#include "tests/unit/config_case.h"

#include "config/schema.h"
#include "config/suggest.h"

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
    builder_deinit(&report);
    return TESTS_DONE();
}
