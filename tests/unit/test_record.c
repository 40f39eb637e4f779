#include "watch/record.h"

#include "base/arena.h"
#include "base/sys.h"
#include "tests/json_reference.h"
#include "tests/test.h"
#include "json/tree.h"

#include <inttypes.h>

static char line[RECORD_TEXT_MAX];
static struct arena arena;

/* Writes the record and reads the line back: strictly, no name twice. NULL: it is no such line. */
static const struct json_node *written(const struct record *r)
{
    struct builder out;
    const struct json_node *root;
    struct json_report report;
    builder_init_fixed(&out, line, sizeof line);
    if (!EXPECT(record_write(&out, r) == ERR_OK))
        return NULL;
    const struct span text = builder_span(&out);
    if (!EXPECT(text.n > 0) || !EXPECT(text.p[text.n - 1] == '\n') ||
        !EXPECT(!memchr(text.p, '\n', text.n - 1)) || !EXPECT(reference_accepts(text)))
        return NULL;
    return EXPECT(json_parse(&arena, text, JSON_UNIQUE_NAMES, &root, &report) == ERR_OK) ? root
                                                                                         : NULL;
}

/* The member says this text; an empty one is null. */
static bool says(const struct json_node *object, const char *name, struct span text)
{
    const struct json_node *node = json_find(object, span_of_cstr(name));
    struct span seen;
    if (node && text.n == 0 && node->kind == JSON_NULL)
        return true;
    if (node && text.n > 0 && json_node_string(node, &arena, &seen) == ERR_OK &&
        span_eq(seen, text))
        return true;
    printf("# the member %s does not say what the record says\n", name);
    return EXPECT(false);
}

static bool says_word(const struct json_node *object, const char *name, const char *word)
{
    return says(object, name, word ? span_of_cstr(word) : (struct span){0});
}

/* The member stands there as these very bytes. */
static bool is_raw(const struct json_node *object, const char *name, const char *raw)
{
    const struct json_node *node = json_find(object, span_of_cstr(name));
    if (node && span_eq(node->raw, span_of_cstr(raw)))
        return true;
    printf("# the member %s is not what the record says\n", name);
    return EXPECT(false);
}

static bool is_number(const struct json_node *object, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return is_raw(object, name, text);
}

static bool is_ms(const struct json_node *object, const char *name, int64_t ns)
{
    char text[64];
    const int64_t us = ns / 1000;
    snprintf(text, sizeof text, "%s%" PRId64 ".%03" PRId64, us < 0 ? "-" : "",
             us < 0 ? -us / 1000 : us / 1000, us < 0 ? -us % 1000 : us % 1000);
    return is_raw(object, name, text);
}

static bool says_attempts(const struct json_node *root, const struct record *r,
                          struct span target_seen)
{
    const struct json_node *list = json_find(root, SPAN("attempts"));
    if (!EXPECT(list && list->kind == JSON_ARRAY) || !EXPECT(list->count == r->attempt_count))
        return false;
    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct json_node *a = json_at(list, i);
        if (!EXPECT(a->count == 3) || !says(a, "target", target_seen) ||
            !says_word(a, "outcome", r->attempts[i].outcome) ||
            !is_ms(a, "ms", r->attempts[i].took_ns))
            return false;
    }
    return true;
}

/* All members of the contract, and no other than the two that say more. `seen` is how the record's
 * texts read. */
static bool says_record(const struct json_node *root, const struct record *r, struct span seen)
{
    static const char *const texts[] = {"organisation", "team", "project", "user",  "key",
                                        "route",        "tags", "model",   "target"};
    bool is_right = EXPECT(root->count == 32) && says(root, "id", seen);
    for (size_t i = 0; is_right && i < ARRAY_LEN(texts); i++)
        is_right = says(root, texts[i], seen);
    return is_right && says_word(root, "dialect", r->dialect) &&
           says_word(root, "endpoint", r->endpoint) && says_word(root, "reason", r->reason) &&
           says_word(root, "error", r->error) && says_attempts(root, r, seen) &&
           is_raw(root, "stream", r->stream ? "true" : "false") &&
           is_number(root, "status", r->status) && is_raw(root, "cache", "\"off\"") &&
           is_raw(root, "guard", "[]") && is_number(root, "input_tokens", r->input_tokens) &&
           is_number(root, "cached_tokens", r->cached_tokens) &&
           is_number(root, "cache_write_tokens", r->cache_write_tokens) &&
           is_number(root, "output_tokens", r->output_tokens) &&
           is_number(root, "reasoning_tokens", r->reasoning_tokens) &&
           is_raw(root, "tokens_known", r->has_tokens ? "true" : "false") &&
           is_raw(root, "tokens_estimated", "false") && is_raw(root, "cost_nano_usd", "null") &&
           is_raw(root, "price_version", "null") && is_ms(root, "ms_total", r->total_ns) &&
           (r->first_token_ns < 0 ? is_raw(root, "ms_first_token", "null")
                                  : is_ms(root, "ms_first_token", r->first_token_ns)) &&
           is_ms(root, "ms_overhead", r->overhead_ns);
}

static struct record_attempt attempts[RECORD_ATTEMPTS_MAX];

