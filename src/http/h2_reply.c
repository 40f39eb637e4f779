/* A request that came by HTTP/2, in its fiber: its body, its answer. See h2_server_impl.h. */
#include "base/sys.h"
#include "http/h2_server_impl.h"

enum {
    BODY_FIRST = 2048,          /* the class of 4 KiB */
    BODY_ROOM_MAX = 256 * 1000, /* taken at once for a length that was only promised */
    BODY_WINDOW = 1024 * 1024,  /* once somebody reads: bodies are read whole anyway */
    REFUSAL_ROOM = 1024,
    OWN_FIELDS_MAX = 3, /* :status, date, content-length */
};

static nghttp2_session *session_of(const struct h2_stream *s)
{
    return s->connection->wire.session;
}

/* --- the request's body ----------------------------------------------------------------------- */

static void consume(struct h2_stream *s)
{
    const size_t n = s->unconsumed;
    s->unconsumed = 0;
    if (n == 0 || !h2_wire_is_open(&s->connection->wire))
        return;
    /* Out of memory: the window stays smaller, and the body times out. */
    (void)nghttp2_session_consume(session_of(s), s->id, n);
}

static enum err make_room(struct h2_stream *s, size_t n)
{
    const size_t have = s->body ? s->body->n : 0;
    if (s->body && s->body->room - have >= n)
        return ERR_OK;
    size_t room = MAX(MAX(s->is_reading ? have * 2 : MIN(have * 2, (size_t)H2_WINDOW), have + n),
                      (size_t)BODY_FIRST);
    const struct http_head *head = &s->rq->head;
    if (s->is_reading && head->has_content_length && have + n <= head->content_length) {
        const size_t promised = (size_t)MIN(head->content_length, (uint64_t)BODY_ROOM_MAX);
        room = (size_t)MIN(MAX((uint64_t)room, promised), head->content_length);
    }
    struct buffer *wider = buffer_take(room);
    if (!wider)
        return ERR_OVERLOADED;
    if (have)
        memcpy(wider->p, s->body->p, have);
    wider->n = have;
    buffer_put(s->body);
    s->body = wider;
    return ERR_OK;
}

static enum err append(struct h2_stream *s, struct span bytes)
{
    if (bytes.n > s->rq->settings->body_max - MIN(s->received, s->rq->settings->body_max))
        return ERR_TOO_LARGE;
    TRY(make_room(s, bytes.n));
    memcpy(s->body->p + s->body->n, bytes.p, bytes.n);
    s->body->n += bytes.n;
    s->received += bytes.n;
    return ERR_OK;
}

static void discard_body(struct h2_stream *s)
{
    s->is_discarding = true;
    buffer_put(s->body);
    s->body = NULL;
    consume(s);
}

void h2_stream_take_data(struct h2_stream *s, struct span bytes)
{
    s->unconsumed += bytes.n;
    s->heard_ns = loop_now();
    if (s->rq && !s->is_discarding) {
        s->body_failed = append(s, bytes);
        if (s->body_failed != ERR_OK)
            discard_body(s);
    }
    if (s->is_reading || s->is_discarding || !s->rq)
        consume(s);
    if (s->reader && s->body_failed != ERR_OK)
        fiber_wake(s->reader);
}

void h2_stream_end_data(struct h2_stream *s)
{
    s->body_ended = true;
    if (s->reader)
        fiber_wake(s->reader);
}

static enum err body_failure(struct h2_stream *s)
{
    struct http_request *rq = s->rq;
    if (s->body_failed == ERR_TOO_LARGE)
        return fail(&rq->failure, ERR_TOO_LARGE, "the body is larger than %llu bytes",
                    (unsigned long long)rq->settings->body_max);
    return fail(&rq->failure, s->body_failed, "no room for the body");
}

