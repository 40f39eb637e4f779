/* Heads: the table of known names, the small grammars, and what a writer lets through. */
#include "base/mem.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/known.h"
#include "http/scan.h"
#include "tests/test.h"

static const struct {
    enum http_known known;
    const char *text;
    unsigned slot;
} rows[] = {
#define X(name, text, slot) {HTTP_KNOWN_##name, text, slot},
#include "http/known.def"
#undef X
};

TEST(every_known_name_is_known_in_any_case)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char upper[64];
        const struct span name = span_of_cstr(rows[i].text);
        if (known_slot(name.p, name.n) != rows[i].slot)
            printf("# the slot of %s is %u\n", rows[i].text, known_slot(name.p, name.n));
        CHECK(known_slot(name.p, name.n) == rows[i].slot);
        for (size_t k = 0; k < name.n; k++) {
            const bool is_letter = name.p[k] >= 'a' && name.p[k] <= 'z';
            CHECK(is_letter || name.p[k] == '-' || (name.p[k] >= '0' && name.p[k] <= '9'));
            upper[k] = (char)(is_letter ? name.p[k] - 32 : name.p[k]);
        }
        CHECK(http_known_of(name) == rows[i].known);
        CHECK(http_known_of(span(upper, name.n)) == rows[i].known);
        CHECK(span_eq(http_known_name(rows[i].known), name));
    }
}

/* Any single byte changed to another token byte, one more or one less: not the same name. */
TEST(nothing_else_is_known)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        const size_t n = strlen(rows[i].text);
        memcpy(name, rows[i].text, n + 1);
        for (size_t k = 0; k < n; k++) {
            for (int c = 1; c < 256; c++) {
                if (!scan_is((char)c, SCAN_TOKEN) || (c | 0x20) == rows[i].text[k])
                    continue;
                name[k] = (char)c;
                const enum http_known got = http_known_of(span(name, n));
                CHECK(got == HTTP_KNOWN_NONE || span_eq(http_known_name(got), span(name, n)));
            }
            name[k] = rows[i].text[k];
        }
        CHECK(http_known_of(span(name, n - 1)) != rows[i].known);
        name[n] = 'x';
        CHECK(http_known_of(span(name, n + 1)) != rows[i].known);
    }
}

TEST(fields_are_found)
{
    struct http_field fields[4];
    struct http_head head;
    http_head_init(&head, fields, 4);
    CHECK(http_head_add(&head, SPAN("Connection"), SPAN("x-a, close")) == ERR_OK);
    CHECK(http_head_add(&head, SPAN("X-A"), SPAN("1")) == ERR_OK);
    CHECK(http_head_add(&head, SPAN("x-other"), SPAN("2")) == ERR_OK);
    CHECK(http_head_add(&head, SPAN("connection"), SPAN("X-Other")) == ERR_OK);
    CHECK(http_head_add(&head, SPAN("X-More"), SPAN("3")) == ERR_HEAD_TOO_LARGE);
    CHECK(http_has(&head, HTTP_KNOWN_CONNECTION) && http_is_repeated(&head, HTTP_KNOWN_CONNECTION));
    CHECK(!http_has(&head, HTTP_KNOWN_HOST) && http_get(&head, HTTP_KNOWN_HOST).p == NULL);
    CHECK(span_eq(http_get(&head, HTTP_KNOWN_CONNECTION), SPAN("x-a, close")));
    const struct http_field *a = http_find(&head, SPAN("x-a"));
    CHECK(a == &fields[1] && http_find_from(&head, a + 1, SPAN("x-a")) == NULL);
    CHECK(http_find(&head, SPAN("x-b")) == NULL);
    CHECK(http_is_hop_by_hop(&head, &fields[0]) && http_is_hop_by_hop(&head, &fields[1]));
    CHECK(http_is_hop_by_hop(&head, &fields[2]));
    CHECK(http_list_has(SPAN("a ,\tb"), SPAN("B")) && !http_list_has(SPAN("ab, c"), SPAN("a")));
    const struct http_field plain = {SPAN("content-type"), SPAN("x")};
    CHECK(!http_is_hop_by_hop(&head, &plain));
}

TEST(methods_and_reasons)
{
    for (unsigned m = HTTP_GET; m < HTTP_METHOD_COUNT; m++)
        CHECK(http_method_of(http_method_text((enum http_method)m)) == (enum http_method)m);
    CHECK(http_method_of(SPAN("get")) == HTTP_METHOD_OTHER);
    CHECK(http_method_of(SPAN("GETS")) == HTTP_METHOD_OTHER);
    CHECK(span_eq(http_reason(431), SPAN("Request Header Fields Too Large")));
    CHECK(span_eq(http_reason(299), SPAN("Unknown")));
    for (int status = 0; status < 700; status++)
        CHECK(http_is_value(http_reason(status)));
}

/* Against the grammars' own lists, over all bytes and at every distance from the wide loops' end.
 */
TEST(scans_stop_where_the_grammar_does)
{
    static const char token[] = "!#$%&'*+-.^_`|~";
    for (int c = 0; c < 256; c++) {
        const bool is_alnum =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool is_token = is_alnum || (c && strchr(token, c));
        const bool is_value = c == '\t' || (c >= 0x20 && c != 0x7f);
        const bool is_target = c > 0x20 && c < 0x7f && !strchr("#%?", c);
        const bool is_host = is_alnum || (c && strchr("-._~!$&'()*+,;=", c));
        const bool is_line = c != '\r' && c != '\n';
        for (size_t n = 1; n <= 40; n++)
            for (size_t at = 0; at < n; at++) {
                char *text = malloc(n);
                memset(text, 'a', n);
                text[at] = (char)c;
                const char *end = text + n, *hit = text + at;
                const bool good = scan_token(text, end) == (is_token ? end : hit) &&
                                  scan_value(text, end) == (is_value ? end : hit) &&
                                  scan_target(text, end) == (is_target ? end : hit) &&
                                  scan_host(text, end) == (is_host ? end : hit) &&
                                  scan_line(text, end) == (is_line ? end : hit);
                free(text);
                CHECK(good);
            }
    }
}

