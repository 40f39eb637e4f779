/* HTTP/1.1: the body of a request, and its answer. Runs in the request's fiber. */
#include "base/sys.h"
#include "http/chunk.h"
#include "http/h1_impl.h"
#include "http/h1_write.h"

enum { REPLY_HEAD_MAX = 64 * 1024 };

/* --- the request's body ----------------------------------------------------------------------- */

void h1_drop_request_body(struct h1_connection *c)
{
    buffer_put(c->body);
    c->body = NULL;
    builder_deinit(&c->chunks);
}

bool h1_has_unread_body(const struct h1_connection *c)
{
    const struct http_head *head = &c->rq->head;
    return !c->request_is_read && (head->framing == HTTP_BODY_CHUNKED || head->content_length > 0);
}

void h1_reset_when_closed(struct h1_connection *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->base.stream.io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static SUSPENDS enum err send_continue(struct h1_connection *c)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!c->rq->head.expects_continue || c->rq->head.minor == 0)
        return ERR_OK;
    struct iovec part = {(void *)(uintptr_t)interim, sizeof interim - 1};
    return stream_write(&c->base.stream, &part, 1, loop_now() + c->rq->settings->write_timeout_ns);
}

static enum err too_large(struct http_request *rq)
{
    return fail(&rq->failure, ERR_TOO_LARGE, "the body is larger than %llu bytes",
                (unsigned long long)rq->settings->body_max);
}

/* What came with the head is copied once; the rest is read to its place, and not a byte more. */
static SUSPENDS enum err read_length(struct h1_connection *c)
{
    struct http_request *rq = c->rq;
    if (rq->head.content_length > rq->settings->body_max)
        return too_large(rq);
    size_t n = (size_t)rq->head.content_length;
    struct span here = buffer_rest(c->buffer);
    if (here.n >= n) {
        rq->body = span(here.p, n);
        c->buffer->at += n;
        return ERR_OK;
    }
    c->body = buffer_take(n);
    if (!c->body)
        return fail(&rq->failure, ERR_OVERLOADED, "no room for a body of %zu bytes", n);
    memcpy(c->body->p, here.p, here.n);
    c->body->n = here.n;
    c->buffer->at += here.n;
    if (here.n == 0)
        TRY(send_continue(c));
    while (c->body->n < n) {
        size_t got;
        int64_t deadline = loop_now() + rq->settings->body_timeout_ns;
        TRY(stream_read(&c->base.stream, c->body->p + c->body->n, n - c->body->n, deadline, &got));
        c->body->n += got;
    }
    rq->body = span(c->body->p, n);
    return ERR_OK;
}

/* The head's spans point into the buffer that came with it, so further pieces of a chunked body go
 * to another one. */
static SUSPENDS enum err read_spill(struct h1_connection *c)
{
    if (!c->spill)
        c->spill = buffer_take(H1_RECEIVE_MIN);
    TRY_ALLOC(c->spill);
    size_t got;
    int64_t deadline = loop_now() + c->rq->settings->body_timeout_ns;
    c->spill->n = c->spill->at = 0;
    TRY(stream_read(&c->base.stream, c->spill->p, c->spill->room, deadline, &got));
    c->spill->n = got;
    return ERR_OK;
}

static SUSPENDS enum err decode_chunks(struct h1_connection *c, struct chunk_decoder *d)
{
    struct buffer *from = c->buffer;
    while (!chunk_is_done(d)) {
        struct span rest = buffer_rest(from), payload;
        enum err e = chunk_next(d, &rest, &payload);
        from->at = from->n - rest.n;
        if (e == ERR_AGAIN) {
            TRY(read_spill(c));
            from = c->spill;
            continue;
        }
        TRY(e);
        builder_add(&c->chunks, payload);
        TRY(builder_check(&c->chunks));
    }
    return ERR_OK;
}

static SUSPENDS enum err read_chunked(struct h1_connection *c)
{
    struct http_request *rq = c->rq;
    struct chunk_decoder d;
    chunk_decoder_init(&d, rq->settings->body_max);
    builder_init(&c->chunks, (size_t)MIN(rq->settings->body_max, (uint64_t)SIZE_MAX));
    if (buffer_rest(c->buffer).n == 0)
        TRY(send_continue(c));
    enum err e = decode_chunks(c, &d);
    if (e == ERR_TOO_LARGE)
        return too_large(rq);
    if (e == ERR_BAD_REQUEST)
        return fail(&rq->failure, e, "%s", d.why);
    if (e == ERR_NO_MEMORY)
        return fail(&rq->failure, ERR_OVERLOADED, "no room for the body");
    TRY(e);
    rq->body = builder_span(&c->chunks);
    return ERR_OK;
}

