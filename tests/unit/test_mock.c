#include "tests/unit/mock_exchange.h"

#include "base/encode.h"
#include "http/sse.h"
#include "mock/calls.h"
#include "json/tree.h"

/* --- reading what came back --------------------------------------------------------------------
 */

static struct span bytes_of(const struct exchange *x)
{
    return builder_span(&x->bytes);
}

static bool has_text(struct span s, const char *text)
{
    return s.n && memmem(s.p, s.n, text, strlen(text));
}

/* The value at a path like "choices/0/message/content"; raw. */
static struct span at(struct span json, const char *path)
{
    struct span rest = span_of_cstr(path), part;
    bool more = true;
    struct json_report report;
    if (json_scan(json, NULL, 0, NULL, &report) != ERR_OK)
        return (struct span){0};
    json = span_trim(json);
    while (more) {
        uint64_t index;
        more = span_cut(rest, '/', &part, &rest);
        if (span_to_u64(part, &index) != ERR_OK) {
            json = json_member(json, part);
            continue;
        }
        struct json_walk w = json_walk(json);
        json = (struct span){0};
        for (uint64_t i = 0; json_walk_next(&w); i++)
            if (i == index)
                json = w.value;
    }
    return json;
}

static uint64_t number_at(struct span json, const char *path)
{
    uint64_t value;
    return json_to_u64(at(json, path), &value) == ERR_OK ? value : UINT64_MAX;
}

static bool is_text_at(struct span json, const char *path, const char *text)
{
    return json_string_is(at(json, path), span_of_cstr(text));
}

/* Decoded text appended; the arena is the exchange's. */
static void add_text_at(struct builder *out, struct exchange *x, struct span json, const char *path)
{
    struct span text;
    if (json_to_string(at(json, path), &x->rq.arena, &text) == ERR_OK)
        builder_add(out, text);
}

struct events {
    size_t events, chunks; /* all; those with a text or arguments */
    bool done;             /* [DONE] came, and nothing after it */
    bool is_broken;        /* an event that is no JSON */
    struct span usage;     /* of the last event that had one */
    struct span error;
    char finish[32];
    struct builder text;
};

static void read_event(struct exchange *x, struct events *s, struct span data)
{
    struct json_report report;
    static const char *const texts[] = {"choices/0/delta/content", "choices/0/text",
                                        "choices/0/delta/tool_calls/0/function/arguments"};
    s->events++;
    s->done = span_eq(data, SPAN("[DONE]"));
    if (s->done)
        return;
    if (json_scan(data, NULL, JSON_UNIQUE_NAMES, NULL, &report) != ERR_OK) {
        s->is_broken = true;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const size_t before = builder_span(&s->text).n;
        add_text_at(&s->text, x, data, texts[i]);
        s->chunks += builder_span(&s->text).n > before;
    }
    struct span copy;
    if (json_kind(at(data, "usage")) == JSON_OBJECT &&
        arena_dup(&x->rq.arena, at(data, "usage"), &copy))
        s->usage = copy;
    if (at(data, "error").n && arena_dup(&x->rq.arena, at(data, "error"), &copy))
        s->error = copy;
    const struct span finish = at(data, "choices/0/finish_reason");
    if (json_kind(finish) == JSON_STRING)
        snprintf(s->finish, sizeof s->finish, "%.*s", (int)finish.n - 2, finish.p + 1);
}

static struct events read_events(struct exchange *x)
{
    struct events s = {0};
    struct sse_reader reader;
    struct sse_event event;
    struct span rest = bytes_of(x);
    builder_init(&s.text, 1 << 24);
    sse_reader_init(&reader, 1 << 20);
    while (sse_next(&reader, &rest, &event) == ERR_OK)
        if (event.has_data)
            read_event(x, &s, event.data);
    sse_reader_deinit(&reader);
    return s;
}

/* --- answers -----------------------------------------------------------------------------------
 */