/* RFC 9110 section 10.1.1: an interim answer, unless the body is on its way already. */
static enum err send_continue(struct h2_stream *s)
{
    if (!s->rq->head.expects_continue || s->received > 0)
        return ERR_OK;
    const nghttp2_nv status = h2_pair(SPAN(":status"), SPAN("100"));
    TRY(h2_err(
        nghttp2_submit_headers(session_of(s), NGHTTP2_FLAG_NONE, s->id, NULL, &status, 1, NULL)));
    h2_wire_pump(&s->connection->wire);
    return ERR_OK;
}

/* From here on the caller may send faster than a stream's window: the body is kept whole. */
static enum err begin_reading(struct h2_stream *s)
{
    s->is_reading = true;
    s->heard_ns = loop_now();
    consume(s);
    TRY(h2_err(nghttp2_session_set_local_window_size(session_of(s), NGHTTP2_FLAG_NONE, s->id,
                                                     BODY_WINDOW)));
    TRY(send_continue(s));
    h2_wire_schedule(&s->connection->wire);
    return ERR_OK;
}

static SUSPENDS enum err await_body(struct h2_stream *s)
{
    const int64_t patience_ns = s->rq->settings->body_timeout_ns;
    s->reader = fiber_self();
    enum err e = ERR_OK;
    while (e == ERR_OK && !s->body_ended && !s->is_closed && s->body_failed == ERR_OK) {
        e = fiber_park("the body of the request", s->heard_ns + patience_ns);
        if (e == ERR_TIMEOUT && loop_now() < s->heard_ns + patience_ns)
            e = ERR_OK; /* it moved meanwhile */
    }
    s->reader = NULL;
    return e;
}

static SUSPENDS enum err read_body(struct http_request *rq)
{
    struct h2_stream *s = rq->connection;
    const struct http_head *head = &rq->head;
    if (head->framing == HTTP_BODY_NONE)
        return ERR_OK;
    if (s->body_failed == ERR_OK && head->has_content_length &&
        head->content_length > rq->settings->body_max)
        s->body_failed = ERR_TOO_LARGE;
    enum err e = ERR_OK;
    if (s->body_failed == ERR_OK && !s->body_ended && !s->is_closed) {
        TRY(begin_reading(s));
        e = await_body(s);
    }
    if (s->body_failed != ERR_OK)
        return body_failure(s);
    if (s->is_closed && !s->body_ended)
        return ERR_CLOSED;
    TRY(e);
    rq->body = s->body ? span(s->body->p, s->body->n) : (struct span){0};
    return ERR_OK;
}

static void drop_body(struct http_request *rq)
{
    discard_body(rq->connection);
}

/* --- the head of the answer ------------------------------------------------------------------- */

/* nghttp2 writes what it is given: a value that cannot stand in a head ends here. */
static enum err add_pairs(const struct http_reply_head *head, nghttp2_nv *pairs, size_t *count)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        if (!http_is_token(f->name) || !http_is_value(f->value))
            return ERR_BAD_REQUEST;
        if (!h2_is_connection_field(f->name))
            pairs[(*count)++] = h2_pair(f->name, f->value);
    }
    return ERR_OK;
}

static struct span number_text(char out[24], uint64_t value)
{
    struct builder b;
    builder_init_fixed(&b, out, 24);
    builder_add_u64(&b, value);
    return builder_span(&b);
}

