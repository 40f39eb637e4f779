#include "http/server.h"

#include "base/mem.h"
#include "base/sys.h"
#include "http/gzip.h"
#include "http/server_impl.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { REQUESTS_KEPT = 64 };

static const int64_t ACCEPT_PAUSE_NS = 100 * NS_PER_MS;

struct listener {
    struct io io;
    struct list link;
    struct grave grave;
    struct timer timer; /* while accepting is paused */
    struct http_server *server;
    struct tls_server *tls;
    int tag;
    int owned_fd; /* the descriptor that was given; io has a duplicate */
};

/* A connection that shakes hands; in a fiber of its own. */
struct newcomer {
    struct list link; /* on server->newcomers */
    struct fiber *fiber;
    struct stream stream;
    struct http_server *server;
    struct tls_server *tls;
    struct sockaddr_storage peer;
    int tag;
};

struct http_server *http_server_new(const struct http_server_settings *settings,
                                    http_handler handler, void *context)
{
    struct http_server *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->settings = *settings;
    s->handler = handler;
    s->context = context;
    list_init(&s->listeners);
    list_init(&s->connections);
    list_init(&s->newcomers);
    return s;
}

void http_server_set(struct http_server *s, const struct http_server_settings *settings)
{
    s->settings = *settings;
}

struct http_server_stats http_server_stats(const struct http_server *s)
{
    return s->stats;
}

bool server_is_overloaded(const struct http_server *s)
{
    return s->stats.requests >= s->settings.requests_max || buffers_are_short();
}

void server_add(struct http_server *s, struct http_connection *c)
{
    c->server = s;
    list_append(&s->connections, &c->link);
    s->stats.connections++;
}

static void accept_all(struct listener *l);

static void count_out(struct http_server *s)
{
    s->stats.connections--;
    if (s->stats.connections + 1 != s->settings.connections_max)
        return;
    LIST_EACH(&s->listeners, struct listener, link, l) /* there is room again */
        loop_set_timer(&l->timer, loop_now());
}

void server_remove(struct http_connection *c)
{
    list_remove(&c->link);
    count_out(c->server);
}

/* --- accepting -------------------------------------------------------------------------------- */

static void shake_hands(void *arg)
{
    struct newcomer *n = arg;
    struct http_server *s = n->server;
    int64_t deadline = clock_ns() + s->settings.header_timeout_ns;
    enum err e = tls_accept(&n->stream, n->tls, deadline, NULL);
    tls_server_unref(n->tls);
    list_remove(&n->link);
    count_out(s); /* counted again as what it becomes */
    if (e != ERR_OK) {
        s->stats.timeouts += e == ERR_TIMEOUT;
        stream_close(&n->stream);
    } else if (tls_is_h2(n->stream.tls)) {
        h2_connection_start(s, &n->stream, &n->peer, n->tag, (struct span){0});
    } else {
        h1_connection_start(s, &n->stream, &n->peer, n->tag);
    }
    mem_free(n);
}

static void welcome_encrypted(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct newcomer *n = mem_calloc(1, sizeof *n);
    if (!n) {
        sys.close(fd);
        return;
    }
    n->server = l->server;
    n->peer = *peer;
    n->tag = l->tag;
    if (stream_open(&n->stream, fd, NULL) != ERR_OK) {
        mem_free(n);
        return;
    }
    n->tls = tls_server_ref(l->tls);
    l->server->stats.connections++;
    list_append(&l->server->newcomers, &n->link);
    n->fiber = fiber_spawn(shake_hands, n, "TLS handshake");
    if (n->fiber)
        return;
    list_remove(&n->link);
    l->server->stats.connections--;
    tls_server_unref(n->tls);
    stream_close(&n->stream);
    mem_free(n);
}

/* Edge-triggered: everything that is queued, or a timer to come back. */
static void accept_all(struct listener *l)
{
    struct http_server *s = l->server;
    while (io_is_open(&l->io) && s->stats.connections < s->settings.connections_max) {
        struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof peer;
        int fd = sys.accept(l->io.fd, (struct sockaddr *)&peer, &size);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN) /* no descriptors or memory: some will come back */
                loop_set_timer(&l->timer, loop_now() + ACCEPT_PAUSE_NS);
            return;
        }
        s->stats.accepted++;
        if (l->tls)
            welcome_encrypted(l, fd, &peer);
        else
            h1_connection_accept(s, fd, &peer, l->tag);
    }
}