TEST(the_same_request_gets_the_same_bytes)
{
    static const char *const more[] = {"", "\"stream\":true", "\"n\":3", "\"max_tokens\":4"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct exchange *a = chat("gpt-4o", more[i]), *b = chat("gpt-4o", more[i]);
        CHECK(a->status == 200 && a->ended && a->length != 0);
        CHECK(span_eq(bytes_of(a), bytes_of(b)));
        CHECK(span_eq(builder_span(&a->head), builder_span(&b->head)));
        struct exchange *c = chat("gpt-4o-mini", more[i]);
        CHECK(!span_eq(bytes_of(a), bytes_of(c)));
        forget(a), forget(b), forget(c);
    }
}

/* The rule of docs/mock.md, computed by hand: four bytes of decoded UTF-8 a token, each text
 * rounded up. */
TEST(usage_follows_its_rule)
{
    static const struct {
        const char *messages;
        uint64_t tokens;
    } cases[] = {
        {"[{\"role\":\"user\",\"content\":\"abcd\"}]", 1},
        {"[{\"role\":\"user\",\"content\":\"abcde\"}]", 2},
        {"[{\"role\":\"user\",\"content\":\"\"}]", 0},
        {"[{\"role\":\"user\",\"content\":\"\\n\\u00e9\\ud83d\\ude00\"}]", 2}, /* 1 + 2 + 4 bytes */
        {"[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]", 2},
        {"[{\"content\":[{\"type\":\"text\",\"text\":\"abcdefgh\"},{\"type\":\"image_url\","
         "\"image_url\":{\"url\":\"data:,x\"}},{\"type\":\"text\",\"text\":\"i\"}],\"role\":"
         "\"user\"}]",
         3},
        {"[{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"content\":\"abc\"}]", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[1024];
        snprintf(body, sizeof body, "{\"messages\":%s,\"model\":\"m\"}", cases[i].messages);
        struct exchange *x = ask("/v1/chat/completions", body);
        const struct span json = bytes_of(x);
        struct span text;
        CHECK(x->status == 200);
        CHECK(number_at(json, "usage/prompt_tokens") == cases[i].tokens);
        CHECK(json_to_string(at(json, "choices/0/message/content"), &x->rq.arena, &text) == ERR_OK);
        const uint64_t completion = (text.n + 3) / 4;
        CHECK(number_at(json, "usage/completion_tokens") == completion);
        CHECK(number_at(json, "usage/total_tokens") == cases[i].tokens + completion);
        forget(x);
    }
}

TEST(a_stream_says_what_the_whole_answer_says)
{
    static const char *const models[] = {
        "m",         "mock-stream-7x0ms", "mock-size-5000",        "mock-size-5000+stream-3x0ms",
        "mock-echo", "mock-tool",         "mock-tool+stream-4x0ms"};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct exchange *x = chat(models[i], "");
        struct exchange *y =
            chat(models[i], "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
        struct builder whole;
        builder_init(&whole, 1 << 20);
        add_text_at(&whole, x, bytes_of(x), "choices/0/message/content");
        add_text_at(&whole, x, bytes_of(x), "choices/0/message/tool_calls/0/function/arguments");
        struct events s = read_events(y);
        CHECK(builder_span(&whole).n > 0);
        CHECK(span_eq(builder_span(&whole), builder_span(&s.text)));
        CHECK(s.done && !s.is_broken && y->ended);
        CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", s.finish));
        CHECK(span_eq(at(bytes_of(x), "usage"), s.usage));
        builder_deinit(&whole), builder_deinit(&s.text);
        forget(x), forget(y);
    }
}

TEST(a_stream_is_paced_by_its_script)
{
    struct exchange *x = chat("mock-stream-100x20ms", "\"stream\":true");
    struct events s = read_events(x);
    CHECK(s.chunks == 100 && s.events == 1 + 100 + 1 + 1);
    CHECK(s.usage.n == 0 && !has_text(bytes_of(x), "\"usage\""));
    CHECK(has_text(builder_span(&x->head), "Content-Type: text/event-stream"));
    CHECK(x->length == HTTP_LENGTH_UNKNOWN);
    CHECK(x->piece_count == s.events); /* each event leaves by itself, whole */
    for (size_t i = 0; i < x->piece_count; i++)
        CHECK(memcmp(bytes_of(x).p + x->ends[i] - 2, "\n\n", 2) == 0);
    CHECK(x->took_ns >= 100 * 20 * NS_PER_MS && x->took_ns < 100 * 23 * NS_PER_MS);
    builder_deinit(&s.text);
    forget(x);
    x = chat("mock-slow-2s", "");
    CHECK(x->status == 200 && x->took_ns >= 2 * NS_PER_S && x->took_ns < 2 * NS_PER_S + 5000000);
    forget(x);
}

TEST(a_drip_changes_the_pieces_and_not_the_bytes)
{
    struct exchange *x = chat("mock-drip-7x1ms+id-a", "\"stream\":true");
    struct events s = read_events(x);
    CHECK(s.done && s.chunks == 16 && !s.is_broken);
    for (size_t i = 1; i < x->piece_count; i++)
        CHECK(x->ends[i] - x->ends[i - 1] <= 7);
    CHECK(x->took_ns >= (int64_t)(bytes_of(x).n / 7) * NS_PER_MS);
    builder_deinit(&s.text);
    forget(x);
    x = chat("mock-drip-7x1ms", "");
    CHECK(x->length == bytes_of(x).n && x->piece_count == (x->length + 6) / 7);
    forget(x);
}

TEST(bounds_and_stops_cut_the_answer)
{
    struct exchange *whole = chat("m", ""), *x = chat("m", "\"max_tokens\":5");
    struct span text, all;
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "length"));
    CHECK(number_at(bytes_of(x), "usage/completion_tokens") == 5);
    CHECK(json_to_string(at(bytes_of(x), "choices/0/message/content"), &x->rq.arena, &text) == 0);
    CHECK(json_to_string(at(bytes_of(whole), "choices/0/message/content"), &x->rq.arena, &all) ==
          0);
    CHECK(text.n == 20 && span_starts(all, text));
    forget(x);
    char more[64];
    snprintf(more, sizeof more, "\"stop\":[\"zzz\",\"%.*s\"]", 3, all.p + 24);
    x = chat("m", more);
    CHECK(json_to_string(at(bytes_of(x), "choices/0/message/content"), &x->rq.arena, &text) == 0);
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "stop"));
    CHECK(text.n <= 24 && span_starts(all, text));
    CHECK(memmem(text.p, text.n, all.p + 24, 3) == NULL);
    CHECK(number_at(bytes_of(x), "usage/completion_tokens") == (text.n + 3) / 4);
    forget(whole), forget(x);
}