static SUSPENDS enum err h1_read_body(struct http_request *rq)
{
    struct h1_connection *c = rq->connection;
    if (c->request_is_read || rq->head.framing == HTTP_BODY_NONE)
        return ERR_OK;
    enum err e = rq->head.framing == HTTP_BODY_LENGTH ? read_length(c) : read_chunked(c);
    if (e == ERR_OK)
        c->request_is_read = true;
    else
        c->keep_alive = false; /* where the next request begins is not known */
    return e;
}

static void h1_drop_body(struct http_request *rq)
{
    h1_drop_request_body(rq->connection);
}

/* --- the answer ------------------------------------------------------------------------------- */

static void write_framing(struct h1_writer *w, const struct http_request *rq,
                          const struct http_reply_head *head, uint64_t body_bytes, bool keep_alive)
{
    bool has_body = head->status != 204 && head->status != 304;
    if (has_body && body_bytes != HTTP_LENGTH_UNKNOWN)
        h1_own_field_u64(w, SPAN("Content-Length"), body_bytes);
    else if (has_body && rq->head.minor == 1)
        h1_own_field(w, SPAN("Transfer-Encoding"), SPAN("chunked"));
    if (!keep_alive)
        h1_own_field(w, SPAN("Connection"), SPAN("close"));
    else if (rq->head.minor == 0)
        h1_own_field(w, SPAN("Connection"), SPAN("keep-alive"));
}

enum err h1_write_reply_head(struct builder *out, const struct http_request *rq,
                             const struct http_reply_head *head, uint64_t body_bytes,
                             bool keep_alive)
{
    struct h1_writer w;
    h1_begin_response(&w, out, head->status);
    h1_own_field(&w, SPAN("Date"), http_date());
    for (size_t i = 0; i < head->field_count; i++)
        h1_own_field(&w, head->fields[i].name, head->fields[i].value);
    write_framing(&w, rq, head, body_bytes, keep_alive);
    return h1_end(&w);
}

/* Heads are built here and leave at once; what the socket does not take moves to the arena. */
static _Thread_local char scratch[REPLY_HEAD_MAX];

static enum err build_head(struct h1_connection *c, const struct http_reply_head *head,
                           uint64_t body_bytes, struct span *text)
{
    struct builder out;
    builder_init_fixed(&out, scratch, sizeof scratch);
    if (c->base.server->is_draining || h1_has_unread_body(c) ||
        (body_bytes == HTTP_LENGTH_UNKNOWN && c->rq->head.minor == 0))
        c->keep_alive = false;
    TRY(h1_write_reply_head(&out, c->rq, head, body_bytes, c->keep_alive));
    *text = builder_span(&out);
    return ERR_OK;
}

static struct iovec part_of(struct span s)
{
    return (struct iovec){(void *)(uintptr_t)s.p, s.n};
}

/* One try, and then the waiting way. Only parts[0] may lie in scratch. */
static SUSPENDS enum err send_all(struct h1_connection *c, struct iovec *parts, int count)
{
    size_t done = 0;
    enum err e = stream_try_write(&c->base.stream, parts, count, &done);
    if (e != ERR_OK && e != ERR_AGAIN)
        return e;
    size_t first = parts[0].iov_len;
    if (done < first && parts[0].iov_base == scratch) {
        struct span rest = span(scratch, first), own;
        if (!arena_dup(&c->rq->arena, rest, &own))
            return ERR_NO_MEMORY;
        parts[0] = part_of(own);
    }
    count = iovec_advance(&parts, count, done);
    if (count == 0)
        return ERR_OK;
    return stream_write(&c->base.stream, parts, count,
                        loop_now() + c->rq->settings->write_timeout_ns);
}