static void on_listener_event(struct io *io)
{
    accept_all(CONTAINER_OF(io, struct listener, io));
}

static void on_listener_timer(struct timer *t)
{
    accept_all(CONTAINER_OF(t, struct listener, timer));
}

enum err http_server_listen(struct http_server *s, int fd, struct tls_server *tls, int tag)
{
    struct listener *l = mem_calloc(1, sizeof *l);
    TRY_ALLOC(l);
    l->server = s;
    l->tag = tag;
    l->owned_fd = fd;
    timer_init(&l->timer, on_listener_timer);
    int own = dup(fd); /* so that closing ours leaves the owner's open */
    enum err e = own < 0 ? ERR_IO : io_open(&l->io, own, on_listener_event);
    if (e != ERR_OK) {
        if (own >= 0)
            sys.close(own);
        mem_free(l);
        return e;
    }
    l->tls = tls ? tls_server_ref(tls) : NULL;
    list_append(&s->listeners, &l->link);
    return ERR_OK;
}

static void release_listener(struct grave *g)
{
    mem_free(CONTAINER_OF(g, struct listener, grave));
}

static void close_listener(struct listener *l)
{
    accept_all(l);
    timer_stop(&l->timer);
    /* The socket lives on in the master's hands: closing our number would leave it registered. */
    sys.close(io_detach(&l->io));
    if (l->tls)
        tls_server_unref(l->tls);
    list_remove(&l->link);
    l->grave.release = release_listener;
    loop_bury(&l->grave);
}

void http_server_unlisten(struct http_server *s, int fd)
{
    LIST_EACH(&s->listeners, struct listener, link, l)
        if (l->owned_fd == fd)
            close_listener(l);
}

void http_server_drain(struct http_server *s)
{
    LIST_EACH(&s->listeners, struct listener, link, l)
        close_listener(l);
    s->is_draining = true;
    LIST_EACH(&s->connections, struct http_connection, link, c)
        c->drain(c);
}

void http_server_abort(struct http_server *s)
{
    LIST_EACH(&s->newcomers, struct newcomer, link, n)
        fiber_cancel(n->fiber, CANCEL_DRAIN);
    LIST_EACH(&s->connections, struct http_connection, link, c)
        c->abort(c);
}

/* --- requests --------------------------------------------------------------------------------- */

/* A request and the first block of its arena, in one piece. */
struct request_block {
    struct http_request rq;
    struct request_block *next;
    _Alignas(16) char first[REQUEST_ARENA_FIRST];
};

static _Thread_local struct {
    struct request_block *free;
    size_t count;
} kept;

struct http_request *request_new(struct http_server *s)
{
    struct request_block *block = kept.free;
    if (block) {
        kept.free = block->next;
        kept.count--;
    } else {
        block = mem_alloc(sizeof *block);
        if (!block)
            return NULL;
    }
    block->rq = (struct http_request){.server = s, .settings = &s->settings};
    arena_init(&block->rq.arena, REQUEST_ARENA_MAX, block->first, sizeof block->first);
    return &block->rq;
}

void request_begin(struct http_request *rq)
{
    rq->is_in_flight = true;
    rq->server->stats.requests++;
}

void request_free(struct http_request *rq)
{
    struct request_block *block = CONTAINER_OF(rq, struct request_block, rq);
    rq->server->stats.requests -= rq->is_in_flight;
    builder_deinit(&rq->unpacked);
    arena_deinit(&rq->arena);
    if (kept.count >= REQUESTS_KEPT || WITH_ASAN) {
        mem_free(block);
        return;
    }
    block->next = kept.free;
    kept.free = block;
    kept.count++;
}

void http_server_free(struct http_server *s)
{
    ASSERT(list_is_empty(&s->connections));
    ASSERT(list_is_empty(&s->newcomers));
    LIST_EACH(&s->listeners, struct listener, link, l)
        close_listener(l);
    mem_free(s);
    while (kept.free) {
        struct request_block *block = kept.free;
        kept.free = block->next;
        mem_free(block);
    }
    kept.count = 0;
}

