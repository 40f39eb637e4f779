#include "json/scan.h"

#include "base/arena.h"
#include "base/builder.h"
#include "base/mem.h"
#include "tests/json_reference.h"
#include "tests/test.h"
#include "tests/unit/json_mutate.h"
#include "json/kernel.h"
#include "json/tap.h"
#include "json/tree.h"

static const struct span wanted[] = {SPAN_INIT("model"), SPAN_INIT("stream"),
                                     SPAN_INIT("max_tokens"), SPAN_INIT("user"), SPAN_INIT("b")};
enum { WANTED = ARRAY_LEN(wanted) };
static struct json_names names;

static enum err scan(struct span body, unsigned flags, struct json_report *report)
{
    struct span values[WANTED];
    return json_scan(body, &names, flags, values, report);
}

/* --- kernels -------------------------------------------------------------------------------- */

/* What a kernel's text() must answer, by the definition in kernel.h. */
static size_t text_by_reference(struct span s)
{
    uint32_t room[64];
    size_t at = 0;
    while (at < s.n && (unsigned char)s.p[at] >= 0x20 && s.p[at] != '"' && s.p[at] != '\\') {
        size_t n = 1;
        while (n <= 4 && at + n <= s.n && reference_decode((struct span){s.p + at, n}, room) != 1)
            n++;
        if (n > 4 || at + n > s.n)
            break;
        at += n;
    }
    return at;
}

static bool kernels_agree(struct span s)
{
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    const size_t expected = text_by_reference(s);
    bool is_right = true;
    for (size_t i = 0; i < count; i++)
        is_right &= EXPECT(kernels[i]->text(s.p, s.p + s.n) == s.p + expected);
    return is_right;
}

/* Every byte at every place in and around the blocks, in plain text and in Chinese. */
TEST(a_kernel_stops_at_the_first_byte_that_is_not_plain)
{
    for (size_t n = 0; n <= 70; n++) {
        char *const text = malloc(n + 1); /* of its own, so that ASan sees its end */
        for (size_t at = 0; at < n; at++) {
            for (unsigned c = 0; c < 256; c++) {
                memset(text, 'a', n);
                text[at] = (char)c;
                CHECK(kernels_agree((struct span){text, n}));
            }
        }
        free(text);
    }
}

