#include "mock/mock.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"
#include "http/sse.h"
#include "mock/calls.h"
#include "mock/sample.h"
#include "mock/script.h"
#include "mock/text.h"
#include "tests/test.h"
#include "json/tree.h"

#include <errno.h>

struct epoll_event;

/* --- a clock that jumps to the next timer, so that no test sleeps ------------------------------
 */

static int64_t now_ns = NS_PER_S;
static struct fiber *asking; /* the fiber of the request under way */

static int64_t fake_clock(void)
{
    return now_ns;
}

/* Nothing comes from outside: whoever waits for ever is told that its caller has gone. */
static int fake_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    (void)epoll, (void)events, (void)count;
    if (timeout_ms > 0)
        now_ns += timeout_ms * NS_PER_MS;
    else if (timeout_ms < 0 && asking)
        fiber_cancel(asking, CANCEL_CLIENT_GONE);
    return 0;
}

/* --- a request without a connection ------------------------------------------------------------
 */

enum { PIECES_MAX = 4096 };

struct exchange {
    struct http_request rq;
    struct http_field fields[8];
    struct span body;
    /* What came back. */
    int status;
    struct builder head; /* "name: value\n" of every field */
    struct builder bytes;
    size_t ends[PIECES_MAX]; /* of the pieces written, in bytes */
    size_t piece_count;
    uint64_t length; /* as announced */
    bool ended, was_cut;
    int64_t took_ns;
};

static struct exchange *exchange_of(struct http_request *rq)
{
    return CONTAINER_OF(rq, struct exchange, rq);
}

static enum err fake_read(struct http_request *rq)
{
    rq->body = exchange_of(rq)->body;
    return ERR_OK;
}

static void fake_drop(struct http_request *rq)
{
    (void)rq;
}

static enum err fake_begin(struct http_request *rq, const struct http_reply_head *head,
                           uint64_t body_bytes)
{
    struct exchange *x = exchange_of(rq);
    rq->status = x->status = head->status;
    x->length = body_bytes;
    for (size_t i = 0; i < head->field_count; i++)
        builder_printf(&x->head, "%.*s: %.*s\n", SPAN_ARG(head->fields[i].name),
                       SPAN_ARG(head->fields[i].value));
    return ERR_OK;
}

static enum err fake_write(struct http_request *rq, const struct span *pieces, size_t count,
                           size_t bytes)
{
    struct exchange *x = exchange_of(rq);
    (void)bytes;
    for (size_t i = 0; i < count; i++)
        builder_add(&x->bytes, pieces[i]);
    if (x->piece_count < PIECES_MAX)
        x->ends[x->piece_count++] = builder_span(&x->bytes).n;
    return ERR_OK;
}

static enum err fake_reply(struct http_request *rq, const struct http_reply_head *head,
                           const struct span *body, size_t parts)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < parts; i++)
        bytes += body[i].n;
    TRY(fake_begin(rq, head, bytes));
    exchange_of(rq)->ended = true;
    return fake_write(rq, body, parts, bytes);
}

static enum err fake_flush(struct http_request *rq)
{
    (void)rq;
    return ERR_OK;
}

static enum err fake_end(struct http_request *rq)
{
    exchange_of(rq)->ended = true;
    return ERR_OK;
}

static void fake_cut(struct http_request *rq)
{
    exchange_of(rq)->was_cut = true;
}

static const struct http_reply_ops fake_ops = {
    .read_body = fake_read,
    .drop_body = fake_drop,
    .reply = fake_reply,
    .begin = fake_begin,
    .write = fake_write,
    .flush = fake_flush,
    .end = fake_end,
    .cut = fake_cut,
};

static const struct http_server_settings settings = {.body_max = 1 << 20};
static struct loop *loop;
static struct mock *mock;

static void run_handler(void *arg)
{
    struct exchange *x = arg;
    const int64_t began = clock_ns();
    mock_handler(&x->rq, mock);
    x->took_ns = clock_ns() - began;
    asking = NULL;
    loop_stop(loop);
}

static void forget(struct exchange *x)
{
    arena_deinit(&x->rq.arena);
    builder_deinit(&x->head);
    builder_deinit(&x->bytes);
    mem_free(x);
}

static struct exchange *ask_as(const char *key, const char *method, const char *path,
                               const char *body)
{
    struct exchange *x = mem_calloc(1, sizeof *x);
    if (!x)
        abort();
    struct http_head *head = &x->rq.head;
    struct span target = span_of_cstr(path);
    builder_init(&x->head, 1 << 16);
    builder_init(&x->bytes, 1 << 26);
    arena_init(&x->rq.arena, 1 << 26, NULL, 0);
    http_head_init(head, x->fields, ARRAY_LEN(x->fields));
    head->method_text = span_of_cstr(method);
    head->method = http_method_of(head->method_text);
    (void)span_cut(target, '?', &head->path, &head->query);
    if (key && http_head_add(head, SPAN("Authorization"), span_of_cstr(key)) != ERR_OK)
        abort();
    x->rq.ops = &fake_ops;
    x->rq.settings = &settings;
    x->body = span_of_cstr(body ? body : "");
    asking = fiber_spawn(run_handler, x, "test");
    loop_run(loop);
    return x;
}

static struct exchange *ask(const char *path, const char *body)
{
    return ask_as("Bearer sk-0123456789abcdef", body ? "POST" : "GET", path, body);
}

static struct exchange *chat(const char *model, const char *more)
{
    char body[3072];
    snprintf(body, sizeof body,
             "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]%s%s}",
             model, *more ? "," : "", more);
    return ask("/v1/chat/completions", body);
}

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
    char more[2048];
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

TEST(samples_end_whatever_the_schema)
{
    static const char *const schemas[] = {
        "{\"$ref\":\"#\"}",
        "{\"type\":\"object\",\"required\":[\"a\",\"b\"],\"properties\":{\"a\":{\"$ref\":\"#\"},"
        "\"b\":{\"$ref\":\"#\"}}}",
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
        double sum = 0;
        snprintf(path, sizeof path, "data/%zu/embedding", i);
        struct json_walk w = json_walk(at(bytes_of(x), path));
        for (; json_walk_next(&w) && k < 256; k++) {
            v[i][k] = strtod(w.value.p, NULL);
            sum += v[i][k] * v[i][k];
        }
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
    RUN(scripts_say_what_they_say);
    RUN(scripts_refuse_what_says_nothing);
    RUN(a_script_file_is_read_by_lines);
    RUN(a_text_is_the_same_from_anywhere);
    RUN(pieces_are_whole_characters);
    RUN(fingerprints_tell_texts_apart);
    RUN(the_same_request_gets_the_same_bytes);
    RUN(usage_follows_its_rule);
    RUN(a_stream_says_what_the_whole_answer_says);
    RUN(a_stream_is_paced_by_its_script);
    RUN(a_drip_changes_the_pieces_and_not_the_bytes);
    RUN(bounds_and_stops_cut_the_answer);
    RUN(usage_is_what_the_script_says);
    RUN(tools_are_called_as_asked);
    RUN(samples_end_whatever_the_schema);
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
