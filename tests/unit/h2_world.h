/* h2_world.h -- a server and its callers in one loop, over socket pairs; for the HTTP/2 tests.
 *
 * Why: what happens between two ends is only seen with both at hand. The clock can be moved by the
 * test, so no deadline is waited for.
 */
#ifndef PENSTOCK_TESTS_H2_WORLD_H
#define PENSTOCK_TESTS_H2_WORLD_H

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"
#include "http/server_impl.h"
#include "net/buffer.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static struct {
    struct loop *loop;
    struct http_server *server;
    fiber_fn body;

    /* What the handler saw. */
    int started, ended;
    uint64_t written;
    enum err last;
    enum cancel_reason reason;
    struct fiber *parked;
    bool may_go_on;
    char seen[1024]; /* of the last head: "METHOD path?query authority name=value ..." */
} world;

static int64_t clock_skew_ns, (*real_clock)(void);

static int64_t skewed_clock(void)
{
    return real_clock() + clock_skew_ns;
}

/* All timers up to then have fired: some are filed again, a tick later. */
static inline void pass_time(int64_t ns)
{
    clock_skew_ns += ns;
    for (int i = 0; i < 8; i++) {
        clock_skew_ns += 3 * NS_PER_MS;
        if (fiber_yield() != ERR_OK)
            return;
    }
}

/* --- the handler ------------------------------------------------------------------------------ */

static void note_head(const struct http_request *rq)
{
    struct builder b;
    builder_init_fixed(&b, world.seen, sizeof world.seen - 1);
    builder_printf(&b, "%.*s %.*s?%.*s %.*s", SPAN_ARG(rq->head.method_text),
                   SPAN_ARG(rq->head.path), SPAN_ARG(rq->head.query), SPAN_ARG(rq->head.authority));
    for (uint32_t i = 0; i < rq->head.field_count; i++)
        builder_printf(&b, " %.*s=%.*s", SPAN_ARG(rq->head.fields[i].name),
                       SPAN_ARG(rq->head.fields[i].value));
    world.seen[builder_span(&b).n] = 0;
}

static enum err answer(struct http_request *rq, int status, struct span body)
{
    const struct http_field fields[] = {{SPAN("Content-Type"), SPAN("text/plain")},
                                        {SPAN("X-Own"), SPAN("yes")}};
    const struct http_reply_head head = {.status = status, .fields = fields, .field_count = 2};
    return http_reply(rq, &head, &body, 1);
}

static enum err handle_echo(struct http_request *rq)
{
    struct span body;
    enum err e = http_read_body(rq, &body);
    if (e != ERR_OK && err_info(e)->status < 499)
        return answer(rq, err_info(e)->status, span_of_cstr(rq->failure.text));
    TRY(e);
    return answer(rq, 200, body);
}

/* n bytes in pieces of 1000; `length` as it is to be said. */
static enum err handle_bytes(struct http_request *rq, uint64_t n, uint64_t length)
{
    char piece[1000];
    const struct http_reply_head head = {.status = 200};
    TRY(http_reply_begin(rq, &head, length));
    for (uint64_t at = 0; at < n;) {
        const size_t k = (size_t)MIN(n - at, (uint64_t)sizeof piece);
        for (size_t i = 0; i < k; i++)
            piece[i] = (char)((at + i) * 7 % 251);
        TRY(http_reply_write(rq, span(piece, k)));
        at += k;
        world.written = at;
    }
    return http_reply_end(rq);
}

static enum err handle_hang(struct http_request *rq)
{
    enum err e = ERR_OK;
    world.parked = fiber_self();
    while (e == ERR_OK && !world.may_go_on)
        e = fiber_park("the test", FIBER_FOREVER);
    world.parked = NULL;
    TRY(e);
    return handle_echo(rq);
}

static enum err handle_cut(struct http_request *rq)
{
    const struct http_reply_head head = {.status = 200};
    TRY(http_reply_begin(rq, &head, HTTP_LENGTH_UNKNOWN));
    TRY(http_reply_write(rq, SPAN("half an ans")));
    http_reply_cut(rq);
    return ERR_OK;
}

static void handle(struct http_request *rq, void *context)
{
    uint64_t n = 0;
    const struct span path = rq->head.path;
    (void)context;
    world.started++;
    note_head(rq);
    if (span_starts(path, SPAN("/bytes/")) && span_to_u64(span_from(path, 7), &n) == ERR_OK)
        world.last = handle_bytes(rq, n, n);
    else if (span_starts(path, SPAN("/pieces/")) && span_to_u64(span_from(path, 8), &n) == ERR_OK)
        world.last = handle_bytes(rq, n, HTTP_LENGTH_UNKNOWN);
    else if (span_eq(path, SPAN("/hang")))
        world.last = handle_hang(rq);
    else if (span_eq(path, SPAN("/cut")))
        world.last = handle_cut(rq);
    else
        world.last = handle_echo(rq);
    world.reason = fiber_cancelled(fiber_self());
    world.ended++;
}

static inline void let_go_on(void)
{
    world.may_go_on = true;
    if (world.parked)
        fiber_wake(world.parked);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void close_world(void)
{
    http_server_abort(world.server);
    for (int i = 0; i < 100 && http_server_stats(world.server).connections > 0; i++)
        if (fiber_yield() != ERR_OK)
            break;
    loop_stop(world.loop);
}

static void run_body(void *arg)
{
    world.body(arg);
    close_world();
}

static const struct http_server_settings usual_settings = {
    .body_max = 4 * 1024 * 1024,
    .connections_max = 1000,
    .requests_max = 1000,
    .header_timeout_ns = 10 * NS_PER_S,
    .body_timeout_ns = 20 * NS_PER_S,
    .write_timeout_ns = 30 * NS_PER_S,
    .keepalive_timeout_ns = 60 * NS_PER_S,
    .half_close = HALF_CLOSE_ALLOW,
};

/* Runs `body` as a fiber beside a server, and leaves nothing behind. */
static void in_world(fiber_fn body)
{
    memset(&world, 0, sizeof world);
    clock_skew_ns = 0;
    world.body = body;
    world.loop = loop_new(600);
    world.server = http_server_new(&usual_settings, handle, NULL);
    if (!EXPECT(world.loop && world.server) || !EXPECT(fiber_spawn(run_body, NULL, "test")))
        exit(1);
    loop_run(world.loop);
    EXPECT(http_server_stats(world.server).connections == 0);
    EXPECT(http_server_stats(world.server).requests == 0);
    EXPECT(buffers_in_use() == 0);
    EXPECT(world.started == world.ended);
    http_server_free(world.server);
    buffers_trim(true);
    loop_free(world.loop);
}

/* A connection: the server has one end, the other is `*stream`. */
static bool connect_pair(struct stream *stream)
{
    int fds[2];
    struct stream theirs;
    const struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        exit(1);
    if (stream_open(stream, fds[0], NULL) != ERR_OK) {
        close(fds[1]);
        return false;
    }
    if (stream_open(&theirs, fds[1], NULL) != ERR_OK) {
        stream_close(stream);
        return false;
    }
    h2_connection_start(world.server, &theirs, &nobody, 7, (struct span){0});
    return true;
}

static inline void begin_tests(void)
{
    signal(SIGPIPE, SIG_IGN);
    real_clock = sys.monotonic_ns;
    sys.monotonic_ns = skewed_clock;
}

#endif