TEST(a_kernel_knows_every_sequence_of_utf8)
{
    static const unsigned char edges[] = {0x00, 0x22, 0x41, 0x5C, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                          0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
                                          0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    enum { N = ARRAY_LEN(edges) };
    static const size_t places[] = {0, 1, 13, 14, 15, 16, 28, 29, 30, 31, 32, 33, 36};
    const int step = mutate_tries(20) == 20 ? 5 : 31;
    char text[40];
    for (size_t place = 0; place < ARRAY_LEN(places); place++) {
        for (int i = 0; i < N * N * N * N; i += step) {
            memset(text, 'a', sizeof text);
            text[places[place]] = (char)edges[i % N];
            text[places[place] + 1] = (char)edges[i / N % N];
            text[places[place] + 2] = (char)edges[i / N / N % N];
            text[places[place] + 3] = (char)edges[i / N / N / N];
            CHECK(kernels_agree((struct span){text, sizeof text}));
        }
    }
}

TEST(every_code_point_passes_and_no_surrogate_does)
{
    static char text[64 * 4 + 1];
    for (uint32_t c = 0x80; c <= 0x10FFFF; c += 64) {
        size_t n = 0;
        for (uint32_t i = c; i < c + 64; i++) {
            /* By the bit patterns of RFC 3629, section 3. */
            if (i < 0x800)
                n += (size_t)sprintf(text + n, "%c%c", 0xC0 | i >> 6, 0x80 | (i & 63));
            else if (i < 0x10000)
                n += (size_t)sprintf(text + n, "%c%c%c", 0xE0 | i >> 12, 0x80 | (i >> 6 & 63),
                                     0x80 | (i & 63));
            else
                n += (size_t)sprintf(text + n, "%c%c%c%c", 0xF0 | i >> 18, 0x80 | (i >> 12 & 63),
                                     0x80 | (i >> 6 & 63), 0x80 | (i & 63));
        }
        const bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
        size_t count;
        const struct json_kernel *const *const kernels = json_kernels(&count);
        for (size_t k = 0; k < count; k++)
            CHECK(kernels[k]->text(text, text + n) == (is_surrogate ? text : text + n));
    }
}

/* --- names inside of names ------------------------------------------------------------------- */

static bool nested_are(struct span body, const char *const *expected)
{
    static const struct span top_list[] = {SPAN_INIT("usage"), SPAN_INIT("id")};
    static const struct span usage_list[] = {SPAN_INIT("in"), SPAN_INIT("in_details")};
    static const struct span details_list[] = {SPAN_INIT("cached_tokens_of_the_prompt")};
    struct json_names top, usage, details;
    struct span values[5];
    struct json_report report;
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    bool is_right = true;
    json_names_init(&top, top_list, ARRAY_LEN(top_list));
    json_names_init(&usage, usage_list, ARRAY_LEN(usage_list));
    json_names_init(&details, details_list, ARRAY_LEN(details_list));
    json_names_nest(&usage, 1, &details);
    json_names_nest(&top, 0, &usage);
    for (size_t k = 0; k < count; k++) {
        json_kernel_use(kernels[k]);
        /* Once as it is, once with all that is checked besides. */
        for (unsigned flags = 0; flags <= JSON_UNIQUE_NAMES; flags += JSON_UNIQUE_NAMES) {
            const bool is_json = json_scan(body, &top, flags, values, &report) == ERR_OK;
            is_right &= EXPECT(is_json == (expected != NULL));
            for (size_t i = 0; is_json && expected && i < ARRAY_LEN(values); i++)
                is_right &= EXPECT(expected[i] ? span_eq(values[i], span_of_cstr(expected[i]))
                                               : values[i].p == NULL);
        }
    }
    return is_right;
}

TEST(members_of_wanted_objects_are_found)
{
    CHECK(nested_are(SPAN("{\"in\":1,\"x\":{\"usage\":{\"in\":2}},\"usage\" : { \"in\":3 , "
                          "\"y\":{\"in\":4,\"in_details\":5},\"in_details\":{\"in\":6,"
                          "\"cached_tokens_of_the_prompt\":7}},\"out\":8,\"id\":9} "),
                     (const char *[]){"{ \"in\":3 , \"y\":{\"in\":4,\"in_details\":5},"
                                      "\"in_details\":{\"in\":6,"
                                      "\"cached_tokens_of_the_prompt\":7}}",
                                      "9", "3", "{\"in\":6,\"cached_tokens_of_the_prompt\":7}",
                                      "7"}));
    CHECK(nested_are(SPAN("{\"usage\":[{\"in\":3}],\"id\":{}}"),
                     (const char *[]){"[{\"in\":3}]", "{}", NULL, NULL, NULL}));
    CHECK(nested_are(SPAN("{\"usage\":{},\"id\":{\"in\":1}}"),
                     (const char *[]){"{}", "{\"in\":1}", NULL, NULL, NULL}));
    CHECK(nested_are(
        SPAN("{\"u\\u0073age\":{\"\\u0069n\":\"in\",\"in_details\":{}}}"),
        (const char *[]){"{\"\\u0069n\":\"in\",\"in_details\":{}}", NULL, "\"in\"", "{}", NULL}));
    CHECK(nested_are(SPAN("[{\"usage\":{\"in\":1}}]"),
                     (const char *[]){NULL, NULL, NULL, NULL, NULL}));
    /* A name that differs in its middle only, and one that stands there twice. */
    CHECK(nested_are(SPAN("{\"usage\":{\"in_details\":{\"cached_tokens_0f_the_prompt\":7}}}"),
                     (const char *[]){"{\"in_details\":{\"cached_tokens_0f_the_prompt\":7}}", NULL,
                                      NULL, "{\"cached_tokens_0f_the_prompt\":7}", NULL}));
    CHECK(nested_are(SPAN("{\"usage\":{\"in_detaiXs\":1}}"),
                     (const char *[]){"{\"in_detaiXs\":1}", NULL, NULL, NULL, NULL}));
    CHECK(nested_are(SPAN("{\"usage\":{\"in\":1,\"in\":1}}"), NULL));
    CHECK(nested_are(SPAN("{\"usage\":{\"in\":1}"), NULL));
    CHECK(nested_are(SPAN("{\"usage\":{\"in\":1}}}"), NULL));
    CHECK(nested_are(SPAN("{\"usage\":{\"in\":1]}"), NULL));
}

/* --- the grammar ---------------------------------------------------------------------------- */

static bool is_same_report(const struct json_report *a, const struct json_report *b)
{
    return a->at == b->at && a->reason == b->reason &&
           a->has_lone_surrogate == b->has_lone_surrogate;
}

/* One body of its own memory, by every kernel; the values as the first kernel saw them. */
static bool all_kernels_say(struct span body, bool is_json)
{
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    struct span first_values[WANTED], values[WANTED];
    struct json_report first, report;
    bool is_right = true;
    for (size_t i = 0; i < count; i++) {
        json_kernel_use(kernels[i]);
        const enum err code = json_scan(body, NULL, 0, NULL, &report);
        is_right &= EXPECT((code == ERR_OK) == is_json);
        is_right &= EXPECT(report.at <= body.n);
        const enum err with_names = json_scan(body, &names, 0, values, &report);
        is_right &= EXPECT(is_json || with_names != ERR_OK);
        if (i == 0) {
            first = report;
            memcpy(first_values, values, sizeof values);
        }
        is_right &= EXPECT(is_same_report(&first, &report));
        if (with_names == ERR_OK)
            is_right &= EXPECT(memcmp(first_values, values, sizeof values) == 0);
    }
    return is_right;
}

TEST(the_scanner_agrees_with_the_grammar_on_mutated_bodies)
{
    char text[MUTATE_MAX];
    int accepted = 0;
    const int n = mutate_tries(200000);
    for (int i = 0; i < n; i++) {
        const size_t length = mutate_body(text);
        char *const body = malloc(length + 1);
        memcpy(body, text, length);
        const struct span s = {body, length};
        const bool is_json = reference_accepts(s);
        accepted += is_json;
        if (!all_kernels_say(s, is_json)) {
            printf("# body: %.*s\n", SPAN_ARG(s));
            free(body);
            return;
        }
        free(body);
    }
    CHECK(accepted > n / 10); /* the mutations are neither too kind nor too cruel */
    CHECK(accepted < n * 9 / 10);
}

static bool fails_at(const char *text, size_t at, const char *reason)
{
    struct json_report report;
    const bool is_bad = scan(span_of_cstr(text), JSON_UNIQUE_NAMES, &report) == ERR_BAD_JSON;
    return EXPECT(is_bad) && EXPECT(report.at == at) && EXPECT(strcmp(report.reason, reason) == 0);
}

/* Bodies whose last byte looks as though it closed a root that is none. */
TEST(a_root_without_brackets_ends_where_it_ends)
{
    static const struct span wrong[] = {
        SPAN_INIT("-12,1]"), SPAN_INIT("1]"),  SPAN_INIT("1}"),      SPAN_INIT("\"a\",null]"),
        SPAN_INIT("true}}"), SPAN_INIT("[1}"), SPAN_INIT(" 1,[2]]"), SPAN_INIT("[],[]")};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct json_report report;
        CHECK(json_scan(wrong[i], NULL, 0, NULL, &report) == ERR_BAD_JSON);
    }
}

