/* HTTP/2: our client and our server against each other, and our client against raw frames. What
 * other implementations say of the server is h2spec's business (tests/h2spec_server.c). */
#include "http/h2_client.h"
#include "http/h2_wire.h"
#include "tests/unit/h2_world.h"

static const struct origin origin = {.name = SPAN_INIT("http://here:80"),
                                     .authority = SPAN_INIT("here:80")};

static int changes;

static void on_change(struct h2_session *s, void *context)
{
    (void)s, (void)context;
    changes++;
}

static struct h2_session *open_session(void)
{
    struct stream stream;
    changes = 0;
    return connect_pair(&stream) ? h2_session_new(&stream, on_change, NULL) : NULL;
}

struct exchange {
    struct http_call call;
    struct arena arena;
    struct failure why;
    bool is_untouched;
    struct builder body; /* of the answer */
};

static int64_t soon(void)
{
    return clock_ns() + 5 * NS_PER_S;
}

static enum err start(struct h2_session *s, struct exchange *x, enum http_method method,
                      const char *target, struct span body)
{
    static const struct http_field fields[] = {{SPAN_INIT("X-Test"), SPAN_INIT("a b")},
                                               {SPAN_INIT("Connection"), SPAN_INIT("close")}};
    const struct http_call_request request = {.origin = &origin,
                                              .method = method,
                                              .target = span_of_cstr(target),
                                              .fields = fields,
                                              .field_count = 2,
                                              .body = &body,
                                              .body_parts = body.n ? 1 : 0,
                                              .connect_deadline = soon(),
                                              .first_byte_deadline = soon()};
    memset(x, 0, sizeof *x);
    arena_init(&x->arena, 1 << 20, NULL, 0);
    builder_init(&x->body, 32 << 20);
    return h2_call_start(s, &request, &x->arena, &x->call, &x->is_untouched, &x->why);
}

static enum err read_all(struct exchange *x)
{
    struct span piece;
    do {
        TRY(h2_call_read(&x->call, &piece, soon()));
        builder_add(&x->body, piece);
    } while (piece.n);
    return builder_check(&x->body);
}

static void finish(struct exchange *x)
{
    h2_call_end(&x->call);
    builder_deinit(&x->body);
    arena_deinit(&x->arena);
}

static bool is_pattern(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != (char)(i * 7 % 251))
            return false;
    return true;
}

/* --- exchanges -------------------------------------------------------------------------------- */

static struct h2_session *shared;
static int callers_done;

static void one_caller(void *arg)
{
    struct exchange x;
    const size_t number = (size_t)(uintptr_t)arg, n = number * number * 77;
    char *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * number);
    EXPECT(start(shared, &x, HTTP_POST, "/echo?x=1", span(bytes, n)) == ERR_OK);
    EXPECT(x.call.head.status == 200);
    EXPECT(x.call.head.is_http2);
    EXPECT(span_eq(http_get(&x.call.head, HTTP_KNOWN_CONTENT_TYPE), SPAN("text/plain")));
    EXPECT(x.call.head.content_length == n);
    EXPECT(read_all(&x) == ERR_OK);
    EXPECT(span_eq(builder_span(&x.body), span(bytes, n)));
    EXPECT(x.call.body_received == n);
    finish(&x);
    free(bytes);
    callers_done++;
}

static void calls_share(void *arg)
{
    (void)arg;
    callers_done = 0;
    shared = open_session();
    if (!EXPECT(shared != NULL))
        return;
    struct group g;
    group_init(&g);
    for (uintptr_t i = 0; i < 60; i++)
        EXPECT(group_spawn(&g, one_caller, (void *)i, "caller") != NULL);
    EXPECT(group_join(&g, clock_ns() + 20 * NS_PER_S) == ERR_OK);
    EXPECT(callers_done == 60);
    EXPECT(world.started == 60);
    EXPECT(http_server_stats(world.server).connections == 1);
    EXPECT(h2_session_calls(shared) == 0);
    EXPECT(changes > 0);
    /* Idle: nobody holds a buffer. */
    EXPECT(fiber_yield() == ERR_OK);
    EXPECT(buffers_in_use() == 0);
    h2_session_close(shared);
}

TEST(calls_share_a_connection)
{
    in_world(calls_share);
}