/* A text that is cut by a bound and then by a stop word ended because of the word. */
TEST(a_stop_word_wins_over_a_bound)
{
    struct exchange *x = chat("m", "\"max_tokens\":5,\"stop\":\" \"");
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "stop"));
    CHECK(number_at(bytes_of(x), "usage/completion_tokens") == 1);
    forget(x);
}

TEST(choices_differ_and_are_all_counted)
{
    struct exchange *x = chat("m", "\"n\":3"), *tools = chat("mock-tool", "\"n\":3");
    const struct span json = bytes_of(x);
    CHECK(json_string_cmp(at(json, "choices/0/message/content"),
                          at(json, "choices/1/message/content")) != 0);
    CHECK(number_at(json, "choices/2/index") == 2 && at(json, "choices/3").n == 0);
    CHECK(number_at(json, "usage/completion_tokens") == 3 * 16);
    /* get_weather and {"location":"Paris"}: 11 and 20 bytes */
    CHECK(number_at(bytes_of(tools), "usage/completion_tokens") == 3 * (3 + 5));
    forget(x), forget(tools);
}

TEST(usage_is_what_the_script_says)
{
    struct exchange *x = chat("mock-tokens-1000-500-800-300", "");
    CHECK(number_at(bytes_of(x), "usage/prompt_tokens") == 1000);
    CHECK(number_at(bytes_of(x), "usage/completion_tokens") == 500);
    CHECK(number_at(bytes_of(x), "usage/total_tokens") == 1500);
    CHECK(number_at(bytes_of(x), "usage/prompt_tokens_details/cached_tokens") == 800);
    CHECK(number_at(bytes_of(x), "usage/completion_tokens_details/reasoning_tokens") == 300);
    forget(x);
    x = chat("mock-no-usage", "");
    CHECK(x->status == 200 && at(bytes_of(x), "usage").n == 0);
    forget(x);
}