/* Queues HEADERS; the body follows from the source. */
static enum err submit_head(struct h2_stream *s, const struct http_reply_head *head,
                            uint64_t body_bytes)
{
    struct http_request *rq = s->rq;
    if (s->is_closed)
        return ERR_CLOSED;
    const bool may_have_body = head->status != 204 && head->status != 304;
    nghttp2_nv *pairs =
        arena_alloc(&rq->arena, (head->field_count + OWN_FIELDS_MAX) * sizeof *pairs);
    TRY_ALLOC(pairs);
    char status[24], length[24];
    size_t count = 0;
    pairs[count++] = h2_pair(SPAN(":status"), number_text(status, (uint64_t)head->status));
    pairs[count++] = h2_pair(SPAN("date"), http_date());
    TRY(add_pairs(head, pairs, &count));
    if (may_have_body && body_bytes != HTTP_LENGTH_UNKNOWN)
        pairs[count++] = h2_pair(SPAN("content-length"), number_text(length, body_bytes));
    s->answer_is_empty = !may_have_body || rq->head.method == HTTP_HEAD || body_bytes == 0;
    const nghttp2_data_provider provider = h2_source_provider(&s->source);
    TRY(h2_err(nghttp2_submit_response(session_of(s), s->id, pairs, count,
                                       s->answer_is_empty ? NULL : &provider)));
    rq->status = head->status;
    return ERR_OK;
}

/* --- its body --------------------------------------------------------------------------------- */

static bool has_left(const struct h2_stream *s)
{
    return s->answer_is_empty ? s->source.end_was_sent : h2_source_is_done(&s->source);
}

/* Waits until the source is in the connection's buffer. What can leave without waiting does, for
 * cancelled fibers too: they may still say why they end. */
static SUSPENDS enum err await_sent(struct h2_stream *s)
{
    const int64_t patience_ns = s->rq->settings->write_timeout_ns;
    enum err e = ERR_OK;
    h2_wire_pump(&s->connection->wire);
    s->source.waiter = fiber_self();
    while (e == ERR_OK && !has_left(s) && !s->is_closed) {
        e = fiber_park("room in the caller's window", s->source.moved_ns + patience_ns);
        if (e == ERR_TIMEOUT && loop_now() < s->source.moved_ns + patience_ns)
            e = ERR_OK;
    }
    s->source.waiter = NULL;
    if (has_left(s))
        return ERR_OK;
    h2_source_clear(&s->source);
    s->connection->base.server->stats.timeouts += e == ERR_TIMEOUT;
    return s->is_closed ? ERR_CLOSED : e;
}

/* Pieces for the stream, which are all that is left when `is_last`. */
static SUSPENDS enum err send_pieces(struct h2_stream *s, const struct span *parts, size_t count,
                                     bool is_last)
{
    if (s->is_closed)
        return ERR_CLOSED;
    h2_source_set(&s->source, parts, count, is_last);
    if (!s->answer_is_empty &&
        h2_err(nghttp2_session_resume_data(session_of(s), s->id)) == ERR_NO_MEMORY) {
        h2_source_clear(&s->source);
        return ERR_NO_MEMORY;
    }
    return await_sent(s);
}

static uint64_t bytes_of(const struct span *parts, size_t count)
{
    uint64_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += parts[i].n;
    return n;
}

static SUSPENDS enum err reply(struct http_request *rq, const struct http_reply_head *head,
                               const struct span *body, size_t body_parts)
{
    struct h2_stream *s = rq->connection;
    const uint64_t bytes = bytes_of(body, body_parts);
    TRY(submit_head(s, head, bytes));
    rq->body_sent = bytes;
    return send_pieces(s, body, s->answer_is_empty ? 0 : body_parts, true);
}

/* Queued only: the head leaves with what comes next, or with flush. */
static SUSPENDS enum err begin(struct http_request *rq, const struct http_reply_head *head,
                               uint64_t body_bytes)
{
    struct h2_stream *s = rq->connection;
    s->reply_left = body_bytes;
    return submit_head(s, head, body_bytes);
}

static SUSPENDS enum err write_pieces(struct http_request *rq, const struct span *pieces,
                                      size_t count, size_t bytes)
{
    struct h2_stream *s = rq->connection;
    if (s->answer_is_empty)
        return s->is_closed && !s->source.end_was_sent ? ERR_CLOSED : ERR_OK;
    if (s->reply_left != HTTP_LENGTH_UNKNOWN) {
        ASSERT(bytes <= s->reply_left);
        s->reply_left -= bytes;
    }
    /* The last byte of a known length ends the stream: no empty frame follows. */
    TRY(send_pieces(s, pieces, count, s->reply_left == 0));
    rq->body_sent += bytes;
    return fiber_did_work();
}