static void head_arrives(void *arg)
{
    (void)arg;
    struct exchange x;
    struct h2_session *s = open_session();
    EXPECT(start(s, &x, HTTP_POST, "/v1/models?a=%20b", SPAN("body")) == ERR_OK);
    /* Lower-case names, no Connection, no Host; the length was said. */
    EXPECT(strcmp(world.seen, "POST /v1/models?a=%20b here:80 x-test=a b content-length=4") == 0);
    EXPECT(http_find(&x.call.head, SPAN("x-own")) != NULL);
    EXPECT(http_has(&x.call.head, HTTP_KNOWN_DATE));
    EXPECT(read_all(&x) == ERR_OK);
    finish(&x);
    EXPECT(start(s, &x, HTTP_HEAD, "/bytes/500", (struct span){0}) == ERR_OK);
    EXPECT(x.call.head.content_length == 500);
    EXPECT(read_all(&x) == ERR_OK);
    EXPECT(x.call.body_received == 0);
    finish(&x);
    h2_session_close(s);
}

TEST(a_head_arrives_as_it_was_meant)
{
    in_world(head_arrives);
}

static void streams(void *arg)
{
    (void)arg;
    struct h2_session *s = open_session();
    static const char *const targets[] = {"/pieces/0",      "/pieces/1",     "/pieces/64000",
                                          "/pieces/300000", "/bytes/300000", "/bytes/0"};
    static const size_t sizes[] = {0, 1, 64000, 300000, 300000, 0};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct exchange x;
        EXPECT(start(s, &x, HTTP_GET, targets[i], (struct span){0}) == ERR_OK);
        EXPECT(read_all(&x) == ERR_OK);
        EXPECT(builder_span(&x.body).n == sizes[i]);
        EXPECT(is_pattern(builder_span(&x.body)));
        finish(&x);
    }
    EXPECT(world.last == ERR_OK);
    h2_session_close(s);
}

TEST(answers_come_in_pieces)
{
    in_world(streams);
}

/* --- flow control ----------------------------------------------------------------------------- */

static void slow_reader(void *arg)
{
    (void)arg;
    enum { ALL = 5000000, SOCKETS = 512 * 1024 };
    struct exchange x, other;
    struct h2_session *s = open_session();
    EXPECT(start(s, &x, HTTP_GET, "/pieces/5000000", (struct span){0}) == ERR_OK);
    for (int i = 0; i < 200; i++)
        EXPECT(fiber_yield() == ERR_OK);
    /* A window and a piece, however long we wait. */
    EXPECT(world.written <= H2_WINDOW + 1000);
    EXPECT(world.written >= H2_WINDOW / 2);
    EXPECT(buffers_in_use() < H2_WINDOW + 32 * 1024);
    /* It stands in nobody's way. */
    EXPECT(start(s, &other, HTTP_POST, "/echo", SPAN("hello")) == ERR_OK);
    EXPECT(read_all(&other) == ERR_OK);
    EXPECT(span_eq(builder_span(&other.body), SPAN("hello")));
    finish(&other);
    EXPECT(read_all(&x) == ERR_OK);
    EXPECT(builder_span(&x.body).n == ALL);
    EXPECT(is_pattern(builder_span(&x.body)));
    finish(&x);
    h2_session_close(s);
}

TEST(a_slow_reader_slows_its_own_writer_only)
{
    in_world(slow_reader);
}

static void upload(void *arg)
{
    (void)arg;
    struct exchange x;
    enum { N = 1000000 };
    char *bytes = malloc(N);
    memset(bytes, 'u', N);
    EXPECT(start(shared, &x, HTTP_POST, "/hang", span(bytes, N)) == ERR_OK);
    EXPECT(x.call.head.content_length == N);
    EXPECT(read_all(&x) == ERR_OK);
    EXPECT(span_eq(builder_span(&x.body), span(bytes, N)));
    finish(&x);
    free(bytes);
    callers_done++;
}

static void slow_server(void *arg)
{
    (void)arg;
    struct group g;
    group_init(&g);
    shared = open_session();
    EXPECT(group_spawn(&g, upload, NULL, "caller") != NULL);
    for (int i = 0; i < 100; i++)
        EXPECT(fiber_yield() == ERR_OK);
    EXPECT(world.parked != NULL);
    /* The server keeps a window of a body that nobody reads, and no more. */
    EXPECT(buffers_in_use() < H2_WINDOW + 32 * 1024);
    let_go_on();
    EXPECT(group_join(&g, soon()) == ERR_OK);
    h2_session_close(shared);
}

