/* HTTP/1.1 connections of callers.
 *
 *            bytes             head complete          answer sent
 *     IDLE ---------> READING ---------------> BUSY ---------------> IDLE
 *                        |                       |  (close asked, or the request unread)
 *                        | refused               v
 *                        +------------------> LINGERING ----> closed
 *
 * The connection reads heads on the loop, without a fiber; a complete head is served in one. After
 * a refusal it lingers: what the caller still sends is read and dropped for a moment, because
 * closing with unread bytes makes the kernel reset the connection before the answer is read. */
#include "base/mem.h"
#include "base/sys.h"
#include "http/h1_impl.h"

#include <stdio.h>

enum {
    COPY_MAX = 3072, /* a head and body up to this are copied, and the buffer is free again */
    LINGER_BYTES = 1 << 20, /* read and dropped while lingering */
};
static const int64_t LINGER_NS = 2 * NS_PER_S;
static const int64_t DRAIN_IDLE_NS = 1 * NS_PER_S;
static const int64_t PROBE_NS = 1 * NS_PER_S;

static const struct span preface = SPAN_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

static struct h1_connection *of_base(struct http_connection *base)
{
    return CONTAINER_OF(base, struct h1_connection, base);
}

/* --- life and death --------------------------------------------------------------------------- */

static void release(struct grave *g)
{
    mem_free(CONTAINER_OF(g, struct h1_connection, grave));
}

static void drop_buffer(struct h1_connection *c)
{
    buffer_put(c->buffer);
    c->buffer = NULL;
}

static void close_connection(struct h1_connection *c)
{
    ASSERT(c->state != H1_CLOSED);
    c->state = H1_CLOSED;
    timer_stop(&c->timer);
    h1_drop_request_body(c);
    drop_buffer(c);
    buffer_put(c->spill);
    if (c->rq)
        request_free(c->rq);
    c->rq = NULL;
    if (stream_is_open(&c->base.stream))
        stream_close(&c->base.stream);
    server_remove(&c->base);
    c->grave.release = release;
    loop_bury(&c->grave);
}

/* The timer is only ever moved forward: one that fires early is set again, so that a busy
 * connection does not touch it. */
static void set_deadline(struct h1_connection *c, int64_t deadline_ns)
{
    c->deadline_ns = deadline_ns;
    if (deadline_ns != FIBER_FOREVER && (!timer_is_set(&c->timer) || c->timer.at_ns > deadline_ns))
        loop_set_timer(&c->timer, deadline_ns);
}

static void linger(struct h1_connection *c);
static void receive(struct h1_connection *c);

/* Small answers of the connection itself: refusals that no handler sees. One try; then it lingers.
 */
static void refuse(struct h1_connection *c, enum err code, const char *why)
{
    char text[1024];
    struct builder out;
    const struct err_info *info = err_info(code);
    builder_init_fixed(&out, text, sizeof text);
    char body[512];
    int n = snprintf(body, sizeof body,
                     "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,"
                     "\"code\":\"%s\"}}\n",
                     why ? why : info->text, info->type, info->code);
    builder_printf(&out,
                   "HTTP/1.1 %d %.*s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                   "Connection: close\r\n%s\r\n%s",
                   info->status, SPAN_ARG(http_reason(info->status)), n,
                   info->status == 503 ? "Retry-After: 1\r\n" : "", body);
    struct iovec part = {text, builder_span(&out).n};
    size_t done;
    (void)!stream_try_write(&c->base.stream, &part, 1, &done);
    linger(c);
}

static void linger(struct h1_connection *c)
{
    if (c->rq)
        request_free(c->rq);
    c->rq = NULL;
    h1_drop_request_body(c);
    drop_buffer(c);
    c->state = H1_LINGERING;
    if (c->base.stream.tls || shutdown(c->base.stream.io.fd, SHUT_WR) != 0) {
        close_connection(c); /* TLS: its close says that the answer is complete */
        return;
    }
    set_deadline(c, loop_now() + LINGER_NS);
    if (c->base.stream.io.is_readable)
        receive(c);
}

