#include "mock/script.h"

#include "base/sys.h"
#include "mock/sample.h"
#include "mock/text.h"
#include "tests/test.h"
#include "json/scan.h"

/* --- scripts -----------------------------------------------------------------------------------
 */

TEST(scripts_say_what_they_say)
{
    struct mock_script s;
    CHECK(mock_script_parse(SPAN("mock-ok"), &s, NULL) == ERR_OK);
    CHECK(s.trouble == TROUBLE_NONE && s.slow_ns == 0 && s.chunks == 0);
    CHECK(mock_script_parse(SPAN("mock-slow-2s"), &s, NULL) == ERR_OK);
    CHECK(s.slow_ns == 2 * NS_PER_S);
    CHECK(mock_script_parse(SPAN("mock-slow-100ms+stream-20x5ms"), &s, NULL) == ERR_OK);
    CHECK(s.slow_ns == 100 * NS_PER_MS && s.chunks == 20 && s.pause_ns == 5 * NS_PER_MS);
    CHECK(mock_script_parse(SPAN("stream-64x0ms"), &s, NULL) == ERR_OK);
    CHECK(s.chunks == 64 && s.pause_ns == 0);
    CHECK(mock_script_parse(SPAN("mock-status-429"), &s, NULL) == ERR_OK);
    CHECK(s.trouble == TROUBLE_STATUS && s.error.status == 429 && s.retry_after_s == -1);
    CHECK(mock_script_parse(SPAN("mock-status-503-1500ms"), &s, NULL) == ERR_OK);
    CHECK(s.error.status == 503 && s.retry_after_s == 2);
    CHECK(mock_script_parse(SPAN("mock-tokens-1000-500"), &s, NULL) == ERR_OK);
    CHECK(s.has_usage && s.prompt_tokens == 1000 && s.completion_tokens == 500);
    CHECK(mock_script_parse(SPAN("mock-tokens-10-20-3-4"), &s, NULL) == ERR_OK);
    CHECK(s.cached_tokens == 3 && s.reasoning_tokens == 4);
    CHECK(mock_script_parse(SPAN("mock-fail-2-then-ok"), &s, NULL) == ERR_OK);
    CHECK(s.fails == 2 && s.trouble == TROUBLE_STATUS && s.error.status == 500);
    CHECK(mock_script_parse(SPAN("mock-fail-2-then-ok+reset"), &s, NULL) == ERR_OK);
    CHECK(s.fails == 2 && s.trouble == TROUBLE_RESET);
    CHECK(mock_script_parse(SPAN("mock-cut-after-3"), &s, NULL) == ERR_OK);
    CHECK(s.trouble == TROUBLE_CUT && s.after == 3);
    CHECK(mock_script_parse(SPAN("mock-error-after-3"), &s, NULL) == ERR_OK);
    CHECK(s.trouble == TROUBLE_ERROR_AFTER && s.after == 3);
    CHECK(mock_script_parse(SPAN("mock-error-insufficient_quota"), &s, NULL) == ERR_OK);
    CHECK(s.trouble == TROUBLE_STATUS && s.error.status == 429);
    CHECK(mock_script_parse(SPAN("mock-size-100k+drip-7x1us"), &s, NULL) == ERR_OK);
    CHECK(s.size_bytes == 102400 && s.drip_bytes == 7 && s.drip_pause_ns == NS_PER_US);
}

TEST(scripts_refuse_what_says_nothing)
{
    static const char *const wrong[] = {
        "mock-",
        "mock-nope",
        "mock-ok+",
        "mock-ok++ok",
        "mock-slow",
        "mock-slow-2",
        "mock-slow-2h",
        "mock-slow-61m",
        "mock-slow--1s",
        "mock-status-200",
        "mock-status-600",
        "mock-status-4x9",
        "mock-stream-0x1ms",
        "mock-stream-5",
        "mock-stream-1000001x0ms",
        "mock-tokens-5",
        "mock-tokens-1-2-3",
        "mock-size-0",
        "mock-size-17m",
        "mock-size-99999999999",
        "mock-reset+hang",
        "mock-status-500+status-429",
        "mock-error-unheard_of",
        "mock-tool-0",
        "mock-tool-65",
        "mock-fail-0-then-ok",
        "mock-fail-2",
        "mock-finish-never",
        "mock-drip-0x1ms",
        "mock-id-",
        "mock-OK",
        "mock-ok ",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct mock_script s;
        struct failure why = {0};
        if (!EXPECT(mock_script_parse(span_of_cstr(wrong[i]), &s, &why) == ERR_BAD_REQUEST))
            printf("# %s\n", wrong[i]);
        CHECK(strstr(why.text, wrong[i]) != NULL);
    }
}