TEST(paths_and_authorities)
{
    CHECK(http_is_path_and_query(SPAN("/")) && http_is_path_and_query(SPAN("/a%2f?b=%20&c?d")));
    CHECK(!http_is_path_and_query(SPAN("")) && !http_is_path_and_query(SPAN("a")));
    CHECK(!http_is_path_and_query(SPAN("/a b")) && !http_is_path_and_query(SPAN("/a#b")));
    CHECK(!http_is_path_and_query(SPAN("/%00")) && !http_is_path_and_query(SPAN("/?%0")));
    CHECK(!http_is_path_and_query(SPAN("/a\r\n")) && !http_is_path_and_query(SPAN("/\xc3\xa9")));
    CHECK(http_is_authority(SPAN("a:1")) && http_is_authority(SPAN("[::1]:1")));
    CHECK(!http_is_authority(SPAN("")) && !http_is_authority(SPAN("[::1\0]")));
    CHECK(!http_is_token(SPAN("")) && http_is_value(SPAN("")));
}

/* --- the writer --------------------------------------------------------------------------------
 */

TEST(a_request_is_written_as_it_is_read)
{
    char room[512];
    struct builder out;
    struct h1_writer w;
    builder_init_fixed(&out, room, sizeof room);
    h1_begin_request(&w, &out, SPAN("POST"), SPAN("/v1/x?y"));
    h1_own_field(&w, SPAN("host"), SPAN("a:80"));
    h1_own_field_u64(&w, SPAN("content-length"), 12345678901u);
    h1_field(&w, SPAN("X-Any"), SPAN("caf\xc3\xa9\tb"));
    CHECK(h1_end(&w) == ERR_OK);
    struct http_field fields[8];
    struct http_head head;
    struct h1_parser parser;
    h1_parser_init(&parser);
    http_head_init(&head, fields, 8);
    CHECK(h1_parse_request(&parser, builder_span(&out), &head) == ERR_OK);
    CHECK(parser.consumed == builder_span(&out).n && head.method == HTTP_POST);
    CHECK(span_eq(head.target, SPAN("/v1/x?y")) && span_eq(head.authority, SPAN("a:80")));
    CHECK(head.content_length == 12345678901u && head.field_count == 3);
    CHECK(span_eq(fields[2].value, SPAN("caf\xc3\xa9\tb")));
}

TEST(an_answer_is_written_as_it_is_read)
{
    char room[512];
    struct http_field fields[8];
    struct http_head head;
    for (int status = 100; status < 600; status++) {
        struct builder out;
        struct h1_writer w;
        struct h1_parser parser;
        builder_init_fixed(&out, room, sizeof room);
        h1_begin_response(&w, &out, status);
        h1_own_field(&w, SPAN("content-length"), SPAN("0"));
        CHECK(h1_end(&w) == ERR_OK);
        h1_parser_init(&parser);
        http_head_init(&head, fields, 8);
        CHECK(h1_parse_response(&parser, builder_span(&out), HTTP_GET, &head) == ERR_OK);
        CHECK(head.status == status && span_eq(head.reason, http_reason(status)));
    }
}

/* No byte in a name, value, method or target may make two heads of one. */
TEST(nothing_from_outside_splits_a_head)
{
    for (int c = 0; c < 256; c++) {
        char room[256];
        const char text[] = {'/', (char)c, 'a'};
        struct builder out;
        struct h1_writer w;
        const struct span bad = span(text, 3);
        const bool may_be_value = c == '\t' || (c >= 0x20 && c != 0x7f);
        builder_init_fixed(&out, room, sizeof room);
        h1_begin_response(&w, &out, 200);
        h1_field(&w, SPAN("x"), bad);
        CHECK((h1_end(&w) == ERR_OK) == may_be_value);
        builder_init_fixed(&out, room, sizeof room);
        h1_begin_response(&w, &out, 200);
        h1_field(&w, bad, SPAN("x")); /* a '/' is in no name */
        h1_own_field(&w, SPAN("y"), SPAN("z"));
        CHECK(h1_end(&w) == ERR_BAD_REQUEST);
        builder_init_fixed(&out, room, sizeof room);
        h1_begin_request(&w, &out, SPAN("GET"), bad);
        const bool may_be_target = c > 0x20 && c < 0x7f && c != '#' && c != '%';
        CHECK((h1_end(&w) == ERR_OK) == may_be_target);
        builder_init_fixed(&out, room, sizeof room);
        h1_begin_request(&w, &out, bad, SPAN("/"));
        CHECK(h1_end(&w) == ERR_BAD_REQUEST);
    }
    char room[16];
    struct builder out;
    struct h1_writer w;
    builder_init_fixed(&out, room, sizeof room);
    h1_begin_response(&w, &out, 200);
    CHECK(h1_end(&w) == ERR_TOO_LARGE);
}

int main(void)
{
    RUN(every_known_name_is_known_in_any_case);
    RUN(nothing_else_is_known);
    RUN(fields_are_found);
    RUN(methods_and_reasons);
    RUN(scans_stop_where_the_grammar_does);
    RUN(paths_and_authorities);
    RUN(a_request_is_written_as_it_is_read);
    RUN(an_answer_is_written_as_it_is_read);
    RUN(nothing_from_outside_splits_a_head);
    return TESTS_DONE();
}
