/* HTTP/2 connections of callers: frames, defences, deadlines.
 *
 * Everything here runs on the loop. A complete head becomes a fiber; what it does is in h2_reply.c.
 *
 * What a caller can do to us, and what stops it:
 *   opens streams and resets them (rapid reset)           a reset costs glitches, served requests
 *                                                         give them back; a fiber that has not
 * begun never runs its handler makes us reset them (MadeYouReset)                    our
 * RST_STREAMs cost the same endless CONTINUATIONs, fields, one field many times   nghttp2's 8;
 * HTTP_HEAD_MAX; a doomed connection at four times that PING, SETTINGS, PRIORITY, empty DATA,
 * WINDOW_UPDATE   glitches; acknowledgements that are not fetched are bounded reads nothing
 * write_timeout, of the socket and of each stream; one buffer a connection sends nothing header,
 * body and keep-alive timeouts */
#include "base/mem.h"
#include "base/sys.h"
#include "http/h2_server_impl.h"

enum {
    STREAMS_HELD_MAX = 2 * H2_STREAMS_MAX,
    HEAD_FLOOD = 4 * HTTP_HEAD_MAX, /* nobody sends that by mistake */
    SERVED_GIVES_BACK = 1,
};
static const int64_t DRAIN_NOTICE_NS = 1 * NS_PER_S;

static struct h2_connection *of_wire(struct h2_wire *w)
{
    return CONTAINER_OF(w, struct h2_connection, wire);
}

static struct h2_connection *of_user_data(void *user_data)
{
    return of_wire(user_data);
}

static struct h2_stream *find_stream(struct h2_connection *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->wire.session, id);
}

/* --- deadlines -------------------------------------------------------------------------------- */

/* The head of a request, or the caller's first SETTINGS. */
static int64_t head_deadline(const struct h2_connection *c)
{
    if (!c->has_settings)
        return c->opened_ns + c->base.server->settings.header_timeout_ns;
    return c->block_is_open ? c->block_since_ns + c->base.server->settings.header_timeout_ns
                            : FIBER_FOREVER;
}

/* The caller reads what we send. */
static int64_t write_deadline(const struct h2_connection *c)
{
    int64_t since;
    return h2_wire_is_stuck(&c->wire, &since) ? since + c->base.server->settings.write_timeout_ns
                                              : FIBER_FOREVER;
}

/* When it is time to say GOAWAY: idle for long, or the notice was given. */
static int64_t goaway_deadline(const struct h2_connection *c)
{
    const int64_t keepalive_ns = c->base.server->settings.keepalive_timeout_ns;
    int64_t at = c->stream_count == 0 ? c->idle_since_ns + keepalive_ns : FIBER_FOREVER;
    if (c->is_draining && !c->said_goaway)
        at = MIN(at, c->drain_since_ns + DRAIN_NOTICE_NS);
    return at;
}

/* What the connection as a whole waits for; requests have deadlines of their own. */
static int64_t next_deadline(const struct h2_connection *c)
{
    return MIN(MIN(head_deadline(c), write_deadline(c)), goaway_deadline(c));
}

static void set_timer(struct h2_connection *c)
{
    const int64_t at = next_deadline(c);
    if (at != FIBER_FOREVER && (!timer_is_set(&c->timer) || c->timer.at_ns > at))
        loop_set_timer(&c->timer, at);
}

/* GOAWAY with the last stream that was looked at: those above it can be sent elsewhere. */
static void say_goaway(struct h2_connection *c)
{
    nghttp2_session *session = c->wire.session;
    c->said_goaway = true;
    if (nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR,
                              NULL, 0) != 0)
        h2_wire_close(&c->wire, ERR_NO_MEMORY);
    else
        h2_wire_schedule(&c->wire);
}

static void on_timer(struct timer *t)
{
    struct h2_connection *c = CONTAINER_OF(t, struct h2_connection, timer);
    const int64_t now = loop_now();
    if (MIN(head_deadline(c), write_deadline(c)) <= now) {
        c->base.server->stats.timeouts++;
        h2_wire_close(&c->wire, ERR_TIMEOUT);
    } else if (goaway_deadline(c) > now) { /* it moved meanwhile */
        set_timer(c);
    } else if (c->said_goaway) { /* and the caller does not go */
        h2_wire_close(&c->wire, ERR_CLOSED);
    } else {
        say_goaway(c);
    }
}

/* --- streams ---------------------------------------------------------------------------------- */

