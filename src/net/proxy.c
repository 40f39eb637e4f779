#include "net/proxy.h"

#include "base/builder.h"
#include "base/mem.h"

enum { REQUEST_MAX = 4096, REASON_MAX = 80 };

/* The proxy as people write it. */
#define PROXY_FORMAT "the proxy %.*s:%u"
#define PROXY_ARG(o) SPAN_ARG((o)->proxy_host), (unsigned)(o)->proxy_port

static enum err fail_wait(const struct origin *o, enum err e, struct failure *why)
{
    if (e == ERR_TIMEOUT)
        return fail(why, e, PROXY_FORMAT " did not answer CONNECT in time", PROXY_ARG(o));
    if (e == ERR_CANCELLED || e == ERR_NO_MEMORY)
        return fail(why, e, PROXY_FORMAT ": %s", PROXY_ARG(o), err_info(e)->text);
    return fail(why, ERR_CONNECT, PROXY_FORMAT " closed the connection before it answered CONNECT",
                PROXY_ARG(o));
}

static void add_target(struct builder *b, const struct origin *o)
{
    bool is_v6 = span_find(o->host, ':') < o->host.n;
    builder_add_cstr(b, is_v6 ? "[" : "");
    builder_add(b, o->host);
    builder_add_cstr(b, is_v6 ? "]:" : ":");
    builder_add_u64(b, o->port);
}

static enum err ask(struct stream *s, const struct origin *o, char *buffer, int64_t deadline,
                    struct failure *why)
{
    struct builder b;
    builder_init_fixed(&b, buffer, REQUEST_MAX);
    builder_add_cstr(&b, "CONNECT ");
    add_target(&b, o);
    builder_add_cstr(&b, " HTTP/1.1\r\nHost: ");
    add_target(&b, o);
    if (o->proxy_authorization.n) {
        builder_add_cstr(&b, "\r\nProxy-Authorization: ");
        builder_add(&b, o->proxy_authorization);
    }
    builder_add_cstr(&b, "\r\n\r\n");
    if (builder_check(&b) != ERR_OK)
        return fail(why, ERR_CONNECT, PROXY_FORMAT ": the CONNECT request would be too long",
                    PROXY_ARG(o));
    struct iovec part = {builder_span(&b).p ? buffer : NULL, builder_span(&b).n};
    enum err e = stream_write(s, &part, 1, deadline);
    return e == ERR_OK ? ERR_OK : fail_wait(o, e, why);
}

/* The head of an answer in `got`: ERR_AGAIN when it has not ended yet. */
static enum err find_head(struct span got, struct span *head)
{
    for (size_t i = 3; i < got.n; i++) {
        if (memcmp(got.p + i - 3, "\r\n\r\n", 4) == 0) {
            *head = span(got.p, i + 1);
            return ERR_OK;
        }
    }
    return ERR_AGAIN;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.x SP 3DIGIT [SP reason] CRLF. 0: it is something else. */
static int parse_status(struct span head, struct span *reason)
{
    struct span line, rest;
    if (!span_cut(head, '\r', &line, &rest) || line.n < 12 || !span_starts(line, SPAN("HTTP/1.")) ||
        !is_digit(line.p[7]) || line.p[8] != ' ' || !is_digit(line.p[9]) || !is_digit(line.p[10]) ||
        !is_digit(line.p[11]) || (line.n > 12 && line.p[12] != ' '))
        return 0;
    *reason = span_trim(span_from(line, 12));
    return (line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + (line.p[11] - '0');
}

/* The proxy said no: in its own words, as far as they can be printed. */
static enum err fail_status(const struct origin *o, int status, struct span reason,
                            struct failure *why)
{
    char text[REASON_MAX + 1];
    size_t n = MIN(reason.n, (size_t)REASON_MAX);
    for (size_t i = 0; i < n; i++)
        text[i] = reason.p[i] >= ' ' && reason.p[i] < 127 ? reason.p[i] : '?';
    text[n] = '\0';
    const char *hint = status != 407              ? ""
                       : o->proxy_authorization.n ? ": it does not accept our credentials"
                                                  : ": it asks for credentials";
    return fail(why, ERR_CONNECT, PROXY_FORMAT " refused to connect to %.*s: %d %s%s", PROXY_ARG(o),
                SPAN_ARG(o->host), status, text, hint);
}

/* Reads one head into the buffer, of which *n bytes are filled already. */
static enum err read_head(struct stream *s, const struct origin *o, char *buffer, size_t *n,
                          struct span *head, int64_t deadline, struct failure *why)
{
    while (find_head(span(buffer, *n), head) != ERR_OK) {
        size_t got = 0;
        if (*n == PROXY_HEAD_MAX)
            return fail(why, ERR_CONNECT, PROXY_FORMAT " sent more than %d bytes of header",
                        PROXY_ARG(o), PROXY_HEAD_MAX);
        enum err e = stream_read(s, buffer + *n, PROXY_HEAD_MAX - *n, deadline, &got);
        if (e != ERR_OK)
            return fail_wait(o, e, why);
        *n += got;
        if (memcmp(buffer, "HTTP/1.", MIN(*n, (size_t)7)) != 0)
            return fail(why, ERR_CONNECT, PROXY_FORMAT " does not speak HTTP", PROXY_ARG(o));
    }
    return ERR_OK;
}

static enum err hear(struct stream *s, const struct origin *o, char *buffer, int64_t deadline,
                     struct failure *why)
{
    size_t n = 0;
    for (;;) {
        struct span head = {0}, reason = {0};
        TRY(read_head(s, o, buffer, &n, &head, deadline, why));
        int status = parse_status(head, &reason);
        if (status < 100 || status == 101)
            return fail(why, ERR_CONNECT, PROXY_FORMAT " answered CONNECT with what is not HTTP",
                        PROXY_ARG(o));
        if (status >= 300)
            return fail_status(o, status, reason, why);
        n -= head.n;
        if (status < 200) { /* interim: the real answer follows */
            memmove(buffer, buffer + head.n, n);
            continue;
        }
        /* Nobody speaks before we do: bytes here would be read as the origin's. */
        if (n > 0)
            return fail(why, ERR_CONNECT, PROXY_FORMAT " sent bytes behind its answer to CONNECT",
                        PROXY_ARG(o));
        return ERR_OK;
    }
}

enum err proxy_connect(struct stream *s, const struct origin *origin, int64_t deadline,
                       struct failure *why)
{
    fiber_may_suspend();
    char *buffer = mem_alloc(PROXY_HEAD_MAX);
    if (!buffer)
        return fail_wait(origin, ERR_NO_MEMORY, why);
    enum err e = ask(s, origin, buffer, deadline, why);
    if (e == ERR_OK)
        e = hear(s, origin, buffer, deadline, why);
    mem_free(buffer);
    return e;
}