static void read_and_drop(struct h1_connection *c)
{
    char piece[2048];
    size_t got;
    enum err e;
    while ((e = stream_try_read(&c->base.stream, piece, sizeof piece, &got)) == ERR_OK) {
        c->lingered += got;
        if (c->lingered > LINGER_BYTES)
            break;
    }
    if (e != ERR_AGAIN)
        close_connection(c);
}

/* --- heads ------------------------------------------------------------------------------------ */

static _Thread_local struct http_field shared_fields[HTTP_FIELDS_MAX];

/* Fields are parsed into a place that all connections share; they move to the request's own arena
 * when the head is complete (just those that came) or has to wait for more (room for all). */
static bool own_fields(struct http_request *rq, uint32_t room)
{
    if (rq->head.fields != shared_fields)
        return true;
    struct http_field *own = arena_alloc(&rq->arena, MAX(room, 1u) * sizeof *own);
    if (!own)
        return false;
    memcpy(own, shared_fields, rq->head.field_count * sizeof *own);
    rq->head.fields = own;
    rq->head.field_max = room;
    return true;
}

static bool is_http2(const struct h1_connection *c, struct span bytes)
{
    return !c->served_before && span_starts(bytes, span(preface.p, MIN(bytes.n, preface.n)));
}

static void become_http2(struct h1_connection *c)
{
    struct span bytes = buffer_rest(c->buffer);
    h2_connection_start(c->base.server, &c->base.stream, &c->base.peer, c->base.listener_tag,
                        bytes);
    close_connection(c);
}

/* A small request is copied out of the buffer that all connections want next. */
static void settle_bytes(struct h1_connection *c)
{
    struct http_request *rq = c->rq;
    struct span bytes = buffer_rest(c->buffer);
    uint64_t body = rq->head.framing == HTTP_BODY_LENGTH ? rq->head.content_length : 0;
    bool is_whole = rq->head.framing != HTTP_BODY_CHUNKED && body <= COPY_MAX &&
                    c->parser.consumed + body == bytes.n && bytes.n <= COPY_MAX;
    char *own = is_whole ? arena_bytes(&rq->arena, bytes.n) : NULL;
    if (!own)
        return;
    memcpy(own, bytes.p, bytes.n);
    http_head_rebase(&rq->head, bytes.p, own);
    rq->body = span(own + c->parser.consumed, (size_t)body);
    c->request_is_read = true;
    drop_buffer(c);
}

static void serve(void *arg);

static void start_request(struct h1_connection *c)
{
    struct http_request *rq = c->rq;
    struct http_server *s = c->base.server;
    if (!own_fields(rq, rq->head.field_count) || server_is_overloaded(s)) {
        s->stats.shed++;
        refuse(c, ERR_OVERLOADED, NULL);
        return;
    }
    request_begin(rq);
    c->served_before = true;
    c->keep_alive = rq->head.keep_alive && !s->is_draining;
    c->request_is_read = false;
    c->reply_is_chunked = false;
    c->reply_left = 0;
    settle_bytes(c);
    if (!c->request_is_read)
        c->buffer->at += c->parser.consumed;
    rq->connection = c;
    rq->ops = &h1_ops;
    rq->peer = &c->base.peer;
    rq->listener_tag = c->base.listener_tag;
    rq->received_ns = loop_now();
    c->state = H1_BUSY;
    c->deadline_ns = FIBER_FOREVER;
    rq->fiber = fiber_spawn(serve, c, "request");
    if (!rq->fiber) {
        s->stats.shed++;
        refuse(c, ERR_OVERLOADED, NULL);
    }
}

static void await_more(struct h1_connection *c)
{
    if (!own_fields(c->rq, HTTP_FIELDS_MAX)) {
        close_connection(c);
        return;
    }
    if (c->state == H1_IDLE)
        set_deadline(c, loop_now() + c->base.server->settings.header_timeout_ns);
    c->state = H1_READING;
}

static void begin_head(struct h1_connection *c)
{
    if (c->rq)
        return;
    c->rq = request_new(c->base.server);
    if (!c->rq)
        return;
    http_head_init(&c->rq->head, shared_fields, HTTP_FIELDS_MAX);
    h1_parser_init(&c->parser);
}