/* --- tools and formats -------------------------------------------------------------------------
 */

static const char TOOLS[] =
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"first\"}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"second\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":7},\"c\":{\"enum\":[\"x\",\"y\"]},"
    "\"l\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/s\"},\"minItems\":2}},"
    "\"$defs\":{\"s\":{\"type\":\"string\",\"maxLength\":3}}}}}]";

TEST(tools_are_called_as_asked)
{
    static char more[2048];
    struct span arguments;
    struct exchange *x = chat("mock-tool", TOOLS);
    CHECK(is_text_at(bytes_of(x), "choices/0/message/tool_calls/0/function/name", "first"));
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "tool_calls"));
    CHECK(json_kind(at(bytes_of(x), "choices/0/message/content")) == JSON_NULL);
    forget(x);

    snprintf(more, sizeof more,
             "%s,\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"second\"}}",
             TOOLS);
    x = chat("m", more);
    CHECK(is_text_at(bytes_of(x), "choices/0/message/tool_calls/0/function/name", "second"));
    CHECK(json_to_string(at(bytes_of(x), "choices/0/message/tool_calls/0/function/arguments"),
                         &x->rq.arena, &arguments) == ERR_OK);
    CHECK(number_at(arguments, "n") == 7 && is_text_at(arguments, "c", "x"));
    CHECK(at(arguments, "l/1").n >= 2 && at(arguments, "l/1").n <= 5 &&
          at(arguments, "l/2").n == 0);
    CHECK(number_at(bytes_of(x), "usage/completion_tokens") == 2 + (arguments.n + 3) / 4);
    forget(x);

    snprintf(more, sizeof more, "%s,\"tool_choice\":\"none\"", TOOLS);
    x = chat("mock-tool", more);
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "stop"));
    forget(x);
    x = ask("/v1/chat/completions", "{\"model\":\"mock-tool\",\"messages\":[{\"role\":\"tool\","
                                    "\"tool_call_id\":\"c\",\"content\":\"sunny\"}]}");
    CHECK(is_text_at(bytes_of(x), "choices/0/finish_reason", "stop"));
    forget(x);
}

TEST(a_demanded_format_is_json)
{
    struct exchange *x = chat("m", "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
                                   "\"name\":\"n\",\"schema\":{\"type\":\"object\",\"properties\":{"
                                   "\"ok\":{\"type\":\"boolean\"}}}}}");
    struct span text;
    CHECK(json_to_string(at(bytes_of(x), "choices/0/message/content"), &x->rq.arena, &text) == 0);
    CHECK(span_eq(text, SPAN("{\"ok\":true}")));
    forget(x);
}

/* --- trouble -----------------------------------------------------------------------------------
 */

TEST(a_status_has_its_error)
{
    struct exchange *x = chat("mock-status-429", "\"stream\":true");
    CHECK(x->status == 429 && x->ended);
    CHECK(is_text_at(bytes_of(x), "error/code", "rate_limit_exceeded"));
    CHECK(has_text(builder_span(&x->head), "Retry-After: 1\n"));
    forget(x);
    x = chat("mock-status-503-20s", "");
    CHECK(x->status == 503 && has_text(builder_span(&x->head), "Retry-After: 20\n"));
    forget(x);
    x = chat("mock-status-418", "");
    CHECK(x->status == 418 && is_text_at(bytes_of(x), "error/type", "invalid_request_error"));
    CHECK(json_kind(at(bytes_of(x), "error/code")) == JSON_NULL);
    forget(x);
    x = chat("mock-bogus", "");
    CHECK(x->status == 400 && has_text(bytes_of(x), "bogus"));
    CHECK(is_text_at(bytes_of(x), "error/param", "model"));
    forget(x);
}

TEST(resets_and_hangs_answer_nothing)
{
    struct exchange *x = chat("mock-reset", "");
    CHECK(x->was_cut && x->status == 0 && bytes_of(x).n == 0);
    forget(x);
    x = chat("mock-hang", "");
    CHECK(!x->ended && x->status == 0 && !x->was_cut);
    forget(x);
}