/* A record whose every text is `text`. */
static struct record record_of(struct span text)
{
    for (size_t i = 0; i < RECORD_ATTEMPTS_MAX; i++)
        attempts[i] =
            (struct record_attempt){text, i ? "upstream_timeout" : "ok", (int64_t)i * 333333333};
    return (struct record){
        .id = text,
        .wall_ns = INT64_C(1795251062123) * NS_PER_MS,
        .organisation = text,
        .team = text,
        .project = text,
        .user = text,
        .key = text,
        .route = text,
        .tags = text,
        .model = text,
        .target = text,
        .dialect = "openai",
        .attempts = attempts,
        .status = 200,
        .first_token_ns = -1,
    };
}

static bool round_trip(const struct record *r, struct span seen)
{
    arena_init(&arena, 1 << 24, NULL, 0);
    const struct json_node *root = written(r);
    const bool is_right =
        root && says_record(root, r, seen) && says_word(root, "time", "2026-11-21T08:51:02.123Z");
    arena_deinit(&arena);
    return is_right;
}

static bool text_comes_back(struct span text, struct span seen)
{
    struct record r = record_of(text);
    r.attempt_count = 2;
    return round_trip(&r, seen);
}

/* Every kind of byte at every place of texts of every short length: the copy goes by words. */
TEST(any_byte_at_any_place_comes_back)
{
    static const char bytes[] = {0, 1, '\b', '\n', 0x1F, ' ', '!', '"', '#', '[', '\\', ']', 0x7F};
    for (size_t n = 1; n <= 20; n++)
        for (size_t at = 0; at < n; at++)
            for (size_t c = 0; c < ARRAY_LEN(bytes); c++) {
                char text[20];
                memset(text, 'a', sizeof text);
                text[at] = bytes[c];
                CHECK(text_comes_back(span(text, n), span(text, n)));
            }
}

TEST(hostile_texts_come_back)
{
    static char text[420];
    CHECK(text_comes_back(SPAN("\"},{\"a\":\""), SPAN("\"},{\"a\":\"")));
    CHECK(text_comes_back(SPAN("\\\\\\\"\n\r\t\0 \x1f\x7f"), SPAN("\\\\\\\"\n\r\t\0 \x1f\x7f")));
    CHECK(text_comes_back(SPAN("\xE2\x82\xAC \xF0\x9F\x98\x80"),
                          SPAN("\xE2\x82\xAC \xF0\x9F\x98\x80")));
    /* What is no UTF-8 becomes U+FFFD, one for each maximal wrong part. */
    CHECK(text_comes_back(SPAN("a\xFFz"), SPAN("a\xEF\xBF\xBDz")));
    CHECK(text_comes_back(SPAN("\xE2\x82"), SPAN("\xEF\xBF\xBD")));
    CHECK(text_comes_back(SPAN("\xC0\x80"), SPAN("\xEF\xBF\xBD\xEF\xBF\xBD")));
    CHECK(text_comes_back(SPAN(""), SPAN("")));
    for (size_t n = 21; n <= sizeof text; n += 7) {
        memset(text, 'x', sizeof text);
        CHECK(text_comes_back(span(text, n), span(text, n)));
        text[n / 2] = '"';
        CHECK(text_comes_back(span(text, n), span(text, n)));
    }
}

TEST(figures_come_back)
{
    static const int64_t figures[] = {0,    1,     9,     10,    99,         100,       999,
                                      1000, 12345, 65535, 99999, 1000000000, INT64_MAX, -1};
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        for (size_t count = 0; count <= RECORD_ATTEMPTS_MAX; count += RECORD_ATTEMPTS_MAX) {
            struct record r = record_of(SPAN("t"));
            const int64_t v = figures[i];
            r.attempt_count = count;
            r.input_tokens = r.output_tokens = r.reasoning_tokens = v;
            r.cached_tokens = r.cache_write_tokens = v / 2;
            r.total_ns = r.overhead_ns = v;
            r.first_token_ns = v / 3;
            r.status = (int)(i * 100 % 600);
            r.stream = r.has_tokens = i % 2;
            r.endpoint = i % 2 ? "chat" : NULL;
            r.reason = i % 2 ? "first of the list" : NULL;
            r.error = i % 2 ? NULL : "client_gone";
            CHECK(round_trip(&r, SPAN("t")));
        }
}

/* A line is written whole or not at all, and never past its room: ASan watches the buffer's end. */
TEST(a_line_has_its_bound)
{
    static char text[RECORD_TEXT_MAX * 2];
    bool was_refused = false;
    for (size_t c = 0; c < 2; c++) {
        memset(text, c ? 'x' : 1, sizeof text);
        for (size_t n = 1; n < sizeof text; n = n * 5 / 4 + 1) {
            struct record r = record_of(span(text, n));
            struct builder out;
            char *room = malloc(RECORD_TEXT_MAX);
            CHECK(room);
            builder_init_fixed(&out, room, RECORD_TEXT_MAX);
            r.attempt_count = RECORD_ATTEMPTS_MAX;
            r.input_tokens = r.output_tokens = INT64_MAX;
            r.total_ns = r.overhead_ns = r.first_token_ns = INT64_MAX;
            const enum err e = record_write(&out, &r);
            CHECK(e == ERR_OK || e == ERR_TOO_LARGE);
            CHECK(e == ERR_OK ? reference_accepts(builder_span(&out)) : out.n == 0);
            was_refused |= e != ERR_OK;
            free(room);
        }
    }
    CHECK(was_refused);
}

int main(void)
{
    RUN(any_byte_at_any_place_comes_back);
    RUN(hostile_texts_come_back);
    RUN(figures_come_back);
    RUN(a_line_has_its_bound);
    return TESTS_DONE();
}