TEST(a_failure_says_where_and_why)
{
    CHECK(fails_at("", 0, "the text ends too early"));
    CHECK(fails_at("{\"a\":", 5, "the text ends too early"));
    CHECK(fails_at("\"abc", 4, "the text ends too early"));
    CHECK(fails_at("{\"a\":1,}", 7, "a member's name in quotes is expected"));
    CHECK(fails_at("[1,]", 3, "a value is expected"));
    CHECK(fails_at("[1 2]", 3, "a comma or a bracket is expected"));
    CHECK(fails_at("{\"a\" 1}", 5, "a colon is expected"));
    CHECK(fails_at("{\"a\":1]", 6, "a comma or a brace is expected"));
    CHECK(fails_at("[01]", 2, "a comma or a bracket is expected"));
    CHECK(fails_at("[1.x]", 3, "a digit is expected"));
    CHECK(fails_at("[-]", 2, "a digit is expected"));
    CHECK(fails_at("[nul]", 4, "a value is expected"));
    CHECK(fails_at("\"a\nb\"", 2, "a control byte in a string must be escaped"));
    CHECK(fails_at("\"a\\x\"", 3, "not an escape that JSON knows"));
    CHECK(fails_at("\"\\u12g4\"", 5, "not an escape that JSON knows"));
    CHECK(fails_at("\"ab\xC3(\"", 3, "the string is not UTF-8"));
    CHECK(fails_at("1 1", 2, "bytes follow the value"));
    CHECK(fails_at("\xEF\xBB\xBF{}", 0, "a byte order mark is not allowed"));
    CHECK(fails_at("{\"a\":1,\"b\":2,\"a\":3}", 13, "the name of this member stands there twice"));
}