TEST(answers_die_in_the_middle)
{
    for (size_t after = 0; after < 20; after++) {
        char model[64];
        snprintf(model, sizeof model, "mock-cut-after-%zu", after);
        struct exchange *x = chat(model, "\"stream\":true");
        struct events s = read_events(x);
        CHECK(x->was_cut && !x->ended && !s.done && s.finish[0] == 0);
        CHECK(s.chunks == MIN(after, (size_t)16)); /* a shorter answer dies before its end */
        builder_deinit(&s.text);
        forget(x);
    }
    struct exchange *x = chat("mock-cut-after-3", "");
    CHECK(x->was_cut && !x->ended && x->length > bytes_of(x).n && bytes_of(x).n > 0);
    forget(x);
    x = chat("mock-stall-after-3", "\"stream\":true");
    struct events s = read_events(x);
    CHECK(s.chunks == 3 && !x->ended && !x->was_cut);
    builder_deinit(&s.text);
    forget(x);
    x = chat("mock-error-after-3", "\"stream\":true");
    s = read_events(x);
    CHECK(s.chunks == 3 && x->ended && !s.done);
    CHECK(is_text_at(s.error, "type", "server_error"));
    builder_deinit(&s.text);
    forget(x);
}

TEST(bad_json_is_framed_well)
{
    struct exchange *x = chat("mock-badjson", "");
    struct json_report report;
    CHECK(x->status == 200 && x->ended && x->length == bytes_of(x).n);
    CHECK(json_scan(bytes_of(x), NULL, 0, NULL, &report) == ERR_BAD_JSON);
    forget(x);
    x = chat("mock-badjson", "\"stream\":true");
    struct events s = read_events(x);
    CHECK(s.is_broken && s.done && s.chunks == 15);
    builder_deinit(&s.text);
    forget(x);
}

TEST(the_first_calls_of_each_key_fail)
{
    static const char body[] = "{\"model\":\"mock-fail-2-then-ok+status-503\",\"messages\":[{"
                               "\"role\":\"user\",\"content\":\"x\"}]}";
    static const int expected[] = {503, 503, 200, 200};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        for (int key = 0; key < 2; key++) {
            struct exchange *x =
                ask_as(key ? "Bearer one" : "Bearer two", "POST", "/v1/chat/completions", body);
            CHECK(x->status == expected[i]);
            forget(x);
        }
    }
}

/* --- the other endpoints -----------------------------------------------------------------------
 */

TEST(embeddings_are_unit_vectors_in_both_forms)
{
    static const char in[] = "{\"model\":\"e\",\"input\":[\"the quick brown fox\",\"A quick brown "
                             "fox!\",\"payroll\"],\"dimensions\":256,\"encoding_format\":\"%s\"}";
    static double v[3][256];
    char body[512];
    snprintf(body, sizeof body, in, "float");
    struct exchange *x = ask("/v1/embeddings", body);
    CHECK(x->status == 200 && number_at(bytes_of(x), "usage/prompt_tokens") == 5 + 5 + 2);
    CHECK(number_at(bytes_of(x), "usage/total_tokens") == 12);
    snprintf(body, sizeof body, in, "base64");
    struct exchange *y = ask("/v1/embeddings", body);
    for (size_t i = 0; i < 3; i++) {
        char path[32];
        unsigned char raw[1024 + 2];
        struct span text;
        size_t n, k = 0;
        double sum = 0, least = 0;
        snprintf(path, sizeof path, "data/%zu/embedding", i);
        struct json_walk w = json_walk(at(bytes_of(x), path));
        for (; json_walk_next(&w) && k < 256; k++) {
            v[i][k] = strtod(w.value.p, NULL);
            sum += v[i][k] * v[i][k];
            least = MIN(least, v[i][k]);
        }
        CHECK(least < 0); /* all directions, as real ones */
        CHECK(k == 256 && sum > 0.9999 && sum < 1.0001);
        CHECK(json_to_string(at(bytes_of(y), path), &y->rq.arena, &text) == ERR_OK);
        CHECK(text.n == 1368 && base64_decode(text, raw, &n) && n == 1024);
        for (k = 0; k < 256; k++) {
            float f; /* this test runs on little-endian machines */
            memcpy(&f, raw + 4 * k, 4);
            CHECK((double)f > v[i][k] - 1e-6 && (double)f < v[i][k] + 1e-6);
        }
    }
    double near = 0, far = 0;
    for (size_t k = 0; k < 256; k++) {
        near += v[0][k] * v[1][k];
        far += v[0][k] * v[2][k];
    }
    CHECK(near > 0.6 && far < 0.3); /* three words of four are shared; none is */
    forget(x), forget(y);
}

