#include "http/client.h"

#include "base/sys.h"
#include "http/chunk.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/upstream.h"

enum {
    RECEIVE_MIN = 8192, /* room to read to; one buffer of the usual size */
    REQUEST_HEAD_MAX = 64 * 1024,
    PARTS_MAX = 64, /* pieces of a body */
};

/* Heads are built here and leave at once; what the socket does not take moves to the arena. */
static _Thread_local char scratch[REQUEST_HEAD_MAX];
static _Thread_local struct http_field shared_fields[HTTP_FIELDS_MAX];

static struct iovec part_of(struct span s)
{
    return (struct iovec){(void *)(uintptr_t)s.p, s.n};
}

static uint64_t body_bytes(const struct http_call_request *rq)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rq->body_parts; i++)
        n += rq->body[i].n;
    return n;
}

static enum err build_head(const struct http_call_request *rq, struct span *head)
{
    struct builder out;
    struct h1_writer w;
    builder_init_fixed(&out, scratch, sizeof scratch);
    h1_begin_request(&w, &out, http_method_text(rq->method), rq->target);
    h1_own_field(&w, SPAN("Host"), rq->origin->authority);
    for (size_t i = 0; i < rq->field_count; i++)
        h1_own_field(&w, rq->fields[i].name, rq->fields[i].value);
    if (rq->body_parts || rq->method == HTTP_POST || rq->method == HTTP_PUT)
        h1_own_field_u64(&w, SPAN("Content-Length"), body_bytes(rq));
    TRY(h1_end(&w));
    *head = builder_span(&out);
    return ERR_OK;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* `sent` tells whether anything left. */
static SUSPENDS enum err send_request(struct http_call *call, const struct http_call_request *rq,
                                      struct arena *arena, bool *sent)
{
    ASSERT(rq->body_parts < PARTS_MAX);
    struct stream *stream = &call->connection->stream;
    struct iovec room[PARTS_MAX], *parts = room;
    struct span head;
    int count = 1;
    TRY(build_head(rq, &head));
    parts[0] = part_of(head);
    for (size_t i = 0; i < rq->body_parts; i++)
        if (rq->body[i].n)
            parts[count++] = part_of(rq->body[i]);
    size_t done = 0;
    enum err e = stream_try_write(stream, parts, count, &done);
    *sent = done > 0;
    if (e != ERR_OK && e != ERR_AGAIN)
        return e;
    if (done < head.n) {
        struct span own;
        if (!arena_dup(arena, head, &own))
            return ERR_NO_MEMORY;
        parts[0] = part_of(own);
    }
    count = iovec_advance(&parts, count, done);
    if (count == 0)
        return ERR_OK;
    *sent = true;
    return stream_write(stream, parts, count, rq->first_byte_deadline);
}

/* A connection that is connected, with the request on it. A pooled one that is found dead before a
 * byte was taken is replaced once; after that the provider may have acted on what it got. */
static SUSPENDS enum err take_and_send(struct http_client *c, const struct http_call_request *rq,
                                       struct arena *arena, struct http_call *call,
                                       struct failure *why)
{
    for (int attempt = 0;; attempt++) {
        TRY(upstream_take(c, rq->origin, attempt > 0, rq->connect_deadline, &call->connection,
                          why));
        call->connection_was_reused = call->connection->calls > 0;
        bool sent = false, is_untouched = false;
        if (call->connection->session) {
            struct h2_session *session = call->connection->session;
            call->connection->calls++;
            call->connection = NULL; /* the session keeps count of its calls */
            enum err e = h2_call_start(session, rq, arena, call, &is_untouched, why);
            if (e == ERR_OK || !is_untouched || attempt > 0)
                return e;
            *why = (struct failure){0};
            c->stats.stale++;
            continue;
        }
        enum err e = send_request(call, rq, arena, &sent);
        if (e == ERR_OK || (e == ERR_CLOSED && sent))
            return ERR_OK; /* refused half-way: the answer may say why */
        upstream_close(call->connection);
        call->connection = NULL;
        if (e != ERR_CLOSED || attempt > 0)
            return e;
        c->stats.stale++;
    }
}

/* --- the head of the answer ------------------------------------------------------------------- */

static bool own_fields(struct http_call *call, struct arena *arena, uint32_t room)
{
    if (call->head.fields != shared_fields)
        return true;
    struct http_field *own = arena_alloc(arena, MAX(room, 1u) * sizeof *own);
    if (!own)
        return false;
    memcpy(own, shared_fields, call->head.field_count * sizeof *own);
    call->head.fields = own;
    call->head.field_max = room;
    return true;
}

static void give_buffer_back(struct http_call *call)
{
    buffer_put(call->buffer);
    call->buffer = NULL;
}

/* More bytes behind those that are held. */
static SUSPENDS enum err receive(struct http_call *call, int64_t deadline)
{
    struct stream *stream = &call->connection->stream;
    struct buffer *b = call->buffer;
    for (;;) {
        size_t got;
        enum err e = stream_try_read(stream, b->p + b->n, b->room - b->n, &got);
        if (e == ERR_OK) {
            b->n += got;
            return ERR_OK;
        }
        if (e != ERR_AGAIN)
            return e;
        TRY(stream_wait_readable(stream, deadline));
    }
}

static enum err widen(struct http_call *call)
{
    struct buffer *old = call->buffer;
    if (old && old->n < old->room)
        return ERR_OK;
    struct span rest = old ? buffer_rest(old) : (struct span){0};
    struct buffer *wider = buffer_take(MAX(rest.n * 2, (size_t)RECEIVE_MIN));
    TRY_ALLOC(wider);
    if (rest.n)
        memcpy(wider->p, rest.p, rest.n);
    wider->n = rest.n;
    buffer_put(old); /* the parser notices that the bytes of its head have moved */
    call->buffer = wider;
    return ERR_OK;
}

static void begin_head(struct http_call *call, struct h1_parser *parser)
{
    http_head_init(&call->head, shared_fields, HTTP_FIELDS_MAX);
    h1_parser_init(parser);
}

static SUSPENDS enum err read_head(struct http_call *call, const struct http_call_request *rq,
                                   struct arena *arena, struct failure *why)
{
    struct h1_parser parser;
    struct stream *stream = &call->connection->stream;
    begin_head(call, &parser);
    /* The answer takes its time: no buffer is held until its first byte is here. */
    TRY(stream_wait_readable(stream, rq->first_byte_deadline));
    call->first_byte_ns = loop_now();
    for (;;) {
        TRY(widen(call));
        TRY(receive(call, rq->first_byte_deadline));
        enum err e;
        while ((e = h1_parse_response(&parser, buffer_rest(call->buffer), rq->method,
                                      &call->head)) == ERR_OK &&
               call->head.status < 200 && call->head.status != 101) {
            call->buffer->at += parser.consumed; /* an interim answer: the final one follows */
            begin_head(call, &parser);
        }
        if (e == ERR_OK)
            break;
        if (e != ERR_AGAIN)
            return fail(why, e, "%.*s sent no valid answer: %s", SPAN_ARG(rq->origin->name),
                        parser.why);
        if (!own_fields(call, arena, HTTP_FIELDS_MAX))
            return ERR_NO_MEMORY;
    }
    call->buffer->at += parser.consumed;
    if (!own_fields(call, arena, call->head.field_count))
        return ERR_NO_MEMORY;
    return call->head.status == 101 ? ERR_PROTOCOL : ERR_OK;
}

static enum err begin_body(struct http_call *call, struct arena *arena)
{
    call->may_reuse = call->head.keep_alive && call->head.framing != HTTP_BODY_UNTIL_CLOSE;
    call->body_left = call->head.content_length;
    call->is_complete = call->head.framing == HTTP_BODY_NONE ||
                        (call->head.framing == HTTP_BODY_LENGTH && call->body_left == 0);
    if (call->head.framing != HTTP_BODY_CHUNKED)
        return ERR_OK;
    call->decoder = ARENA_NEW(arena, struct chunk_decoder);
    TRY_ALLOC(call->decoder);
    chunk_decoder_init(call->decoder, UINT64_MAX);
    return ERR_OK;
}

static enum err explain(const struct http_call_request *rq, enum err e, struct failure *why)
{
    struct span name = rq->origin->name;
    switch (e) {
    case ERR_TIMEOUT:
        return fail(why, ERR_UPSTREAM_TIMEOUT, "%.*s did not answer in time", SPAN_ARG(name));
    case ERR_CLOSED:
        return fail(why, e, "%.*s closed the connection before it answered", SPAN_ARG(name));
    case ERR_IO:
        return fail(why, e, "the connection to %.*s failed", SPAN_ARG(name));
    default:
        return fail(why, e, "%s", err_info(e)->text);
    }
}

enum err http_call_start(struct http_client *c, const struct http_call_request *rq,
                         struct arena *arena, struct http_call *call, struct failure *why)
{
    *call = (struct http_call){.client = c};
    enum err e = take_and_send(c, rq, arena, call, why);
    if (e == ERR_OK && call->h2_stream)
        return ERR_OK;
    if (e == ERR_OK) {
        call->sent_ns = clock_ns();
        e = read_head(call, rq, arena, why);
    }
    if (e == ERR_OK)
        e = begin_body(call, arena);
    if (e == ERR_OK)
        return ERR_OK;
    const struct tls *tls = call->connection ? call->connection->stream.tls : NULL;
    if (e == ERR_TLS && tls) /* a refusal of our certificate comes only now */
        fail(why, e, "TLS with %.*s failed: %s", SPAN_ARG(rq->origin->name), tls_trouble(tls));
    call->may_reuse = false;
    http_call_end(call);
    return explain(rq, e, why);
}

enum err http_call_keep_head(struct http_call *call, struct arena *arena)
{
    struct http_head *head = &call->head;
    size_t here = call->buffer ? buffer_rest(call->buffer).n : 0;
    bool is_whole =
        call->is_complete || (head->framing == HTTP_BODY_LENGTH && here >= call->body_left);
    if (call->h2_stream || is_whole)
        return ERR_OK;
    for (uint32_t i = 0; i < head->field_count; i++) {
        struct http_field *f = &head->fields[i];
        if (!arena_dup(arena, f->name, &f->name) || !arena_dup(arena, f->value, &f->value))
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

/* --- the body --------------------------------------------------------------------------------- */

/* The next piece among the bytes that are held; ERR_AGAIN when more are needed. */
static enum err next_piece(struct http_call *call, struct span *piece)
{
    *piece = (struct span){0};
    if (call->is_complete)
        return ERR_OK;
    struct span rest = call->buffer ? buffer_rest(call->buffer) : (struct span){0};
    if (rest.n == 0)
        return ERR_AGAIN;
    if (call->head.framing == HTTP_BODY_CHUNKED) {
        struct span before = rest;
        enum err e = chunk_next(call->decoder, &rest, piece);
        call->buffer->at += before.n - rest.n;
        call->is_complete = e == ERR_OK && chunk_is_done(call->decoder);
        return e == ERR_BAD_REQUEST ? ERR_PROTOCOL : e;
    }
    if (call->head.framing == HTTP_BODY_LENGTH)
        rest.n = (size_t)MIN((uint64_t)rest.n, call->body_left);
    call->body_left -= rest.n;
    call->buffer->at += rest.n;
    call->is_complete = call->head.framing == HTTP_BODY_LENGTH && call->body_left == 0;
    *piece = rest;
    return ERR_OK;
}

static enum err refill(struct http_call *call)
{
    if (!call->buffer)
        call->buffer = buffer_take(RECEIVE_MIN);
    TRY_ALLOC(call->buffer);
    struct buffer *b = call->buffer;
    b->n = b->at = 0;
    size_t got;
    enum err e = stream_try_read(&call->connection->stream, b->p, b->room, &got);
    if (e == ERR_OK) {
        b->n = got;
        return ERR_OK;
    }
    give_buffer_back(call);
    if (e == ERR_CLOSED && call->head.framing == HTTP_BODY_UNTIL_CLOSE) {
        call->is_complete = true;
        return ERR_OK;
    }
    return e;
}

/* A piece, waiting for it if need be; an empty one is the end. */
enum err http_call_read(struct http_call *call, struct span *piece, int64_t deadline)
{
    fiber_may_suspend();
    if (call->h2_stream)
        return h2_call_read(call, piece, deadline);
    for (;;) {
        enum err e = next_piece(call, piece);
        if (e == ERR_OK)
            call->body_received += piece->n;
        if (e != ERR_AGAIN)
            return e;
        struct stream *stream = &call->connection->stream;
        if (stream_is_readable(stream)) {
            TRY(fiber_did_work());
        } else {
            give_buffer_back(call);
            TRY(stream_wait_readable(stream, deadline));
        }
        e = refill(call);
        if (e != ERR_OK && e != ERR_AGAIN)
            return e;
    }
}

enum err http_call_read_many(struct http_call *call, struct span *pieces, size_t max,
                             int64_t deadline, size_t *count)
{
    ASSERT(max > 0);
    *count = 0;
    TRY(http_call_read(call, &pieces[0], deadline));
    while (pieces[*count].n > 0) {
        ++*count;
        if (*count == max || call->is_complete || call->h2_stream)
            break;
        enum err e = next_piece(call, &pieces[*count]);
        if (e == ERR_AGAIN)
            break;
        TRY(e);
        call->body_received += pieces[*count].n;
    }
    return ERR_OK;
}

void http_call_end(struct http_call *call)
{
    if (call->h2_stream) {
        h2_call_end(call);
        return;
    }
    bool is_clean =
        call->is_complete && call->may_reuse && (!call->buffer || buffer_rest(call->buffer).n == 0);
    give_buffer_back(call);
    struct upstream_connection *u = call->connection;
    call->connection = NULL;
    if (!u)
        return;
    if (is_clean)
        upstream_put(u);
    else
        upstream_close(u);
}
