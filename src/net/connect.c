#include "net/connect.h"

#include "base/sys.h"
#include "fiber/loop.h"
#include "net/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

static const int64_t NEXT_START_NS = 250 * NS_PER_MS; /* RFC 8305, 5 */

/* --- the race --------------------------------------------------------------------------------- */

struct race;

struct attempt {
    struct io io;
    struct race *race;
};

/* One fiber runs all attempts: they are only sockets, and need no stacks of their own. */
struct race {
    struct fiber *fiber;
    const struct address *addresses;
    size_t count, started, live;
    int64_t next_start;
    int error;     /* of the attempt that failed last */
    size_t failed; /* which that was */
    struct attempt attempts[DNS_ADDRESSES_MAX];
};

static void on_attempt(struct io *io)
{
    fiber_wake(CONTAINER_OF(io, struct attempt, io)->race->fiber);
}

static void note_failed(struct race *r, size_t which, int error)
{
    r->failed = which;
    r->error = error;
    r->next_start = 0; /* no reason to wait */
}

/* A socket that is connecting to the address; -1 and errno. */
static int open_and_connect(const struct sockaddr *address, socklen_t size)
{
    int fd = sys.socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (sys.connect(fd, address, size) == 0 || errno == EINPROGRESS || errno == EINTR)
        return fd;
    int error = errno;
    sys.close(fd);
    errno = error;
    return -1;
}

static void start_next(struct race *r)
{
    size_t i = r->started++;
    struct attempt *a = &r->attempts[i];
    a->io.fd = -1;
    a->race = r;
    r->next_start = loop_now() + NEXT_START_NS;
    int fd = open_and_connect((const struct sockaddr *)&r->addresses[i].socket_address,
                              r->addresses[i].size);
    if (fd < 0) {
        note_failed(r, i, errno);
        return;
    }
    /* Only now: a socket that is not connecting yet would report that it hung up. */
    enum err e = io_open(&a->io, fd, on_attempt);
    if (e != ERR_OK) {
        sys.close(fd);
        note_failed(r, i, e == ERR_NO_MEMORY ? ENOMEM : EIO);
        return;
    }
    r->live++;
}

