#include "tests/fault/caller.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char received[ANSWER_BYTES_MAX], unchunked[ANSWER_BYTES_MAX];

void caller_leave(struct caller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static bool connect_to(struct caller *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)c->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static bool send_all(struct caller *c, const struct span *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (struct span rest = parts[i]; rest.n;) {
            ssize_t n = send(c->fd, rest.p, rest.n, MSG_NOSIGNAL);
            if (n <= 0)
                return false;
            rest = span_from(rest, (size_t)n);
        }
    return true;
}

/* > 0 bytes; 0 the end or a reset; -1 nothing came. */
static int receive(struct caller *c, size_t have)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int n = poll(&p, 1, CALLER_PATIENCE_MS);
    if (n == 0)
        return -1;
    ssize_t got = recv(c->fd, received + have, sizeof received - have, 0);
    return got > 0 ? (int)got : 0;
}

static struct span field(struct span head, const char *name)
{
    size_t n = strlen(name);
    struct span rest = head, line;
    while (rest.n) {
        span_cut(rest, '\n', &line, &rest);
        line.n -= span_ends(line, SPAN("\r"));
        if (line.n > n && line.p[n] == ':' && span_eq_nocase(span(line.p, n), span(name, n)))
            return span_trim(span_from(line, n + 1));
    }
    return (struct span){0};
}

/* True when all of it is here; `body` is what the chunks hold. */
static bool unchunk(struct span rest, struct span *body)
{
    size_t n = 0;
    for (;;) {
        struct span line, after;
        if (!span_cut(rest, '\n', &line, &after))
            return false;
        size_t size = strtoul(line.p, NULL, 16);
        if (after.n < size + 2 || n + size > sizeof unchunked)
            return false;
        memcpy(unchunked + n, after.p, size);
        n += size;
        *body = span(unchunked, n);
        if (size == 0)
            return true;
        rest = span_from(after, size + 2);
    }
}

/* Reads what is here as an answer. */
static bool is_whole(struct span bytes, struct answer *a)
{
    const char *end = bytes.n ? memmem(bytes.p, bytes.n, "\r\n\r\n", 4) : NULL;
    if (!end || bytes.n < 12)
        return false;
    a->head = span(bytes.p, (size_t)(end + 2 - bytes.p));
    a->status = atoi(bytes.p + 9);
    struct span rest = span_from(bytes, a->head.n + 2), length = field(a->head, "content-length");
    if (a->status / 100 == 1)
        return is_whole(rest, a);
    if (field(a->head, "transfer-encoding").n)
        return unchunk(rest, &a->body);
    a->body = rest;
    uint64_t n = 0;
    return length.n && span_to_u64(length, &n) == ERR_OK && rest.n >= n;
}

static struct answer read_answer(struct caller *c, size_t *have)
{
    struct answer a = {.kind = ANSWER_BROKEN};
    *have = 0;
    while (*have < sizeof received) {
        int n = receive(c, *have);
        if (n <= 0) {
            a.kind = n == 0 ? ANSWER_BROKEN : ANSWER_NONE;
            return a;
        }
        *have += (size_t)n;
        if (is_whole(span(received, *have), &a)) {
            a.kind = ANSWER_WHOLE;
            return a;
        }
        if (c->is_impatient)
            return a;
    }
    return a;
}

bool caller_send(struct caller *c, const struct span *parts, size_t count)
{
    return (c->fd >= 0 || connect_to(c)) && send_all(c, parts, count);
}

struct answer caller_ask(struct caller *c, const struct span *parts, size_t count)
{
    struct answer a = {.kind = ANSWER_BROKEN};
    for (int attempt = 0; attempt < 2; attempt++) {
        bool is_fresh = c->fd < 0;
        size_t have = 0;
        if (is_fresh && !connect_to(c))
            break;
        /* A gateway that refuses early may close while we still send: its answer counts. */
        (void)send_all(c, parts, count);
        a = read_answer(c, &have);
        if (a.kind != ANSWER_BROKEN || have > 0 || is_fresh)
            break;
        caller_leave(c); /* it was closed while idle */
    }
    if (a.kind != ANSWER_WHOLE || field(a.head, "connection").n)
        caller_leave(c);
    return a;
}