TEST(completions_take_every_kind_of_prompt)
{
    static const struct {
        const char *prompt;
        uint64_t tokens, choices;
    } cases[] = {{"\"abcde\"", 2, 2},
                 {"[\"a\",\"b\",\"abcde\"]", 4, 6},
                 {"[1,2,3]", 3, 2},
                 {"[[1,2],[3]]", 3, 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[256], path[32];
        snprintf(body, sizeof body, "{\"model\":\"m\",\"n\":2,\"prompt\":%s}", cases[i].prompt);
        struct exchange *x = ask("/v1/completions", body);
        CHECK(number_at(bytes_of(x), "usage/prompt_tokens") == cases[i].tokens);
        snprintf(path, sizeof path, "choices/%llu/text", (unsigned long long)cases[i].choices - 1);
        CHECK(json_kind(at(bytes_of(x), path)) == JSON_STRING);
        snprintf(path, sizeof path, "choices/%llu", (unsigned long long)cases[i].choices);
        CHECK(at(bytes_of(x), path).n == 0);
        forget(x);
    }
}

TEST(wrong_requests_are_told_so)
{
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *text;
    } cases[] = {
        {"GET", "/nowhere", NULL, 404, "unknown_url"},
        {"PUT", "/v1/models", "", 405, "method_not_allowed"},
        {"GET", "/v1/chat/completions", NULL, 405, "method_not_allowed"},
        {"GET", "/v1/models/", NULL, 404, "unknown_url"},
        {"POST", "/v1/chat/completions", "", 400, "byte 0"},
        {"POST", "/v1/chat/completions", "{\"model\":", 400, "byte 9"},
        {"POST", "/v1/chat/completions", "[]", 400, "model"},
        {"POST", "/v1/chat/completions", "{\"model\":7}", 400, "a number"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"model\":\"n\"}", 400, "byte"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\"}", 400, "missing_required_parameter"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"messages\":[]}", 400, "empty_array"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"messages\":[1]}", 400, "role"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"messages\":{},\"n\":1}", 400,
         "object"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"n\":0}", 400, "integer_below_min"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"n\":129}", 400, "integer_above_max"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"stream\":1}", 400, "a boolean"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"max_tokens\":-1}", 400, "max_tokens"},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"stop\":[1]}", 400, "stop"},
        {"POST", "/v1/chat/completions",
         "{\"model\":\"m\",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", 400, "stop"},
        {"POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":[]}", 400, "prompt"},
        {"POST", "/v1/embeddings", "{\"model\":\"m\",\"input\":{}}", 400, "input"},
        {"POST", "/v1/embeddings", "{\"model\":\"m\",\"input\":\"x\",\"dimensions\":0}", 400,
         "dimensions"},
        {"POST", "/v1/embeddings", "{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"hex\"}",
         400, "encoding_format"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct exchange *x = ask_as(NULL, cases[i].method, cases[i].path, cases[i].body);
        if (!EXPECT(x->status == cases[i].status) ||
            !EXPECT(has_text(bytes_of(x), cases[i].text)) ||
            !EXPECT(json_kind(at(bytes_of(x), "error/message")) == JSON_STRING))
            printf("# case %zu: %d %.*s\n", i, x->status, SPAN_ARG(bytes_of(x)));
        forget(x);
    }
}

/* --- the list of calls -------------------------------------------------------------------------
 */