static struct h2_stream *new_stream(struct h2_connection *c, int32_t id)
{
    struct h2_stream *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (nghttp2_session_set_stream_user_data(c->wire.session, id, s) != 0) {
        mem_free(s); /* reset meanwhile: there is no such stream */
        return NULL;
    }
    s->connection = c;
    s->id = id;
    s->heard_ns = loop_now();
    list_append(&c->streams, &s->link);
    c->stream_count++;
    h2_wire_hold(&c->wire);
    return s;
}

static void free_stream(struct h2_stream *s)
{
    struct h2_connection *c = s->connection;
    ASSERT(s->is_closed);
    ASSERT(s->rq == NULL);
    list_remove(&s->link);
    buffer_put(s->body);
    mem_free(s);
    if (--c->stream_count == 0) {
        c->idle_since_ns = loop_now();
        if (h2_wire_is_open(&c->wire))
            h2_wire_schedule(&c->wire); /* a deadline, or the end after a GOAWAY */
    }
    h2_wire_drop(&c->wire);
}

static void wake_all(struct h2_stream *s)
{
    if (s->reader)
        fiber_wake(s->reader);
    if (s->source.waiter)
        fiber_wake(s->source.waiter);
}

/* nghttp2, or the connection, is done with it. */
static void end_stream(struct h2_stream *s)
{
    s->is_closed = true;
    if (!s->rq) {
        free_stream(s);
        return;
    }
    wake_all(s);
    if (!s->source.end_was_sent && s->rq->fiber)
        fiber_cancel(s->rq->fiber, CANCEL_CLIENT_GONE);
}

static void serve(void *arg)
{
    struct h2_stream *s = arg;
    struct h2_connection *c = s->connection;
    struct http_request *rq = s->rq;
    if (!s->is_closed && !s->is_broken)
        request_serve(rq);
    if (s->source.end_was_sent)
        c->wire.glitches = MAX(c->wire.glitches - SERVED_GIVES_BACK, 0);
    h2_stream_served(s);
    s->rq = NULL;
    request_free(rq);
    if (s->is_closed)
        free_stream(s);
    else
        h2_wire_schedule(&c->wire);
}

static void shed(struct h2_stream *s)
{
    s->connection->base.server->stats.shed++;
    h2_stream_refuse(s, ERR_OVERLOADED, NULL);
}

static enum err fill_request(struct h2_stream *s, struct http_request *rq, bool has_body,
                             const char **why)
{
    struct h2_connection *c = s->connection;
    TRY(h2_block_to_request(&c->block, has_body, &rq->arena, &rq->head, why));
    rq->ops = &h2_reply_ops;
    rq->connection = s;
    rq->peer = &c->base.peer;
    rq->listener_tag = c->base.listener_tag;
    rq->received_ns = loop_now();
    return ERR_OK;
}

/* A head is complete. */
static void start_request(struct h2_connection *c, int32_t id, bool has_body)
{
    struct http_server *server = c->base.server;
    struct h2_stream *s = new_stream(c, id);
    if (!s) {
        (void)nghttp2_submit_rst_stream(c->wire.session, 0, id, NGHTTP2_REFUSED_STREAM);
        return;
    }
    s->body_ended = !has_body;
    struct http_request *rq = server_is_overloaded(server) ? NULL : request_new(server);
    if (!rq) {
        shed(s);
        return;
    }
    request_begin(rq);
    const char *why = NULL;
    enum err e = fill_request(s, rq, has_body, &why);
    if (e == ERR_OK) {
        s->rq = rq;
        rq->fiber = fiber_spawn(serve, s, "request");
        if (rq->fiber)
            return;
        s->rq = NULL;
    }
    request_free(rq);
    if (e == ERR_OK || e == ERR_NO_MEMORY) {
        shed(s);
        return;
    }
    server->stats.bad_requests++;
    h2_wire_glitch(&c->wire, H2_COST_RESET);
    h2_stream_refuse(s, e, why);
}

/* --- what nghttp2 tells ----------------------------------------------------------------------- */

static void note_dropped(struct h2_connection *c, int32_t id)
{
    c->dropped[c->dropped_count++ % H2_DROPPED_KEPT] = id;
}

/* Older ones than we remember get the benefit of the doubt. */
static bool was_dropped(const struct h2_connection *c, int32_t id)
{
    int32_t lowest = INT32_MAX;
    for (uint32_t i = 0; i < MIN(c->dropped_count, (uint32_t)H2_DROPPED_KEPT); i++) {
        lowest = MIN(lowest, c->dropped[i]);
        if (c->dropped[i] == id)
            return true;
    }
    return c->dropped_count > H2_DROPPED_KEPT && id < lowest;
}