TEST(a_script_file_is_read_by_lines)
{
    static const char text[] = "# a comment\n\ngpt-4o* slow-200ms+status-429 # why\r\n"
                               "exact\tok\n*-mini mock-reset\n";
    struct mock_rules *r;
    struct span script;
    CHECK(mock_rules_read("f", SPAN(""), &r, NULL) == ERR_OK);
    CHECK(!mock_rules_find(r, SPAN("x"), &script));
    mock_rules_free(r);
    CHECK(mock_rules_read("f", span_of_cstr(text), &r, NULL) == ERR_OK);
    CHECK(mock_rules_find(r, SPAN("gpt-4o-mini"), &script)); /* the first that matches */
    CHECK(span_eq(script, SPAN("slow-200ms+status-429")));
    CHECK(mock_rules_find(r, SPAN("o1-mini"), &script) && span_eq(script, SPAN("mock-reset")));
    CHECK(mock_rules_find(r, SPAN("exact"), &script) && span_eq(script, SPAN("ok")));
    CHECK(!mock_rules_find(r, SPAN("exactly"), &script));
    mock_rules_free(r);
    CHECK(mock_rules_read("f", SPAN("aba*ba ok"), &r, NULL) == ERR_OK);
    CHECK(!mock_rules_find(r, SPAN("aba"), &script)); /* head and tail do not overlap */
    CHECK(mock_rules_find(r, SPAN("ababa"), &script));
    mock_rules_free(r);

    static const struct {
        const char *text, *place;
    } wrong[] = {{"\nalone\n", "f:2:"},
                 {"a ok\nb nope\n", "f:2:"},
                 {"a*b* ok\n", "f:1:"},
                 {"a ok more\n", "f:1:"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct failure why = {0};
        CHECK(mock_rules_read("f", span_of_cstr(wrong[i].text), &r, &why) == ERR_BAD_REQUEST);
        CHECK(strncmp(why.text, wrong[i].place, strlen(wrong[i].place)) == 0);
    }
}

/* --- texts -------------------------------------------------------------------------------------
 */

static void build(struct builder *out, const struct mock_text *t, uint64_t from, uint64_t end)
{
    builder_clear(out);
    mock_text_add(out, t, from, end);
}

TEST(a_text_is_the_same_from_anywhere)
{
    struct builder whole, part;
    builder_init(&whole, 4096);
    builder_init(&part, 4096);
    for (uint64_t bytes = 1; bytes < 70; bytes++) {
        const struct mock_text t = mock_text_of_words(bytes * 7, bytes);
        build(&whole, &t, 0, bytes);
        CHECK(builder_span(&whole).n == bytes);
        CHECK(builder_span(&whole).p[bytes - 1] == '.');
        for (uint64_t from = 0; from < bytes; from++) {
            build(&part, &t, from, bytes);
            CHECK(span_eq(builder_span(&part), span_from(builder_span(&whole), from)));
        }
        struct mock_text cut = t; /* a shorter answer begins as the longer one */
        (void)mock_text_limit(&cut, bytes / 8);
        build(&part, &cut, 0, cut.bytes);
        CHECK(span_starts(builder_span(&whole), builder_span(&part)));
    }
    builder_deinit(&whole);
    builder_deinit(&part);
}

/* Pieces of any count make up the text, and none begins inside a character. */
TEST(pieces_are_whole_characters)
{
    const struct span word = SPAN("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xC3\xBC");
    const struct mock_text t = mock_text_of(word);
    for (uint64_t count = 1; count < 30; count++) {
        uint64_t end = 0;
        for (uint64_t i = 0; i < count; i++) {
            const uint64_t next = mock_text_piece_end(&t, i, count);
            CHECK(next >= end);
            CHECK(next == word.n || ((unsigned char)word.p[next] & 0xC0) != 0x80);
            end = next;
        }
        CHECK(end == word.n);
    }
    for (uint64_t tokens = 0; tokens < 5; tokens++) {
        struct mock_text cut = t;
        CHECK(mock_text_limit(&cut, tokens) == (tokens < mock_tokens(word.n)));
        CHECK(mock_tokens(cut.bytes) <= tokens || tokens >= mock_tokens(word.n));
        CHECK(cut.bytes == word.n || ((unsigned char)word.p[cut.bytes] & 0xC0) != 0x80);
    }
}

/* Any byte changed, added or moved to the next text gives another fingerprint. */
TEST(fingerprints_tell_texts_apart)
{
    char text[200];
    memset(text, 'a', sizeof text);
    for (size_t n = 1; n <= sizeof text; n++) {
        struct mock_print whole = {0}, longer = {0}, split = {0};
        mock_print_add(&whole, span(text, n));
        mock_print_add(&longer, span(text, n - 1));
        mock_print_add(&split, span(text, n / 2));
        mock_print_add(&split, span(text, n - n / 2));
        CHECK(whole.value != longer.value);
        CHECK(whole.value != split.value);
        for (size_t i = 0; i < n; i++) {
            struct mock_print other = {0};
            text[i] = 'b';
            mock_print_add(&other, span(text, n));
            text[i] = 'a';
            CHECK(other.value != whole.value);
        }
    }
}

TEST(samples_end_whatever_the_schema)
{
    static const char *const schemas[] = {
        "{\"$ref\":\"#\"}",
        "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#\"}}}",
        "{\"properties\":{\"a\":{\"$ref\":\"#\"},\"b\":{\"$ref\":\"#\"}}}",
        "{\"type\":\"array\",\"minItems\":99,\"items\":{\"$ref\":\"#\"}}",
        "{\"anyOf\":[{\"$ref\":\"#/nowhere/at/all\"}]}",
        "{\"properties\":[],\"type\":[\"null\",\"object\"]}",
        "{\"type\":\"string\",\"minLength\":99999,\"maxLength\":1}",
        "true",
        "[]",
    };
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        struct builder out;
        struct json_report report;
        builder_init(&out, 1 << 20);
        CHECK(mock_sample(&out, span_of_cstr(schemas[i]), 1) == ERR_OK);
        CHECK(json_scan(builder_span(&out), NULL, 0, NULL, &report) == ERR_OK);
        builder_deinit(&out);
    }
}

int main(void)
{
    RUN(scripts_say_what_they_say);
    RUN(scripts_refuse_what_says_nothing);
    RUN(a_script_file_is_read_by_lines);
    RUN(a_text_is_the_same_from_anywhere);
    RUN(pieces_are_whole_characters);
    RUN(fingerprints_tell_texts_apart);
    RUN(samples_end_whatever_the_schema);
    return TESTS_DONE();
}