void request_serve(struct http_request *rq)
{
    struct http_server *s = rq->server;
    s->stats.received++;
    rq->fiber = fiber_self();
    s->handler(rq, s->context);
    if (!rq->reply_is_ended)
        http_reply_cut(rq);
    rq->fiber = NULL;
}

static enum err unpack(struct http_request *rq)
{
    builder_init(&rq->unpacked, rq->settings->body_max);
    struct gunzip *g = gunzip_new(rq->settings->body_max);
    enum err e = g ? gunzip_feed(g, rq->body, &rq->unpacked) : ERR_NO_MEMORY;
    if (e == ERR_OK)
        e = gunzip_finish(g);
    gunzip_free(g);
    if (e == ERR_TOO_LARGE)
        return fail(&rq->failure, e, "the body unpacks to more than %llu bytes",
                    (unsigned long long)rq->settings->body_max);
    if (e == ERR_NO_MEMORY)
        return fail(&rq->failure, ERR_OVERLOADED, "no room for the body");
    if (e != ERR_OK)
        return fail(&rq->failure, e, "the body is not valid gzip");
    rq->ops->drop_body(rq);
    rq->body = builder_span(&rq->unpacked);
    return ERR_OK;
}

enum err http_read_body(struct http_request *rq, struct span *body)
{
    if (!rq->body_is_read) {
        struct span encoding = http_get(&rq->head, HTTP_KNOWN_CONTENT_ENCODING);
        bool is_packed = span_eq_nocase(encoding, SPAN("gzip"));
        if ((encoding.n && !is_packed && !span_eq_nocase(encoding, SPAN("identity"))) ||
            http_is_repeated(&rq->head, HTTP_KNOWN_CONTENT_ENCODING))
            return fail(&rq->failure, ERR_BAD_MEDIA, "a body may be encoded by gzip only");
        enum err e = rq->ops->read_body(rq);
        if (e == ERR_TIMEOUT) {
            rq->server->stats.timeouts++;
            e = fail(&rq->failure, ERR_SLOW_CLIENT, "the body did not arrive in time");
        }
        TRY(e);
        rq->body_is_read = true;
        if (is_packed)
            TRY(unpack(rq));
    }
    *body = rq->body;
    return ERR_OK;
}

void http_drop_body(struct http_request *rq)
{
    rq->body = (struct span){0};
    builder_deinit(&rq->unpacked);
    rq->ops->drop_body(rq);
}

enum err http_reply(struct http_request *rq, const struct http_reply_head *head,
                    const struct span *body, size_t body_parts)
{
    ASSERT(rq->status == 0);
    ASSERT(body_parts <= HTTP_PIECES_MAX);
    TRY(rq->ops->reply(rq, head, body, body_parts));
    rq->reply_is_ended = true;
    return ERR_OK;
}

enum err http_reply_begin(struct http_request *rq, const struct http_reply_head *head,
                          uint64_t body_bytes)
{
    ASSERT(rq->status == 0);
    return rq->ops->begin(rq, head, body_bytes);
}

enum err http_reply_writev(struct http_request *rq, const struct span *pieces, size_t count)
{
    ASSERT(rq->status != 0);
    ASSERT(count <= HTTP_PIECES_MAX);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += pieces[i].n;
    return bytes ? rq->ops->write(rq, pieces, count, bytes) : ERR_OK;
}

enum err http_reply_flush(struct http_request *rq)
{
    ASSERT(rq->status != 0);
    return rq->ops->flush(rq);
}

enum err http_reply_end(struct http_request *rq)
{
    ASSERT(rq->status != 0);
    ASSERT(!rq->reply_is_ended);
    TRY(rq->ops->end(rq));
    rq->reply_is_ended = true;
    return ERR_OK;
}

void http_reply_cut(struct http_request *rq)
{
    rq->ops->cut(rq);
}

/* --- the current date ------------------------------------------------------------------------- */

static _Thread_local struct {
    int64_t second;
    char text[30];
} date;

struct span http_date(void)
{
    int64_t second = wall_ns() / NS_PER_S;
    if (second != date.second) {
        struct tm t;
        time_t now = (time_t)second;
        gmtime_r(&now, &t);
        strftime(date.text, sizeof date.text, "%a, %d %b %Y %H:%M:%S GMT", &t);
        date.second = second;
    }
    return span(date.text, sizeof date.text - 1);
}
