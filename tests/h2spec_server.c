/* h2spec_server.c -- a server that echoes, for h2spec, nghttp and h2load.
 *
 * Why: conformance programs want a real socket and a real process.
 *
 *     h2spec_server PORT [CERTIFICATE KEY]
 *
 * Listens on 127.0.0.1, by HTTP/1.1 and HTTP/2 (prior knowledge or ALPN). The answer is the body of
 * the request, or "hello" when there was none; GET /bytes/N answers N bytes. */
#include "base/sys.h"
#include "fiber/loop.h"
#include "http/server.h"
#include "net/listen.h"

#include <signal.h>
#include <stdio.h>

static enum err send_bytes(struct http_request *rq, uint64_t n)
{
    static const char zeros[16 * 1024];
    const struct http_reply_head head = {.status = 200};
    TRY(http_reply_begin(rq, &head, n));
    while (n) {
        const size_t piece = (size_t)MIN(n, (uint64_t)sizeof zeros);
        TRY(http_reply_write(rq, span(zeros, piece)));
        n -= piece;
    }
    return http_reply_end(rq);
}

static enum err echo(struct http_request *rq)
{
    const struct http_field type = {SPAN("content-type"), SPAN("text/plain")};
    struct http_reply_head head = {.status = 200, .fields = &type, .field_count = 1};
    struct span body;
    enum err e = http_read_body(rq, &body);
    if (e != ERR_OK) {
        head.status = err_info(e)->status;
        body = span_of_cstr(rq->failure.text);
    } else if (body.n == 0) {
        body = SPAN("hello\n");
    }
    return http_reply(rq, &head, &body, 1);
}

static void handle(struct http_request *rq, void *context)
{
    uint64_t n;
    (void)context;
    const bool wants_bytes = span_starts(rq->head.path, SPAN("/bytes/")) &&
                             span_to_u64(span_from(rq->head.path, 7), &n) == ERR_OK;
    enum err e = wants_bytes ? send_bytes(rq, n) : echo(rq);
    (void)e; /* the caller is gone */
}

static int listen_on(const char *port)
{
    char text[64];
    const char *why;
    struct listen_address address;
    static struct failure failure;
    int fd;
    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    if (listen_parse(span_of_cstr(text), &address, &why) != ERR_OK ||
        listen_open(&address, &fd, &failure) != ERR_OK)
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    static struct failure why;
    const struct http_server_settings settings = {
        .body_max = 8 * 1024 * 1024,
        .connections_max = 1000,
        .requests_max = 1000,
        .header_timeout_ns = 10 * NS_PER_S,
        .body_timeout_ns = 10 * NS_PER_S,
        .write_timeout_ns = 10 * NS_PER_S,
        .keepalive_timeout_ns = 60 * NS_PER_S,
        .half_close = HALF_CLOSE_ALLOW,
    };
    struct tls_server *tls = NULL;
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: h2spec_server PORT [CERTIFICATE KEY]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const int fd = listen_on(argv[1]);
    struct loop *loop = loop_new(2000);
    struct http_server *server = http_server_new(&settings, handle, NULL);
    if (argc == 4 && tls_server_new(span_of_cstr(argv[2]), span_of_cstr(argv[3]), (struct span){0},
                                    &tls, &why) != ERR_OK) {
        fprintf(stderr, "h2spec_server: %s\n", why.text);
        return 1;
    }
    if (fd < 0 || !loop || !server || http_server_listen(server, fd, tls, 0) != ERR_OK) {
        fprintf(stderr, "h2spec_server: cannot listen on port %s\n", argv[1]);
        return 1;
    }
    printf("listening on 127.0.0.1:%s\n", argv[1]);
    fflush(stdout);
    loop_run(loop);
    return 0;
}