TEST(depth_is_bounded)
{
    char text[2 * (JSON_DEPTH_MAX + 1)];
    struct json_report report;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    CHECK(scan((struct span){text, 2 * JSON_DEPTH_MAX}, 0, &report) == ERR_OK);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    CHECK(scan((struct span){text, sizeof text}, 0, &report) == ERR_BAD_JSON);
    CHECK(report.at == JSON_DEPTH_MAX);
}

/* --- values --------------------------------------------------------------------------------- */

TEST(wanted_values_are_handed_out_raw)
{
    const struct span body = SPAN(" {\"model\" : \"gpt\\n\" , \"x\":{\"stream\":1,\"user\":[]},"
                                  "\"max_tokens\":12 ,\"user\":{ \"b\":[1,{}] }\t}\n");
    struct span v[WANTED];
    struct json_report report;
    CHECK(json_scan(body, &names, JSON_UNIQUE_NAMES, v, &report) == ERR_OK);
    CHECK(span_eq(v[0], SPAN("\"gpt\\n\"")));
    CHECK(v[1].p == NULL); /* only top-level members count */
    CHECK(span_eq(v[2], SPAN("12")));
    CHECK(span_eq(v[3], SPAN("{ \"b\":[1,{}] }")));
    CHECK(v[4].p == NULL);
    CHECK(v[0].p > body.p);
    CHECK(v[3].p + v[3].n < body.p + body.n);
    CHECK(json_scan(SPAN("[\"model\",1]"), &names, 0, v, &report) == ERR_OK);
    CHECK(v[0].p == NULL);
}

TEST(a_wanted_name_is_known_however_it_is_written)
{
    struct span v[WANTED];
    struct json_report report;
    CHECK(json_scan(SPAN("{\"\\u006dode\\u006C\":7}"), &names, 0, v, &report) == ERR_OK);
    CHECK(span_eq(v[0], SPAN("7")));
    CHECK(scan(SPAN("{\"model\":1,\"mod\\u0065l\":2}"), 0, &report) == ERR_BAD_JSON);
    CHECK(report.at == 11);
    CHECK(scan(SPAN("{\"model\":1,\"model\":1}"), 0, &report) == ERR_BAD_JSON);
    /* Others may repeat, unless that is forbidden, and the same name may stand deeper. */
    CHECK(scan(SPAN("{\"q\":1,\"q\":{\"model\":1}, \"model\":1}"), 0, &report) == ERR_OK);
}

TEST(halves_of_pairs_are_reported_or_refused)
{
    struct json_report report;
    CHECK(scan(SPAN("\"\\ud83d\\ude00\""), JSON_PAIRED_ESCAPES, &report) == ERR_OK);
    CHECK(!report.has_lone_surrogate);
    CHECK(scan(SPAN("\"ab\\ud83d\""), 0, &report) == ERR_OK);
    CHECK(report.has_lone_surrogate);
    CHECK(scan(SPAN("\"ab\\ude00\\ud83d\""), JSON_PAIRED_ESCAPES, &report) == ERR_BAD_JSON);
    CHECK(report.at == 3);
    CHECK(scan(SPAN("\"\\ud83d\\n\""), JSON_PAIRED_ESCAPES, &report) == ERR_BAD_JSON);
    CHECK(scan(SPAN("\"\\uDBFF\\u0041\""), JSON_PAIRED_ESCAPES, &report) == ERR_BAD_JSON);
    CHECK(scan(SPAN("\"\\uD800\\uDBFF\""), JSON_PAIRED_ESCAPES, &report) == ERR_BAD_JSON);
    CHECK(scan(SPAN("\"\\uDBFF\\uDFFF\\uD800\\uDC00\\uE000\\uD7FF\""), JSON_PAIRED_ESCAPES,
               &report) == ERR_OK);
}

/* --- equal names ---------------------------------------------------------------------------- */

/* An object of `n` members with names that differ only in their middle; one is repeated unless
 * `again` is n. In an array, so that the object is no top-level one. */
static void make_object(struct builder *b, int n, int first, int again, bool is_escaped)
{
    builder_clear(b);
    builder_add(b, SPAN("[{"));
    for (int i = 0; i <= n; i++) {
        const int name = i == n ? first : i;
        if (i == n && again == n)
            break;
        const char *const prefix = is_escaped && i == n ? "\\u0070refix_p" : "prefix_p";
        builder_printf(b, "%s\"%s%07dsuffix_s\":%d", i ? "," : "", prefix, name * 7919, i);
    }
    builder_add(b, SPAN("}]"));
}

