#include "net/dns_channel.h"

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/io.h"
#include "fiber/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/time.h>

enum {
    TIMEOUT_MS = 2000,
    TRIES = 2,
    SERVERS_BYTES_MAX = 1024,
    STEPS_MAX = 64, /* of work on answers in one go; then the others have their turn */
};

struct dns_socket {
    struct io io;
    struct list link;
    struct grave grave;
    struct dns_channel *channel;
    bool has_output; /* c-ares waits for room to write */
    bool was_tried;  /* c-ares did read (write) when it was told to */
};

static struct dns_socket *find_socket(struct dns_channel *c, int fd)
{
    LIST_EACH(&c->sockets, struct dns_socket, link, s)
        if (s->io.fd == fd)
            return s;
    return NULL;
}

/* --- the loop's events and time, for c-ares --------------------------------------------------- */

static void set_timer(struct dns_channel *c)
{
    struct timeval wait;
    if (!ares_timeout(c->ares, NULL, &wait)) {
        timer_stop(&c->timer);
        return;
    }
    /* A millisecond more: c-ares rounds by a clock of its own. */
    loop_set_timer(&c->timer,
                   clock_ns() + wait.tv_sec * NS_PER_S + wait.tv_usec * NS_PER_US + NS_PER_MS);
}

/* One step on one socket. False when there was nothing to do. */
static bool step(struct dns_channel *c)
{
    LIST_EACH(&c->sockets, struct dns_socket, link, s) {
        int fd = s->io.fd;
        bool can_read = s->io.is_readable, can_write = s->has_output && s->io.is_writable;
        if (!can_read && !can_write)
            continue;
        s->was_tried = false;
        ares_process_fd(c->ares, can_read ? fd : ARES_SOCKET_BAD, can_write ? fd : ARES_SOCKET_BAD);
        s = find_socket(c, fd);
        if (s && !s->was_tried) /* c-ares has lost interest */
            s->io.is_readable = s->has_output = false;
        return true;
    }
    return false;
}

/* Events come once: c-ares is told until it has seen that there is no more. */
static void serve(struct dns_channel *c)
{
    int steps = 0;
    while (steps < STEPS_MAX && step(c))
        steps++;
    set_timer(c);
    if (steps == STEPS_MAX)
        loop_set_timer(&c->timer, loop_now());
}

static void on_event(struct io *io)
{
    serve(CONTAINER_OF(io, struct dns_socket, io)->channel);
}

static void on_timer(struct timer *t)
{
    struct dns_channel *c = CONTAINER_OF(t, struct dns_channel, timer);
    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    serve(c);
}

/* --- sockets, for c-ares ---------------------------------------------------------------------- */

static ares_socket_t on_socket(int family, int type, int protocol, void *arg)
{
    (void)arg;
    return sys.socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int on_connect(ares_socket_t fd, const struct sockaddr *address, ares_socklen_t n, void *arg)
{
    (void)arg;
    return sys.connect(fd, address, n);
}

/* c-ares says what it waits for. A socket that cannot be registered stays unanswered: the question
 * ends by its timeout. */
static void on_state(void *arg, ares_socket_t fd, int wants_read, int wants_write)
{
    struct dns_channel *c = arg;
    struct dns_socket *s = find_socket(c, fd);
    if (!s && (wants_read || wants_write)) {
        s = mem_calloc(1, sizeof *s);
        if (!s || io_open(&s->io, fd, on_event) != ERR_OK) {
            mem_free(s);
            return;
        }
        s->channel = c;
        list_append(&c->sockets, &s->link);
    }
    if (s)
        s->has_output = wants_write != 0;
}

static void release_socket(struct grave *g)
{
    mem_free(CONTAINER_OF(g, struct dns_socket, grave));
}

static int on_close(ares_socket_t fd, void *arg)
{
    struct dns_channel *c = arg;
    struct dns_socket *s = find_socket(c, fd);
    if (!s)
        return sys.close(fd);
    list_remove(&s->link);
    io_close(&s->io);
    if (c->is_closing) {
        mem_free(s);
    } else { /* a later event of this round may name it */
        s->grave.release = release_socket;
        loop_bury(&s->grave);
    }
    return 0;
}

/* Connected sockets hear their peer only; c-ares wants to be told who that is. */
static ares_ssize_t on_receive(ares_socket_t fd, void *buffer, size_t n, int flags,
                               struct sockaddr *from, ares_socklen_t *from_n, void *arg)
{
    (void)flags;
    struct dns_socket *s = find_socket(arg, fd);
    ssize_t got = sys.read(fd, buffer, n);
    if (s)
        s->was_tried = true;
    if (s && got < 0 && errno == EAGAIN)
        s->io.is_readable = false;
    if (got >= 0 && from && getpeername(fd, from, from_n) != 0)
        return -1;
    return got;
}

static ares_ssize_t on_send(ares_socket_t fd, const struct iovec *parts, int count, void *arg)
{
    struct dns_socket *s = find_socket(arg, fd);
    ssize_t sent = sys.writev(fd, parts, count);
    if (s)
        s->was_tried = true;
    if (s && sent < 0 && errno == EAGAIN)
        s->io.is_writable = false;
    return sent;
}

/* --- life ------------------------------------------------------------------------------------- */

static int library_status;

static void start_library(void)
{
    library_status = ares_library_init_mem(ARES_LIB_INIT_ALL, mem_alloc, mem_free, mem_realloc);
}

static enum err use_servers(struct dns_channel *c, struct span servers)
{
    char text[SERVERS_BYTES_MAX];
    if (servers.n >= sizeof text)
        return ERR_DNS;
    memcpy(text, servers.p, servers.n);
    text[servers.n] = '\0';
    return ares_set_servers_ports_csv(c->ares, text) == ARES_SUCCESS ? ERR_OK : ERR_DNS;
}

enum err dns_channel_open(struct dns_channel *c, struct span servers)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const struct ares_socket_functions functions = {
        .asocket = on_socket,
        .aclose = on_close,
        .aconnect = on_connect,
        .arecvfrom = on_receive,
        .asendv = on_send,
    };
    pthread_once(&once, start_library);
    *c = (struct dns_channel){0};
    list_init(&c->sockets);
    timer_init(&c->timer, on_timer);
    struct ares_options options = {
        .timeout = TIMEOUT_MS,
        .tries = TRIES,
        .sock_state_cb = on_state,
        .sock_state_cb_data = c,
    };
    int status = library_status;
    if (status == ARES_SUCCESS)
        status = ares_init_options(&c->ares, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS)
        return status == ARES_ENOMEM ? ERR_NO_MEMORY : ERR_DNS;
    ares_set_socket_functions(c->ares, &functions, c);
    enum err e = servers.n ? use_servers(c, servers) : ERR_OK;
    if (e != ERR_OK)
        dns_channel_close(c);
    return e;
}

void dns_channel_close(struct dns_channel *c)
{
    c->is_closing = true;
    timer_stop(&c->timer);
    ares_destroy(c->ares);
    ASSERT(list_is_empty(&c->sockets));
}

void dns_channel_ask(struct dns_channel *c, const char *host, ares_addrinfo_callback on_answer,
                     void *arg)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(c->ares, host, NULL, &hints, on_answer, arg);
    serve(c);
}
