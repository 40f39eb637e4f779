/* fuzz_h2 -- bytes of a caller into an HTTP/2 server connection; the socket is replaced.
 *
 * The first byte says how many bytes each read gives. A frame that the fuzzer finds is answered by
 * a handler that reads the body and answers with it; what reaches the handler must be a head that
 * can be written as HTTP/1 text. The preface and SETTINGS are put before the bytes. */
#include "base/sys.h"
#include "fiber/loop.h"
#include "http/server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char opening[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static struct {
    const uint8_t *data;
    size_t size, at, step, opening_at;
    int64_t now_ns;
} input;

static ssize_t give(void *buffer, size_t n, const void *from, size_t left)
{
    n = MIN(MIN(n, left), input.step);
    memcpy(buffer, from, n);
    return (ssize_t)n;
}

static ssize_t fake_read(int fd, void *buffer, size_t n)
{
    (void)fd;
    ssize_t got = give(buffer, n, opening + input.opening_at, sizeof opening - input.opening_at);
    input.opening_at += (size_t)got;
    if (got == 0) {
        got = give(buffer, n, input.data + input.at, input.size - input.at);
        input.at += (size_t)got;
    }
    return got; /* 0: the caller is gone */
}

static ssize_t fake_writev(int fd, const struct iovec *parts, int count)
{
    ssize_t n = 0;
    (void)fd;
    for (int i = 0; i < count; i++)
        n += (ssize_t)parts[i].iov_len;
    return n;
}

/* One event per round, so that fibers run in between; time flies. */
static struct epoll_event registered;

static int fake_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    (void)epoll, (void)fd;
    if (operation != EPOLL_CTL_DEL && event->data.ptr)
        registered = *event;
    return 0;
}

static int fake_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    (void)epoll, (void)count, (void)timeout_ms;
    input.now_ns += NS_PER_MS;
    events[0] = registered;
    events[0].events = EPOLLIN | EPOLLOUT;
    return registered.data.ptr ? 1 : 0;
}

static int fake_close(int fd)
{
    (void)fd;
    registered = (struct epoll_event){0};
    return 0;
}

static int64_t fake_clock(void)
{
    return input.now_ns;
}

static void check_head(const struct http_head *head)
{
    ASSERT(http_is_token(head->method_text));
    ASSERT(http_is_path_and_query(head->target) || span_eq(head->target, SPAN("*")));
    ASSERT(http_is_authority(head->authority));
    ASSERT(head->field_count <= HTTP_FIELDS_MAX + 1);
    for (uint32_t i = 0; i < head->field_count; i++) {
        ASSERT(http_is_token(head->fields[i].name));
        ASSERT(http_is_value(head->fields[i].value));
    }
    ASSERT(!http_has(head, HTTP_KNOWN_TRANSFER_ENCODING));
    ASSERT(!http_has(head, HTTP_KNOWN_CONNECTION));
    ASSERT(!http_is_repeated(head, HTTP_KNOWN_CONTENT_LENGTH));
}

static void handle(struct http_request *rq, void *context)
{
    struct span body;
    const struct http_reply_head head = {.status = 200};
    (void)context;
    check_head(&rq->head);
    if (http_read_body(rq, &body) != ERR_OK)
        return; /* cut */
    if (rq->head.has_content_length && !http_has(&rq->head, HTTP_KNOWN_CONTENT_ENCODING))
        ASSERT(body.n == rq->head.content_length);
    enum err e = http_reply(rq, &head, &body, 1);
    (void)e;
}

static void run(void *arg)
{
    struct http_server *server = arg;
    struct stream stream;
    const struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    if (stream_open(&stream, 1000, NULL) == ERR_OK)
        h2_connection_start(server, &stream, &nobody, 0, (struct span){0});
    for (int i = 0; http_server_stats(server).connections > 0 && i < 100000; i++)
        if (fiber_yield() != ERR_OK)
            break;
    http_server_abort(server);
    for (int i = 0; http_server_stats(server).connections > 0; i++) {
        ASSERT(i < 100); /* what was aborted ends */
        if (fiber_yield() != ERR_OK)
            break;
    }
    loop_stop(loop_self());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    const struct http_server_settings settings = {.body_max = 100000,
                                                  .connections_max = 10,
                                                  .requests_max = 200,
                                                  .header_timeout_ns = NS_PER_S,
                                                  .body_timeout_ns = NS_PER_S,
                                                  .write_timeout_ns = NS_PER_S,
                                                  .keepalive_timeout_ns = NS_PER_S};
    if (size < 1)
        return 0;
    input.data = data + 1;
    input.size = size - 1;
    input.at = input.opening_at = 0;
    input.step = 1 + (size_t)data[0] * data[0] / 4;
    if (!loop) {
        loop = loop_new(500);
        ASSERT(loop != NULL);
        sys.read = fake_read;
        sys.writev = fake_writev;
        sys.epoll_ctl = fake_epoll_ctl;
        sys.epoll_wait = fake_epoll_wait;
        sys.close = fake_close;
        sys.monotonic_ns = fake_clock;
        input.now_ns = NS_PER_S;
    }
    struct http_server *server = http_server_new(&settings, handle, NULL);
    ASSERT(server != NULL);
    ASSERT(fiber_spawn(run, server, "fuzz") != NULL);
    loop_run(loop);
    ASSERT(http_server_stats(server).requests == 0);
    ASSERT(buffers_in_use() == 0);
    http_server_free(server);
    return 0;
}