TEST(equal_names_are_found_in_objects_of_any_size)
{
    static const int sizes[] = {1, 2, 3, 15, 16, 17, 18, 39, 40, 41, 100, 1000, 20000};
    struct builder b;
    struct json_report report;
    builder_init(&b, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const int n = sizes[i];
        make_object(&b, n, 0, n, false);
        CHECK(scan(builder_span(&b), JSON_UNIQUE_NAMES, &report) == ERR_OK);
        for (int first = 0; first < n; first += 1 + n / 5) {
            make_object(&b, n, first, 0, first & 1);
            CHECK(scan(builder_span(&b), 0, &report) == ERR_OK);
            CHECK(scan(builder_span(&b), JSON_UNIQUE_NAMES, &report) == ERR_BAD_JSON);
            /* It points at the last member's name. */
            const struct span rest = span_from(builder_span(&b), report.at);
            CHECK(rest.p[0] == '"');
            CHECK(span_find(rest, ',') == rest.n);
        }
    }
    builder_deinit(&b);
}

TEST(equal_names_in_different_objects_are_fine)
{
    struct json_report report;
    CHECK(scan(SPAN("{\"a\":{\"a\":[{\"a\":1},{\"a\":2}],\"b\":{}},\"c\":{\"a\":{}}}"),
               JSON_UNIQUE_NAMES, &report) == ERR_OK);
    CHECK(scan(SPAN("{\"a\":{\"x\":1},\"b\":{\"x\":1,\"y\":{},\"x\":1}}"), JSON_UNIQUE_NAMES,
               &report) == ERR_BAD_JSON);
    CHECK(scan(SPAN("{\"\":1,\"\":2}"), JSON_UNIQUE_NAMES, &report) == ERR_BAD_JSON);
    CHECK(scan(SPAN("{\"\\ud800\":1,\"\\ud801\":2}"), JSON_UNIQUE_NAMES, &report) == ERR_OK);
}

TEST(open_names_are_bounded)
{
    struct builder b;
    struct json_report report;
    builder_init(&b, 1 << 22);
    make_object(&b, JSON_OPEN_NAMES_MAX, 0, JSON_OPEN_NAMES_MAX, false);
    CHECK(scan(builder_span(&b), JSON_UNIQUE_NAMES, &report) == ERR_OK);
    make_object(&b, JSON_OPEN_NAMES_MAX + 1, 0, JSON_OPEN_NAMES_MAX + 1, false);
    CHECK(scan(builder_span(&b), JSON_UNIQUE_NAMES, &report) == ERR_TOO_LARGE);
    CHECK(scan(builder_span(&b), 0, &report) == ERR_OK);
    builder_deinit(&b);
}

static void *no_memory(void *old, size_t n)
{
    (void)old, (void)n;
    return NULL;
}

TEST(a_lack_of_memory_is_an_error)
{
    struct builder b;
    struct json_report report;
    builder_init(&b, 1 << 20);
    make_object(&b, 1000, 0, 1000, false);
    const struct mem_door door = mem_door;
    mem_door.realloc = no_memory;
    const enum err code = scan(builder_span(&b), JSON_UNIQUE_NAMES, &report);
    mem_door = door;
    builder_deinit(&b);
    CHECK(code == ERR_NO_MEMORY);
}

int main(void)
{
    json_names_init(&names, wanted, WANTED);
    RUN(members_of_wanted_objects_are_found);
    RUN(a_kernel_stops_at_the_first_byte_that_is_not_plain);
    RUN(a_kernel_knows_every_sequence_of_utf8);
    RUN(every_code_point_passes_and_no_surrogate_does);
    RUN(the_scanner_agrees_with_the_grammar_on_mutated_bodies);
    RUN(a_root_without_brackets_ends_where_it_ends);
    RUN(a_failure_says_where_and_why);
    RUN(depth_is_bounded);
    RUN(wanted_values_are_handed_out_raw);
    RUN(a_wanted_name_is_known_however_it_is_written);
    RUN(halves_of_pairs_are_reported_or_refused);
    RUN(equal_names_are_found_in_objects_of_any_size);
    RUN(equal_names_in_different_objects_are_fine);
    RUN(open_names_are_bounded);
    RUN(a_lack_of_memory_is_an_error);
    return TESTS_DONE();
}