TEST(calls_are_listed_and_forgotten)
{
    forget(ask_as(NULL, "DELETE", "/mock/calls", NULL));
    forget(chat("mock-reset", ""));
    forget(ask("/v1/models?key=0123456789abcdef&x=1", NULL));
    struct exchange *x = ask("/mock/calls", NULL);
    const struct span list = bytes_of(x);
    CHECK(x->status == 200);
    CHECK(is_text_at(list, "0/model", "mock-reset") && is_text_at(list, "0/outcome", "broken"));
    CHECK(is_text_at(list, "0/body",
                     "{\"model\":\"mock-reset\",\"messages\":[{\"role\":\"user\","
                     "\"content\":\"Hello\"}]}"));
    CHECK(is_text_at(list, "0/headers/authorization", "Bearer ***cdef"));
    CHECK(is_text_at(list, "1/path", "/v1/models") && is_text_at(list, "1/outcome", "answered"));
    CHECK(is_text_at(list, "1/query", "key=***cdef&x=1") && number_at(list, "1/status") == 200);
    CHECK(number_at(list, "1/number") == number_at(list, "0/number") + 1);
    CHECK(at(list, "2").n == 0 && !has_text(list, "0123456789"));
    forget(x);
    forget(ask_as(NULL, "DELETE", "/mock/calls", NULL));
    x = ask("/mock/calls", NULL);
    CHECK(span_eq(bytes_of(x), SPAN("[]")));
    forget(x);
}

TEST(the_list_of_calls_is_bounded)
{
    struct http_field fields[4];
    struct http_head head;
    struct mock_calls *c = mock_calls_new(3, 4);
    CHECK(c != NULL);
    http_head_init(&head, fields, 4);
    head.method_text = SPAN("POST");
    head.path = SPAN("/x");
    CHECK(http_head_add(&head, SPAN("A"), SPAN("1")) == ERR_OK);
    CHECK(http_head_add(&head, SPAN("a"), SPAN("2")) == ERR_OK);
    for (int i = 0; i < 5; i++)
        mock_calls_end(c, mock_calls_add(c, &head, SPAN("m"), true, SPAN("123456")), 200,
                       MOCK_ANSWERED);
    mock_calls_end(c, 1, 500, MOCK_GONE); /* overwritten long ago: nothing happens */
    struct builder out;
    builder_init(&out, 1 << 20);
    CHECK(mock_calls_list(c, &out) == ERR_OK);
    const struct span list = builder_span(&out);
    CHECK(number_at(list, "0/number") == 3 && number_at(list, "2/number") == 5);
    CHECK(at(list, "3").n == 0 && !has_text(list, "500"));
    CHECK(is_text_at(list, "0/body", "1234") && number_at(list, "0/body_bytes") == 6);
    CHECK(is_text_at(list, "0/headers/a", "1, 2"));
    builder_deinit(&out);
    mock_calls_free(c);
    c = mock_calls_new(0, 0);
    CHECK(c != NULL && mock_calls_add(c, &head, SPAN(""), false, SPAN("")) == 1);
    mock_calls_free(c);
}

int main(void)
{
    struct mock_options options = {.calls_max = 100, .call_body_max = 1024};
    sys.monotonic_ns = fake_clock;
    sys.epoll_wait = fake_epoll_wait;
    loop = loop_new(16);
    if (!loop || mock_new(&options, &mock, NULL) != ERR_OK)
        return 1;
    RUN(the_same_request_gets_the_same_bytes);
    RUN(usage_follows_its_rule);
    RUN(a_stream_says_what_the_whole_answer_says);
    RUN(a_stream_is_paced_by_its_script);
    RUN(a_drip_changes_the_pieces_and_not_the_bytes);
    RUN(bounds_and_stops_cut_the_answer);
    RUN(a_stop_word_wins_over_a_bound);
    RUN(choices_differ_and_are_all_counted);
    RUN(usage_is_what_the_script_says);
    RUN(tools_are_called_as_asked);
    RUN(a_demanded_format_is_json);
    RUN(a_status_has_its_error);
    RUN(resets_and_hangs_answer_nothing);
    RUN(answers_die_in_the_middle);
    RUN(bad_json_is_framed_well);
    RUN(the_first_calls_of_each_key_fail);
    RUN(embeddings_are_unit_vectors_in_both_forms);
    RUN(completions_take_every_kind_of_prompt);
    RUN(wrong_requests_are_told_so);
    RUN(calls_are_listed_and_forgotten);
    RUN(the_list_of_calls_is_bounded);
    mock_free(mock);
    loop_free(loop);
    return TESTS_DONE();
}