static SUSPENDS enum err note_write(struct h1_connection *c, enum err e)
{
    if (e == ERR_OK)
        return e;
    c->keep_alive = false;
    c->was_aborted = true; /* the answer is broken off: nothing more may follow */
    c->base.server->stats.timeouts += e == ERR_TIMEOUT;
    return e;
}

static SUSPENDS enum err h1_reply(struct http_request *rq, const struct http_reply_head *head,
                                  const struct span *body, size_t body_parts)
{
    struct h1_connection *c = rq->connection;
    struct iovec parts[HTTP_PIECES_MAX + 1];
    struct span text;
    uint64_t bytes = 0;
    int count = 1;
    for (size_t i = 0; i < body_parts; i++)
        bytes += body[i].n;
    TRY(build_head(c, head, bytes, &text));
    rq->status = head->status;
    rq->body_sent = bytes;
    parts[0] = part_of(text);
    for (size_t i = 0; i < body_parts && rq->head.method != HTTP_HEAD; i++)
        if (body[i].n)
            parts[count++] = part_of(body[i]);
    return note_write(c, send_all(c, parts, count));
}

static SUSPENDS enum err h1_begin(struct http_request *rq, const struct http_reply_head *head,
                                  uint64_t body_bytes)
{
    struct h1_connection *c = rq->connection;
    struct span text;
    TRY(build_head(c, head, body_bytes, &text));
    if (!arena_dup(&rq->arena, text, &c->pending_head))
        return ERR_NO_MEMORY;
    rq->status = head->status;
    c->reply_left = body_bytes;
    c->reply_is_chunked = body_bytes == HTTP_LENGTH_UNKNOWN && rq->head.minor == 1;
    return ERR_OK;
}

static SUSPENDS enum err h1_write(struct http_request *rq, const struct span *pieces,
                                  size_t piece_count, size_t bytes)
{
    struct h1_connection *c = rq->connection;
    struct iovec parts[HTTP_PIECES_MAX + 3];
    char line[CHUNK_HEAD_MAX];
    int count = 0;
    if (c->reply_left != HTTP_LENGTH_UNKNOWN) {
        ASSERT(bytes <= c->reply_left);
        c->reply_left -= bytes;
    }
    if (c->pending_head.n)
        parts[count++] = part_of(c->pending_head);
    c->pending_head = (struct span){0};
    if (rq->head.method == HTTP_HEAD)
        return count ? note_write(c, send_all(c, parts, count)) : ERR_OK;
    if (c->reply_is_chunked)
        parts[count++] = (struct iovec){line, chunk_write_head(line, bytes)};
    for (size_t i = 0; i < piece_count; i++)
        if (pieces[i].n)
            parts[count++] = part_of(pieces[i]);
    if (c->reply_is_chunked)
        parts[count++] = part_of(CHUNK_END);
    rq->body_sent += bytes;
    return note_write(c, send_all(c, parts, count));
}

static SUSPENDS enum err h1_flush(struct http_request *rq)
{
    struct h1_connection *c = rq->connection;
    struct iovec part = part_of(c->pending_head);
    c->pending_head = (struct span){0};
    return part.iov_len ? note_write(c, send_all(c, &part, 1)) : ERR_OK;
}

static SUSPENDS enum err h1_end_reply(struct http_request *rq)
{
    struct h1_connection *c = rq->connection;
    struct iovec parts[2];
    int count = 0;
    if (c->reply_left != HTTP_LENGTH_UNKNOWN && rq->head.method != HTTP_HEAD)
        ASSERT(c->reply_left == 0);
    if (c->pending_head.n)
        parts[count++] = part_of(c->pending_head);
    c->pending_head = (struct span){0};
    if (c->reply_is_chunked && rq->head.method != HTTP_HEAD)
        parts[count++] = part_of(CHUNK_LAST);
    return count ? note_write(c, send_all(c, parts, count)) : ERR_OK;
}

static void h1_cut(struct http_request *rq)
{
    struct h1_connection *c = rq->connection;
    if (rq->status == 0)
        h1_reset_when_closed(c);
    c->keep_alive = false;
    c->was_aborted = true;
}

const struct http_reply_ops h1_ops = {
    .read_body = h1_read_body,
    .drop_body = h1_drop_body,
    .reply = h1_reply,
    .begin = h1_begin,
    .write = h1_write,
    .flush = h1_flush,
    .end = h1_end_reply,
    .cut = h1_cut,
};