/* RFC 9113 section 5.1: nothing of this kind may come on a stream that the caller itself closed.
 * nghttp2 keeps no closed streams and would let it pass. */
static bool is_on_closed(struct h2_connection *c, const struct h2_frame_head *head)
{
    const int32_t id = head->stream_id;
    return (head->type == NGHTTP2_DATA || head->type == NGHTTP2_HEADERS) && id % 2 == 1 &&
           id <= c->last_id && !nghttp2_session_find_stream(c->wire.session, id) &&
           !was_dropped(c, id);
}

static void on_frame(struct h2_wire *w, const struct h2_frame_head *head)
{
    struct h2_connection *c = of_wire(w);
    if (is_on_closed(c, head))
        h2_wire_terminate(w, NGHTTP2_STREAM_CLOSED);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    (void)session;
    h2_block_clear(&c->block);
    c->block_is_open = true;
    c->block_since_ns = loop_now();
    c->block_stream = 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers: counted and dropped */
    c->last_id = frame->hd.stream_id;
    if (c->wire.is_doomed)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (c->stream_count >= STREAMS_HELD_MAX) {
        h2_wire_glitch(&c->wire, H2_COST_RESET);
        return nghttp2_submit_rst_stream(session, 0, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM) ==
                       0
                   ? 0
                   : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    c->block_stream = frame->hd.stream_id;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    (void)session, (void)frame, (void)flags;
    if (c->block_stream == 0)
        c->block.failed = ERR_HEAD_TOO_LARGE; /* counted, not kept */
    h2_block_add(&c->block, span((const char *)name, name_n), span((const char *)value, value_n));
    if (c->block.bytes > HEAD_FLOOD)
        h2_wire_glitch(&c->wire, H2_GLITCHES_MAX);
    return c->wire.is_doomed ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_n, const uint8_t *value,
                             size_t value_n, uint8_t flags, void *user_data)
{
    (void)session, (void)frame, (void)name, (void)name_n, (void)value, (void)value_n, (void)flags;
    h2_wire_glitch(user_data, H2_COST_IDLE);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nghttp2 would drop the field and go on */
}

static void end_block(struct h2_connection *c, const nghttp2_frame *frame)
{
    const bool has_body = !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (c->block_stream == frame->hd.stream_id)
        start_request(c, frame->hd.stream_id, has_body);
    c->block_stream = 0;
    c->block_is_open = false;
    h2_block_clear(&c->block);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    struct h2_stream *s = frame->hd.stream_id ? find_stream(c, frame->hd.stream_id) : NULL;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        end_block(c, frame);
        if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            h2_stream_end_data(s);
        break;
    case NGHTTP2_DATA:
        if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            h2_stream_end_data(s);
        break;
    case NGHTTP2_SETTINGS:
        c->idle_since_ns = c->has_settings ? c->idle_since_ns : loop_now();
        c->has_settings = true;
        break;
    case NGHTTP2_RST_STREAM:
        if (!s || !s->source.end_was_sent)
            h2_wire_glitch(&c->wire, H2_COST_RESET);
        break;
    case NGHTTP2_PING: /* the answer to ours: what the caller sent before the notice is here */
        if (frame->hd.flags & NGHTTP2_FLAG_ACK && c->is_draining && !c->said_goaway)
            c->drain_since_ns = loop_now() - DRAIN_NOTICE_NS;
        break;
    default:
        break;
    }
    return 0;
}

/* Its RST_STREAM is queued. The request ends now, and one that has not begun never does. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    struct h2_stream *s = frame->hd.stream_id ? find_stream(c, frame->hd.stream_id) : NULL;
    (void)session, (void)error;
    if (s && s->rq) {
        s->is_broken = true;
        if (s->rq->fiber)
            fiber_cancel(s->rq->fiber, CANCEL_CLIENT_GONE);
    }
    if (frame->hd.type == NGHTTP2_HEADERS)
        c->block_is_open = false;
    if (frame->hd.stream_id)
        note_dropped(c, frame->hd.stream_id);
    h2_wire_glitch(&c->wire, H2_COST_RESET);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                         size_t n, void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    struct h2_stream *s = find_stream(c, id);
    (void)flags;
    if (s)
        h2_stream_take_data(s, span((const char *)bytes, n));
    else if (nghttp2_session_consume_connection(session, n) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = of_user_data(user_data);
    struct h2_stream *s = frame->hd.stream_id ? find_stream(c, frame->hd.stream_id) : NULL;
    h2_wire_note_send(&c->wire, frame);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        note_dropped(c, frame->hd.stream_id);
    if (!s || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS))
        return 0;
    s->source.end_was_sent = true;
    if (s->source.waiter)
        fiber_wake(s->source.waiter);
    /* RFC 9113 section 8.1: the answer is complete, the rest of the request is not wanted. */
    if (!s->body_ended &&
        nghttp2_submit_rst_stream(session, 0, frame->hd.stream_id, NGHTTP2_NO_ERROR) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    struct h2_stream *s = find_stream(of_user_data(user_data), id);
    (void)session, (void)error;
    if (s)
        end_stream(s);
    return 0;
}