/* Looks at what was received. */
static void parse(struct h1_connection *c)
{
    struct span bytes = buffer_rest(c->buffer);
    if (UNLIKELY(bytes.n >= 4 && is_http2(c, bytes))) { /* shorter: could still be POST */
        become_http2(c);
        return;
    }
    begin_head(c);
    if (!c->rq) {
        close_connection(c);
        return;
    }
    enum err e = h1_parse_request(&c->parser, bytes, &c->rq->head);
    if (LIKELY(e == ERR_OK)) {
        start_request(c);
    } else if (e == ERR_AGAIN) {
        await_more(c);
    } else {
        c->base.server->stats.bad_requests++;
        refuse(c, e, c->parser.why);
    }
}

/* Room for more of a head; the parser bounds it, so one larger buffer is always enough. */
static bool make_room(struct h1_connection *c)
{
    if (!c->buffer) {
        c->buffer = buffer_take(H1_RECEIVE_MIN);
        return c->buffer != NULL;
    }
    if (c->buffer->n < c->buffer->room)
        return true;
    struct span rest = buffer_rest(c->buffer);
    struct buffer *wider = buffer_take(MAX(rest.n * 2, (size_t)BUFFER_USUAL));
    if (!wider)
        return false;
    memcpy(wider->p, rest.p, rest.n);
    wider->n = rest.n;
    buffer_put(c->buffer); /* the parser notices that the bytes of its head have moved */
    c->buffer = wider;
    return true;
}

/* One read, and a look at what it brought. */
static void receive_once(struct h1_connection *c)
{
    if (!make_room(c)) {
        c->base.server->stats.shed++;
        refuse(c, ERR_OVERLOADED, NULL);
        return;
    }
    size_t got;
    enum err e = stream_try_read(&c->base.stream, c->buffer->p + c->buffer->n,
                                 c->buffer->room - c->buffer->n, &got);
    if (e == ERR_OK) {
        c->buffer->n += got;
        parse(c);
    } else if (e != ERR_AGAIN) {
        close_connection(c);
    } else if (c->state == H1_IDLE && buffer_rest(c->buffer).n == 0) {
        drop_buffer(c);
    }
}

/* The socket has bytes, or its end. On the loop, or at the end of the fiber that answered. A head
 * that goes on is followed as long as there is more: events come by the edge, once. */
static void receive(struct h1_connection *c)
{
    if (c->state == H1_LINGERING) {
        read_and_drop(c);
        return;
    }
    do {
        receive_once(c);
    } while (c->state == H1_READING && stream_is_readable(&c->base.stream));
}

/* --- serving ---------------------------------------------------------------------------------- */

static void become_idle(struct h1_connection *c)
{
    struct http_server *s = c->base.server;
    c->state = H1_IDLE;
    set_deadline(c,
                 loop_now() + (s->is_draining ? DRAIN_IDLE_NS : s->settings.keepalive_timeout_ns));
    if (c->buffer && buffer_rest(c->buffer).n > 0) {
        parse(c); /* the next request is here already, or begins */
        if (c->state == H1_READING && stream_is_readable(&c->base.stream))
            receive(c);
        return;
    }
    drop_buffer(c);
    if (stream_is_readable(&c->base.stream))
        receive(c);
}

/* An answer that is broken off must not look complete: where neither a length nor a last chunk
 * tells, a reset does. */
static void cut_connection(struct h1_connection *c)
{
    if (!c->reply_is_chunked && c->reply_left == HTTP_LENGTH_UNKNOWN)
        h1_reset_when_closed(c);
    close_connection(c);
}

static void forget_request(struct h1_connection *c)
{
    request_free(c->rq);
    c->rq = NULL;
    c->pending_head = (struct span){0};
    h1_drop_request_body(c);
    if (c->spill && buffer_rest(c->spill).n > 0) { /* the next request begins there */
        drop_buffer(c);
        c->buffer = c->spill;
    } else {
        buffer_put(c->spill);
    }
    c->spill = NULL;
}

