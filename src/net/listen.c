#include "net/listen.h"

#include "base/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static enum err parse_unix(struct span path, struct listen_address *a, const char **why)
{
    struct sockaddr_un *u = (struct sockaddr_un *)&a->socket_address;
    if (path.n == 0 || path.n >= sizeof u->sun_path) {
        *why = "a unix socket's path has 1 to 107 bytes";
        return ERR_BAD_REQUEST;
    }
    u->sun_family = AF_UNIX;
    memcpy(u->sun_path, path.p, path.n);
    bool is_abstract = path.p[0] == '@';
    if (is_abstract)
        u->sun_path[0] = '\0';
    a->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + !is_abstract);
    return ERR_OK;
}

static bool parse_host(struct span host, uint16_t port, struct listen_address *a)
{
    char text[INET6_ADDRSTRLEN + 1] = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a->socket_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->socket_address;
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
        host = span(host.p + 1, host.n - 2);
        if (host.n >= sizeof text)
            return false;
        memcpy(text, host.p, host.n);
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        a->size = sizeof *v6;
        return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
    }
    if (host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    a->size = sizeof *v4;
    if (host.n == 0 || span_eq(host, SPAN("*")))
        return true; /* INADDR_ANY is all zeros */
    return inet_pton(AF_INET, span_eq(host, SPAN("localhost")) ? "127.0.0.1" : text,
                     &v4->sin_addr) == 1;
}

enum err listen_parse(struct span text, struct listen_address *a, const char **why)
{
    *a = (struct listen_address){.size = 0};
    if (span_starts(text, SPAN("unix:")))
        return parse_unix(span_from(text, 5), a, why);
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon == 0 || span_to_u64(span_from(text, colon), &port) != ERR_OK || port > 65535) {
        *why = "an address ends in a port: 127.0.0.1:8080, [::1]:8080, or unix:/path";
        return ERR_BAD_REQUEST;
    }
    if (!parse_host(span(text.p, colon - 1), (uint16_t)port, a)) {
        *why = "the host is neither an IPv4 address, an IPv6 address in brackets, nor localhost";
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

/* A socket file that nobody listens on is what a crash left behind. */
static void remove_dead_socket(const struct listen_address *a)
{
    const struct sockaddr_un *u = (const struct sockaddr_un *)&a->socket_address;
    struct stat st;
    if (u->sun_family != AF_UNIX || u->sun_path[0] == '\0' || stat(u->sun_path, &st) != 0 ||
        !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_dead =
        fd >= 0 && connect(fd, (const struct sockaddr *)u, a->size) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (is_dead)
        unlink(u->sun_path);
}

enum err listen_open(const struct listen_address *a, int *out, struct failure *why)
{
    int family = a->socket_address.ss_family, one = 1, zero = 0;
    remove_dead_socket(a);
    int fd = sys.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(why, ERR_IO, "cannot make a socket: %s", strerror(errno));
    if (family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    }
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, (const struct sockaddr *)&a->socket_address, a->size) != 0 ||
        listen(fd, BACKLOG) != 0) {
        enum err e = fail(why, ERR_IO, "cannot listen: %s", strerror(errno));
        sys.close(fd);
        return e;
    }
    *out = fd;
    return ERR_OK;
}

/* A socket that does not share asks: the kernel lets it have the address only if nobody listens. */
bool listen_is_taken(const struct listen_address *a)
{
    int family = a->socket_address.ss_family, one = 1, zero = 0;
    if (family == AF_UNIX)
        return false; /* listen_open finds out */
    int fd = sys.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* what is closing does not count */
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    bool is_taken =
        bind(fd, (const struct sockaddr *)&a->socket_address, a->size) != 0 && errno == EADDRINUSE;
    sys.close(fd);
    return is_taken;
}