/* Buries attempts that failed. The one that is connected, or NULL. */
static struct attempt *find_winner(struct race *r)
{
    for (size_t i = 0; i < r->started; i++) {
        struct attempt *a = &r->attempts[i];
        if (!io_is_open(&a->io) || (!a->io.is_writable && !a->io.is_broken))
            continue;
        int error = 0;
        socklen_t n = sizeof error;
        if (getsockopt(a->io.fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0)
            return a;
        note_failed(r, i, error);
        io_close(&a->io);
        r->live--;
    }
    return NULL;
}

static enum err run_race(struct race *r, int64_t deadline, struct attempt **winner)
{
    for (;;) {
        *winner = find_winner(r);
        if (*winner)
            return ERR_OK;
        bool is_last = r->started == r->count;
        if (is_last && r->live == 0)
            return r->error == ENOMEM || r->error == ENOBUFS ? ERR_NO_MEMORY : ERR_CONNECT;
        if (!is_last && (r->live == 0 || loop_now() >= r->next_start)) {
            start_next(r);
            continue;
        }
        enum err e = fiber_park("a connection", is_last ? deadline : MIN(deadline, r->next_start));
        if (e == ERR_CANCELLED || (e == ERR_TIMEOUT && loop_now() >= deadline))
            return e;
    }
}

static void address_text(const struct address *a, char *out, size_t size)
{
    const struct sockaddr *any = (const struct sockaddr *)&a->socket_address;
    char text[INET6_ADDRSTRLEN] = "?";
    if (any->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->socket_address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(out, size, "%s:%u", text, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->socket_address;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(out, size, "[%s]:%u", text, ntohs(v6->sin6_port));
    }
}

/* What errno says, in a buffer of the caller's. */
static const char *error_text(int error, char *buffer, size_t size)
{
    return strerror_r(error, buffer, size);
}

static enum err fail_race(const struct race *r, struct span name, enum err e, struct failure *why)
{
    char buffer[128], address[64];
    if (e == ERR_TIMEOUT)
        return fail(why, e, "cannot connect to %.*s in time", SPAN_ARG(name));
    if (e == ERR_CANCELLED)
        return fail(why, e, "connecting to %.*s was cancelled", SPAN_ARG(name));
    address_text(&r->addresses[r->failed], address, sizeof address);
    return fail(why, e, "cannot connect to %.*s at %s%s: %s", SPAN_ARG(name), address,
                r->count > 1 ? " (nor at its other addresses)" : "",
                error_text(r->error, buffer, sizeof buffer));
}

static enum err connect_any(const struct address *addresses, size_t count, struct span name,
                            int64_t deadline, struct stream *stream, struct failure *why)
{
    struct race r = {.fiber = fiber_self(), .addresses = addresses, .count = count};
    struct attempt *winner = NULL;
    enum err e = run_race(&r, deadline, &winner);
    int fd = e == ERR_OK ? io_detach(&winner->io) : -1;
    for (size_t i = 0; i < r.started; i++)
        if (io_is_open(&r.attempts[i].io))
            io_close(&r.attempts[i].io);
    if (e != ERR_OK)
        return fail_race(&r, name, e, why);
    e = fd < 0 ? ERR_NO_MEMORY : stream_open(stream, fd, NULL);
    return e == ERR_OK ? ERR_OK
                       : fail(why, e, "cannot use a connection to %.*s: %s", SPAN_ARG(name),
                              err_info(e)->text);
}

/* --- the kinds of origins --------------------------------------------------------------------- */

static enum err connect_unix(const struct origin *o, struct stream *stream, struct failure *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char buffer[128];
    if (o->unix_path.n >= sizeof address.sun_path)
        return fail(why, ERR_CONNECT, "the path of the unix socket %.*s is longer than %zu bytes",
                    SPAN_ARG(o->unix_path), sizeof address.sun_path - 1);
    memcpy(address.sun_path, o->unix_path.p, o->unix_path.n);
    socklen_t size = sizeof address;
    if (o->unix_path.p[0] == '@') { /* abstract: a name that is exactly as long as it is */
        address.sun_path[0] = '\0';
        size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + o->unix_path.n);
    }
    int fd = open_and_connect((const struct sockaddr *)&address, size);
    if (fd < 0)
        return fail(why, ERR_CONNECT, "cannot connect to the unix socket %.*s: %s",
                    SPAN_ARG(o->unix_path), error_text(errno, buffer, sizeof buffer));
    enum err e = stream_open(stream, fd, NULL);
    return e == ERR_OK ? ERR_OK
                       : fail(why, e, "cannot use a connection to %.*s: %s", SPAN_ARG(o->unix_path),
                              err_info(e)->text);
}

static enum err connect_tcp(const struct origin *o, struct resolver *resolver, int64_t deadline,
                            struct stream *stream, struct failure *why)
{
    bool by_proxy = o->proxy_host.n > 0;
    struct address addresses[DNS_ADDRESSES_MAX];
    size_t count = 0;
    TRY(dns_resolve(resolver, by_proxy ? o->proxy_host : o->host,
                    by_proxy ? o->proxy_port : o->port, deadline, addresses, &count, why));
    return connect_any(addresses, count, by_proxy ? o->proxy_host : o->name, deadline, stream, why);
}

/* What comes after the bytes can flow. */
static enum err set_up(const struct origin *o, struct tls_client *client, int64_t deadline,
                       struct stream *stream, struct failure *why)
{
    if (o->proxy_host.n)
        TRY(proxy_connect(stream, o, deadline, why));
    if (!o->tls)
        return ERR_OK;
    ASSERT(client != NULL);
    TRY(tls_connect(stream, client, o->host, o->version != HTTP_VERSION_1, deadline, why));
    if (o->version == HTTP_VERSION_2 && !tls_is_h2(stream->tls))
        return fail(why, ERR_TLS, "%.*s does not offer HTTP/2", SPAN_ARG(o->name));
    return ERR_OK;
}

enum err connect_origin(const struct origin *origin, struct resolver *resolver,
                        struct tls_client *client, int64_t deadline, struct stream *stream,
                        struct failure *why)
{
    fiber_may_suspend();
    if (origin->unix_path.n)
        return connect_unix(origin, stream, why);
    TRY(connect_tcp(origin, resolver, deadline, stream, why));
    enum err e = set_up(origin, client, deadline, stream, why);
    if (e != ERR_OK)
        stream_close(stream);
    return e;
}
