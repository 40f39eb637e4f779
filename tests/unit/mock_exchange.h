/* mock_exchange.h -- asks the mock without a connection, and without waiting.
 *
 * Why: what a handler writes, when, and in which pieces is seen best by standing where the server
 * stands. Time is moved by hand, so a script that waits for an hour is tested in no time.
 *
 * Owns:      an exchange, from ask to forget.
 * Suspends:  never.     Threads: the test's only one.
 */
#ifndef PENSTOCK_TESTS_UNIT_MOCK_EXCHANGE_H
#define PENSTOCK_TESTS_UNIT_MOCK_EXCHANGE_H

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"
#include "mock/mock.h"
#include "tests/test.h"

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
    static char body[4096];
    snprintf(body, sizeof body,
             "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]%s%s}",
             model, *more ? "," : "", more);
    return ask("/v1/chat/completions", body);
}

#endif