TEST(an_upload_waits_until_it_is_read)
{
    in_world(slow_server);
}

static void too_large(void *arg)
{
    (void)arg;
    struct exchange x;
    enum { N = 5 * 1024 * 1024 };
    char *bytes = calloc(1, N);
    struct h2_session *s = open_session();
    EXPECT(start(s, &x, HTTP_POST, "/echo", span(bytes, N)) == ERR_OK);
    EXPECT(x.call.head.status == 413);
    EXPECT(read_all(&x) == ERR_OK);
    finish(&x);
    EXPECT(start(s, &x, HTTP_POST, "/echo", SPAN("still there")) == ERR_OK);
    EXPECT(x.call.head.status == 200);
    finish(&x);
    free(bytes);
    h2_session_close(s);
}

TEST(a_body_that_is_too_large_is_refused)
{
    in_world(too_large);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void hang(void *arg)
{
    struct exchange x;
    enum err *result = arg;
    *result = start(shared, &x, HTTP_GET, "/hang", (struct span){0});
    EXPECT(!x.is_untouched);
    finish(&x);
}

static void settle(void)
{
    for (int i = 0; i < 20; i++)
        EXPECT(fiber_yield() == ERR_OK);
}

static void caller_leaves(void *arg)
{
    (void)arg;
    enum err result = ERR_OK;
    struct group g;
    group_init(&g);
    shared = open_session();
    struct fiber *f = group_spawn(&g, hang, &result, "caller");
    settle();
    EXPECT(world.parked != NULL);
    fiber_cancel(f, CANCEL_SIBLING_WON); /* resets the stream */
    settle();
    EXPECT(result == ERR_CANCELLED);
    EXPECT(world.ended == 1);
    EXPECT(world.reason == CANCEL_CLIENT_GONE);
    f = group_spawn(&g, hang, &result, "caller");
    settle();
    EXPECT(f != NULL && world.parked != NULL);
    h2_session_abort(shared); /* closes the connection */
    settle();
    EXPECT(result == ERR_CLOSED);
    EXPECT(world.ended == 2);
    EXPECT(world.reason == CANCEL_CLIENT_GONE);
    EXPECT(group_join(&g, soon()) == ERR_OK);
    EXPECT(http_server_stats(world.server).connections == 0);
}

TEST(a_caller_that_leaves_cancels_its_request)
{
    in_world(caller_leaves);
}

static void server_cuts(void *arg)
{
    (void)arg;
    struct exchange x;
    struct h2_session *s = open_session();
    EXPECT(start(s, &x, HTTP_GET, "/cut", (struct span){0}) == ERR_OK);
    EXPECT(read_all(&x) == ERR_CLOSED);
    finish(&x);
    EXPECT(start(s, &x, HTTP_GET, "/pieces/9", (struct span){0}) == ERR_OK);
    EXPECT(read_all(&x) == ERR_OK);
    finish(&x);
    h2_session_close(s);
}

TEST(a_cut_answer_does_not_look_complete)
{
    in_world(server_cuts);
}

static void drained(void *arg)
{
    (void)arg;
    enum err result = ERR_IO;
    struct group g;
    group_init(&g);
    shared = open_session();
    EXPECT(group_spawn(&g, hang, &result, "caller") != NULL);
    settle();
    EXPECT(h2_session_can_take(shared));
    changes = 0;
    http_server_drain(world.server);
    settle();
    EXPECT(changes > 0);
    EXPECT(h2_session_is_going(shared));
    EXPECT(!h2_session_can_take(shared));
    let_go_on();
    settle();
    pass_time(2 * NS_PER_S);
    EXPECT(result == ERR_OK); /* what was under way came to its end */
    EXPECT(group_join(&g, soon()) == ERR_OK);
    settle();
    EXPECT(http_server_stats(world.server).connections == 0);
    h2_session_close(shared);
}

TEST(draining_lets_calls_end_and_takes_no_more)
{
    in_world(drained);
}

static void reply_while_cancelled(void *arg)
{
    (void)arg;
    struct exchange x;
    shared = open_session();
    world.may_go_on = true;
    EXPECT(start(shared, &x, HTTP_GET, "/hang", (struct span){0}) == ERR_OK);
    EXPECT(read_all(&x) == ERR_OK);
    finish(&x);
    EXPECT(start(shared, &x, HTTP_METHOD_OTHER, "/", (struct span){0}) == ERR_BAD_REQUEST);
    EXPECT(x.is_untouched);
    finish(&x);
    EXPECT(start(shared, &x, HTTP_GET, "/a b", (struct span){0}) == ERR_BAD_REQUEST);
    finish(&x);
    EXPECT(start(shared, &x, HTTP_GET, "/a\r\nx: y", (struct span){0}) == ERR_BAD_REQUEST);
    finish(&x);
    EXPECT(http_server_stats(world.server).received == 1);
    h2_session_close(shared);
}

TEST(what_cannot_be_sent_is_refused_before)
{
    in_world(reply_while_cancelled);
}

/* --- our client against raw frames ------------------------------------------------------------ */

static struct stream raw_server;

static struct h2_session *session_to_raw(void)
{
    int fds[2];
    struct stream ours;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0 ||
        stream_open(&raw_server, fds[0], NULL) != ERR_OK ||
        stream_open(&ours, fds[1], NULL) != ERR_OK)
        exit(1);
    return h2_session_new(&ours, on_change, NULL);
}