static void serve(void *arg)
{
    struct h1_connection *c = arg;
    request_serve(c->rq);
    /* Draining does not end it here: a caller that was not told Connection: close may be sending
     * its next request right now. That one is answered, and told. */
    bool may_go_on = c->keep_alive && !h1_has_unread_body(c);
    forget_request(c);
    if (c->was_aborted)
        cut_connection(c);
    else if (may_go_on)
        become_idle(c);
    else
        linger(c);
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_busy_event(struct h1_connection *c)
{
    const struct io *io = &c->base.stream.io;
    if (!c->rq || !c->rq->fiber)
        return;
    if (io->is_broken || (io->is_hung_up && c->rq->settings->half_close == HALF_CLOSE_ABORT))
        fiber_cancel(c->rq->fiber, CANCEL_CLIENT_GONE);
    else if (io->is_hung_up && c->rq->settings->half_close == HALF_CLOSE_PROBE)
        set_deadline(c, loop_now() + PROBE_NS);
}

static void on_event(struct io *io)
{
    struct h1_connection *c = CONTAINER_OF(io, struct h1_connection, base.stream.io);
    if (c->state == H1_BUSY)
        on_busy_event(c);
    else if (io->is_readable)
        receive(c);
}

/* A caller that sent FIN is asked whether it still reads: a closed socket answers an interim
 * response with a reset, which cancels the request. */
static void probe(struct h1_connection *c)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec part = {(void *)(uintptr_t)interim, sizeof interim - 1};
    size_t done;
    if (c->rq->status != 0 || c->rq->head.minor == 0)
        return; /* the answer itself will tell */
    (void)!stream_try_write(&c->base.stream, &part, 1, &done);
    set_deadline(c, loop_now() + 5 * PROBE_NS);
}

static void on_timer(struct timer *t)
{
    struct h1_connection *c = CONTAINER_OF(t, struct h1_connection, timer);
    if (c->deadline_ns == FIBER_FOREVER)
        return;
    if (c->deadline_ns > loop_now()) {
        loop_set_timer(t, c->deadline_ns);
        return;
    }
    c->base.server->stats.timeouts += c->state == H1_READING;
    switch (c->state) {
    case H1_READING:
        refuse(c, ERR_SLOW_CLIENT, "the head of the request did not arrive in time");
        break;
    case H1_BUSY:
        probe(c);
        break;
    case H1_IDLE:
    case H1_LINGERING:
        close_connection(c);
        break;
    case H1_CLOSED:
        break;
    }
}

static void drain(struct http_connection *base)
{
    struct h1_connection *c = of_base(base);
    /* An idle caller may be sending right now: its request is answered, with Connection: close. */
    if (c->state == H1_IDLE)
        set_deadline(c, loop_now() + DRAIN_IDLE_NS);
}

static void abort_connection(struct http_connection *base)
{
    struct h1_connection *c = of_base(base);
    if (c->state == H1_BUSY && c->rq && c->rq->fiber) {
        c->was_aborted = true;
        fiber_cancel(c->rq->fiber, CANCEL_DRAIN);
    } else if (c->state != H1_BUSY) {
        close_connection(c);
    }
}

static struct h1_connection *new_connection(struct http_server *s,
                                            const struct sockaddr_storage *peer, int tag)
{
    struct h1_connection *c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->base.peer = *peer;
    c->base.listener_tag = tag;
    c->base.drain = drain;
    c->base.abort = abort_connection;
    timer_init(&c->timer, on_timer);
    server_add(s, &c->base);
    return c;
}

static void opened(struct h1_connection *c, enum err e)
{
    if (e != ERR_OK) {
        close_connection(c);
        return;
    }
    set_deadline(c, loop_now() + c->base.server->settings.header_timeout_ns);
}

void h1_connection_accept(struct http_server *s, int fd, const struct sockaddr_storage *peer,
                          int tag)
{
    struct h1_connection *c = new_connection(s, peer, tag);
    if (!c) {
        sys.close(fd);
        return;
    }
    opened(c, stream_open(&c->base.stream, fd, on_event));
}

void h1_connection_start(struct http_server *s, struct stream *stream,
                         const struct sockaddr_storage *peer, int tag)
{
    struct h1_connection *c = new_connection(s, peer, tag);
    if (!c) {
        stream_close(stream);
        return;
    }
    opened(c, stream_move(&c->base.stream, stream, on_event));
    if (c->state != H1_CLOSED && stream_is_readable(&c->base.stream))
        receive(c);
}