static void set_callbacks(nghttp2_session_callbacks *to)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(to, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(to, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(to, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(to, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close);
}

/* --- the wire's owner ------------------------------------------------------------------------- */

static void on_turn(struct h2_wire *w)
{
    if (h2_wire_is_open(w))
        set_timer(of_wire(w));
}

static void on_closed(struct h2_wire *w, enum err why)
{
    struct h2_connection *c = of_wire(w);
    (void)why;
    timer_stop(&c->timer);
    h2_block_clear(&c->block);
    LIST_EACH(&c->streams, struct h2_stream, link, s)
        if (!s->is_closed)
            end_stream(s);
}

/* It stays on the server's list until its last fiber has ended: the server must outlive them. */
static void release(struct h2_wire *w)
{
    struct h2_connection *c = of_wire(w);
    server_remove(&c->base);
    mem_free(c);
}

static const struct h2_wire_owner owner = {.set_callbacks = set_callbacks,
                                           .on_frame = on_frame,
                                           .on_turn = on_turn,
                                           .on_closed = on_closed,
                                           .release = release};

static void on_event(struct io *io)
{
    h2_wire_on_event(&CONTAINER_OF(io, struct h2_connection, base.stream.io)->wire);
}

/* In two steps: a notice, whose PING tells when the caller has read it; then the last stream that
 * is taken. So no request that is on its way meanwhile is lost. */
static void drain(struct http_connection *base)
{
    struct h2_connection *c = CONTAINER_OF(base, struct h2_connection, base);
    if (c->is_draining || !h2_wire_is_open(&c->wire))
        return;
    c->is_draining = true;
    c->drain_since_ns = loop_now();
    if (nghttp2_submit_shutdown_notice(c->wire.session) != 0 ||
        nghttp2_submit_ping(c->wire.session, NGHTTP2_FLAG_NONE, NULL) != 0)
        c->drain_since_ns = loop_now() - DRAIN_NOTICE_NS;
    h2_wire_schedule(&c->wire);
}

static void abort_connection(struct http_connection *base)
{
    struct h2_connection *c = CONTAINER_OF(base, struct h2_connection, base);
    LIST_EACH(&c->streams, struct h2_stream, link, s)
        if (s->rq && s->rq->fiber)
            fiber_cancel(s->rq->fiber, CANCEL_DRAIN);
    h2_wire_close(&c->wire, ERR_CANCELLED);
}

static struct h2_connection *new_connection(const struct sockaddr_storage *peer, int tag)
{
    struct h2_connection *c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->base.peer = *peer;
    c->base.listener_tag = tag;
    c->base.drain = drain;
    c->base.abort = abort_connection;
    list_init(&c->streams);
    timer_init(&c->timer, on_timer);
    c->opened_ns = c->idle_since_ns = loop_now();
    return c;
}

void h2_connection_start(struct http_server *s, struct stream *stream,
                         const struct sockaddr_storage *peer, int tag, struct span bytes)
{
    struct h2_connection *c = new_connection(peer, tag);
    if (!c || h2_wire_init(&c->wire, H2_SERVER, &c->base.stream, &owner) != ERR_OK) {
        mem_free(c);
        stream_close(stream);
        return;
    }
    server_add(s, &c->base);
    enum err e = stream_move(&c->base.stream, stream, on_event);
    if (e != ERR_OK) {
        h2_wire_close(&c->wire, e);
        return;
    }
    if (bytes.n)
        h2_wire_feed(&c->wire, bytes);
    if (h2_wire_is_open(&c->wire) && stream_is_readable(&c->base.stream))
        h2_wire_on_event(&c->wire);
    else if (h2_wire_is_open(&c->wire))
        h2_wire_schedule(&c->wire); /* our SETTINGS */
    if (s->is_draining)
        drain(&c->base);
}