static void send_raw(const void *bytes, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)bytes, n};
    EXPECT(stream_write(&raw_server, &part, 1, soon()) == ERR_OK);
}
#define SEND(literal) send_raw(literal, sizeof(literal) - 1)

#define SETTINGS "\0\0\0\4\0\0\0\0\0"

struct raw_case {
    const char *name, *frames;
    size_t n;
    enum err code;
    bool is_untouched;
};
#define CASE(name, frames, code, untouched)                                                        \
    {                                                                                              \
        name, frames, sizeof(frames) - 1, code, untouched                                          \
    }

static const struct raw_case raw_cases[] = {
    CASE("GOAWAY below the stream", SETTINGS "\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\0", ERR_CLOSED,
         true),
    CASE("REFUSED_STREAM", SETTINGS "\0\0\4\3\0\0\0\0\1\0\0\0\7", ERR_CLOSED, true),
    CASE("CANCEL", SETTINGS "\0\0\4\3\0\0\0\0\1\0\0\0\10", ERR_CLOSED, false),
    CASE("no status", SETTINGS "\0\0\4\1\4\0\0\0\1\0\1a\0", ERR_PROTOCOL, false),
    CASE("a line end in a value", SETTINGS "\0\0\11\1\4\0\0\0\1\x88\0\1a\4b\r\nc", ERR_PROTOCOL,
         false),
    CASE("a capital in a name", SETTINGS "\0\0\6\1\4\0\0\0\1\x88\0\1A\1b", ERR_PROTOCOL, false),
    CASE("a push",
         SETTINGS "\0\0\0\4\1\0\0\0\0"
                  "\0\0\5\5\4\0\0\0\1\0\0\0\2\x82",
         ERR_PROTOCOL, false),
    CASE("not HTTP/2", "HTTP/1.1 400 Bad Request\r\n\r\n", ERR_PROTOCOL, false),
    CASE("200, then 100, is trailers without an end",
         SETTINGS "\0\0\1\1\4\0\0\0\1\x88"
                  "\0\0\5\1\4\0\0\0\1\x08\003100",
         ERR_OK, false),
    CASE("103, then 200",
         SETTINGS "\0\0\5\1\4\0\0\0\1\x08\003103"
                  "\0\0\1\1\5\0\0\0\1\x88",
         ERR_OK, false),
    CASE("101", SETTINGS "\0\0\5\1\4\0\0\0\1\x08\003101", ERR_PROTOCOL, false),
};

static struct exchange late;

static void late_call(void *arg)
{
    *(enum err *)arg = start(shared, &late, HTTP_GET, "/", (struct span){0});
}