static SUSPENDS enum err flush_reply(struct http_request *rq)
{
    struct h2_stream *s = rq->connection;
    h2_wire_pump(&s->connection->wire);
    return s->is_closed && !s->source.end_was_sent ? ERR_CLOSED : ERR_OK;
}

static SUSPENDS enum err end_reply(struct http_request *rq)
{
    struct h2_stream *s = rq->connection;
    if (s->answer_is_empty) {
        s->source.moved_ns = loop_now();
        return await_sent(s);
    }
    ASSERT(s->reply_left == HTTP_LENGTH_UNKNOWN || s->reply_left == 0);
    if (s->source.end_was_sent)
        return ERR_OK;
    return send_pieces(s, NULL, 0, true);
}

static void cut(struct http_request *rq)
{
    struct h2_stream *s = rq->connection;
    if (s->is_closed || s->was_cut)
        return;
    s->was_cut = true;
    h2_source_clear(&s->source);
    if (nghttp2_submit_rst_stream(session_of(s), NGHTTP2_FLAG_NONE, s->id,
                                  NGHTTP2_INTERNAL_ERROR) != 0)
        h2_wire_close(&s->connection->wire, ERR_NO_MEMORY);
    else
        h2_wire_schedule(&s->connection->wire);
}

const struct http_reply_ops h2_reply_ops = {
    .read_body = read_body,
    .drop_body = drop_body,
    .reply = reply,
    .begin = begin,
    .write = write_pieces,
    .flush = flush_reply,
    .end = end_reply,
    .cut = cut,
};

void h2_stream_served(struct h2_stream *s)
{
    ASSERT(s->reader == NULL);
    ASSERT(s->source.waiter == NULL);
    discard_body(s);
}

/* --- answers without a fiber ------------------------------------------------------------------ */

static struct span refusal_text(struct buffer *room, enum err code, const char *why)
{
    const struct err_info *info = err_info(code);
    struct builder text;
    builder_init_fixed(&text, room->p, room->room);
    builder_printf(&text,
                   "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,"
                   "\"code\":\"%s\"}}\n",
                   why ? why : info->text, info->type, info->code);
    return builder_span(&text);
}

static int submit_refusal(struct h2_stream *s, enum err code)
{
    char status[24], length[24];
    const struct err_info *info = err_info(code);
    nghttp2_nv pairs[OWN_FIELDS_MAX + 2];
    size_t count = 0;
    pairs[count++] = h2_pair(SPAN(":status"), number_text(status, (uint64_t)info->status));
    pairs[count++] = h2_pair(SPAN("date"), http_date());
    pairs[count++] = h2_pair(SPAN("content-type"), SPAN("application/json"));
    pairs[count++] = h2_pair(SPAN("content-length"), number_text(length, s->refusal.n));
    if (info->status == 503)
        pairs[count++] = h2_pair(SPAN("retry-after"), SPAN("1"));
    const nghttp2_data_provider provider = h2_source_provider(&s->source);
    return nghttp2_submit_response(session_of(s), s->id, pairs, count, &provider);
}

void h2_stream_refuse(struct h2_stream *s, enum err code, const char *why)
{
    s->body = buffer_take(REFUSAL_ROOM);
    if (s->body) {
        s->refusal = refusal_text(s->body, code, why);
        h2_source_set(&s->source, &s->refusal, 1, true);
        if (submit_refusal(s, code) == 0)
            return;
    }
    s->was_cut = true;
    (void)nghttp2_submit_rst_stream(session_of(s), NGHTTP2_FLAG_NONE, s->id,
                                    NGHTTP2_REFUSED_STREAM);
}