static void one_raw_answer(const struct raw_case *c)
{
    enum err e = ERR_AGAIN;
    shared = session_to_raw();
    struct fiber *f = fiber_spawn(late_call, &e, "caller");
    EXPECT(f != NULL);
    settle();
    send_raw(c->frames, c->n);
    settle();
    if (e != c->code || (e != ERR_OK && late.is_untouched != c->is_untouched))
        printf("# %s: %s, %s: %s\n", c->name, err_info(e)->name,
               late.is_untouched ? "untouched" : "touched", late.why.text);
    EXPECT(e == c->code);
    EXPECT(e == ERR_OK || late.is_untouched == c->is_untouched);
    if (e == ERR_AGAIN)
        fiber_cancel(f, CANCEL_OWNER);
    settle();
    EXPECT(e != ERR_OK || late.call.head.status == 200);
    finish(&late);
    h2_session_abort(shared);
    stream_close(&raw_server);
    settle();
}

static void raw_answers(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(raw_cases); i++)
        one_raw_answer(&raw_cases[i]);
}

TEST(the_client_judges_raw_answers)
{
    in_world(raw_answers);
}

/* --- memory that runs out --------------------------------------------------------------------- */

static int64_t fail_at, allocations;
static bool was_hit, fail_on;

static void *failing_realloc(void *old, size_t n)
{
    allocations++;
    if (fail_at <= 0 || allocations < fail_at || (allocations > fail_at && !fail_on))
        return realloc(old, n);
    was_hit = true;
    return NULL;
}

static void script(void *arg)
{
    (void)arg;
    struct exchange x;
    struct h2_session *s = open_session();
    if (!s)
        return;
    static const char *const targets[] = {"/echo", "/pieces/90000", "/cut"};
    for (size_t i = 0; i < ARRAY_LEN(targets) && h2_session_can_take(s); i++) {
        enum err e = start(s, &x, HTTP_POST, targets[i], SPAN("some text"));
        if (e == ERR_OK)
            e = read_all(&x);
        if (e == ERR_OK && i == 0)
            EXPECT(x.call.head.status != 200 || span_eq(builder_span(&x.body), SPAN("some text")));
        finish(&x);
    }
    fail_at = 0;
    h2_session_close(s);
    /* The next connection finds nothing broken. */
    s = open_session();
    EXPECT(start(s, &x, HTTP_POST, "/echo", SPAN("again")) == ERR_OK);
    EXPECT(read_all(&x) == ERR_OK);
    EXPECT(span_eq(builder_span(&x.body), SPAN("again")));
    finish(&x);
    h2_session_close(s);
}

static int64_t fail_each(void)
{
    int64_t n = 0;
    mem_door.realloc = failing_realloc;
    do {
        allocations = 0;
        fail_at = -1;
        memset(&world, 0, sizeof world);
        world.body = script;
        world.loop = loop_new(100);
        world.server = http_server_new(&usual_settings, handle, NULL);
        EXPECT(fiber_spawn(run_body, NULL, "test") != NULL);
        was_hit = false;
        fail_at = ++n + allocations;
        loop_run(world.loop);
        EXPECT(http_server_stats(world.server).requests == 0);
        EXPECT(buffers_in_use() == 0);
        http_server_free(world.server);
        buffers_trim(true);
        loop_free(world.loop);
    } while (was_hit && !test_failed);
    mem_door.realloc = realloc;
    return n;
}

TEST(every_allocation_may_fail)
{
    for (int i = 0; i < 2; i++) { /* once, and from there on */
        fail_on = i == 1;
        const int64_t n = fail_each();
        printf("# %lld allocations failed in turn\n", (long long)n);
        CHECK(n > 100);
    }
}

int main(void)
{
    begin_tests();
    RUN(calls_share_a_connection);
    RUN(a_head_arrives_as_it_was_meant);
    RUN(answers_come_in_pieces);
    RUN(a_slow_reader_slows_its_own_writer_only);
    RUN(an_upload_waits_until_it_is_read);
    RUN(a_body_that_is_too_large_is_refused);
    RUN(a_caller_that_leaves_cancels_its_request);
    RUN(a_cut_answer_does_not_look_complete);
    RUN(draining_lets_calls_end_and_takes_no_more);
    RUN(what_cannot_be_sent_is_refused_before);
    RUN(the_client_judges_raw_answers);
    RUN(every_allocation_may_fail);
    return TESTS_DONE();
}
