#include "http/h2_client.h"

#include "base/mem.h"
#include "base/sys.h"
#include "http/h2_head.h"
#include "http/h2_wire.h"

enum {
    PIECE_FIRST = 2048, /* the class of 4 KiB: most pieces of a stream of events */
    OWN_FIELDS_MAX = 5, /* four pseudo-headers and the length */
};

struct h2_session {
    struct h2_wire wire;
    struct stream stream;
    h2_session_changed changed; /* NULL: the owner let go */
    void *context;
    struct list calls;
    size_t call_count;
    struct h2_block block; /* the head of an answer that is being received */
    bool is_going, has_news;
    bool was_wronged; /* the peer broke the protocol: that is why we end the connection */
};

struct h2_call {
    struct list link; /* on the session's calls */
    struct h2_session *session;
    int32_t id;
    struct fiber *waiter;
    struct http_head *head;
    struct arena *arena;
    struct buffer *waiting, *lent; /* of the answer's body */
    struct h2_source source;
    enum err failed;
    const char *why;
    bool has_head;   /* the final one */
    bool has_ended;  /* END_STREAM came */
    bool is_closed;  /* nghttp2 knows it no more */
    bool was_sent;   /* the head left us */
    bool is_refused; /* the peer says that it did nothing */
};

static struct h2_session *of_wire(struct h2_wire *w)
{
    return CONTAINER_OF(w, struct h2_session, wire);
}

static struct h2_session *of_user_data(void *user_data)
{
    return of_wire(user_data);
}

static struct h2_call *find_call(struct h2_session *s, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(s->wire.session, id) : NULL;
}

static void wake(struct h2_call *k)
{
    if (k->waiter)
        fiber_wake(k->waiter);
}

static void fail_call(struct h2_call *k, enum err code, const char *why)
{
    if (k->failed == ERR_OK) {
        k->failed = code;
        k->why = why;
    }
    wake(k);
}

/* The owner is told at the end of the round. */
static void note_news(struct h2_session *s)
{
    s->has_news = true;
    h2_wire_schedule(&s->wire);
}

/* --- what nghttp2 tells ----------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, frame->hd.stream_id);
    (void)session;
    h2_block_clear(&s->block);
    if (!k || k->has_head) /* nobody waits for it, or trailers: counted and dropped */
        s->block.failed = ERR_HEAD_TOO_LARGE;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    (void)session, (void)frame, (void)flags;
    h2_block_add(&s->block, span((const char *)name, name_n), span((const char *)value, value_n));
    return s->block.bytes > 4 * HTTP_HEAD_MAX ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_n, const uint8_t *value,
                             size_t value_n, uint8_t flags, void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, frame->hd.stream_id);
    (void)session, (void)name, (void)name_n, (void)value, (void)value_n, (void)flags;
    if (k)
        fail_call(k, ERR_PROTOCOL, "the answer has a field that is not valid");
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nghttp2 would drop the field and go on */
}

static int reset(struct h2_call *k, uint32_t code)
{
    return nghttp2_submit_rst_stream(k->session->wire.session, NGHTTP2_FLAG_NONE, k->id, code) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* A head is complete: interim, final, or trailers. */
static int end_block(struct h2_session *s, struct h2_call *k, bool has_body)
{
    enum err e = ERR_OK;
    if (k && !k->has_head && k->failed == ERR_OK) {
        e = h2_block_to_response(&s->block, has_body, k->arena, k->head);
        if (e == ERR_OK && k->head->status >= 200) {
            k->has_head = true;
            wake(k);
        }
    }
    h2_block_clear(&s->block);
    if (e == ERR_OK)
        return 0;
    fail_call(k, e,
              e == ERR_NO_MEMORY ? "no memory for the head of the answer"
                                 : "the head of the answer is not valid or too large");
    return reset(k, NGHTTP2_CANCEL);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, frame->hd.stream_id);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (end_block(s, k, !ends) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_DATA:
        break;
    case NGHTTP2_GOAWAY:
        s->is_going = true;
        note_news(s);
        return 0;
    case NGHTTP2_SETTINGS:
        note_news(s);
        return 0;
    default:
        return 0;
    }
    if (k && ends) {
        k->has_ended = true;
        wake(k);
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, frame->hd.stream_id);
    (void)session, (void)error;
    h2_wire_glitch(&s->wire, H2_COST_RESET);
    if (k)
        fail_call(k, ERR_PROTOCOL, "the answer breaks HTTP/2");
    return 0;
}

static bool keep(struct h2_call *k, struct span bytes)
{
    struct buffer *b = k->waiting;
    const size_t have = b ? b->n : 0;
    if (!b || b->room - have < bytes.n) {
        b = buffer_take(
            MAX(MAX(MIN(have * 2, (size_t)H2_WINDOW), have + bytes.n), (size_t)PIECE_FIRST));
        if (!b)
            return false;
        if (have)
            memcpy(b->p, k->waiting->p, have);
        buffer_put(k->waiting);
        k->waiting = b;
    }
    memcpy(b->p + have, bytes.p, bytes.n);
    b->n = have + bytes.n;
    return true;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                         size_t n, void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, id);
    (void)flags;
    if (k && k->failed == ERR_OK) {
        if (keep(k, span((const char *)bytes, n))) {
            wake(k);
            return 0; /* the windows open when it is read */
        }
        fail_call(k, ERR_NO_MEMORY, "no room for the answer");
        if (reset(k, NGHTTP2_CANCEL) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return nghttp2_session_consume_connection(session, n) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *s = of_user_data(user_data);
    struct h2_call *k = find_call(s, frame->hd.stream_id);
    (void)session;
    h2_wire_note_send(&s->wire, frame);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        s->was_wronged = true;
    if (!k || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    k->was_sent = true;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        k->source.end_was_sent = true;
        wake(k);
    }
    return 0;
}

static void end_stream(struct h2_call *k, uint32_t error)
{
    k->is_closed = true;
    note_news(k->session);
    if (k->has_ended && k->has_head) { /* whatever became of what we sent */
        wake(k);
        return;
    }
    k->is_refused = error == NGHTTP2_REFUSED_STREAM;
    switch (error) {
    case NGHTTP2_REFUSED_STREAM:
        fail_call(k, ERR_CLOSED, "the provider refused the stream");
        break;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_HTTP_1_1_REQUIRED:
        fail_call(k, ERR_PROTOCOL, "the provider or its answer broke HTTP/2");
        break;
    default:
        fail_call(k, ERR_CLOSED, "the provider reset the stream");
        break;
    }
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user_data)
{
    struct h2_call *k = find_call(of_user_data(user_data), id);
    (void)session;
    if (k)
        end_stream(k, error);
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

/* --- the session ------------------------------------------------------------------------------ */

static void on_turn(struct h2_wire *w)
{
    struct h2_session *s = of_wire(w);
    if (!s->changed) {
        if (s->call_count == 0)
            h2_wire_close(w, ERR_CLOSED);
    } else if (s->has_news) {
        s->has_news = false;
        s->changed(s, s->context);
    }
}

static void on_closed(struct h2_wire *w, enum err why)
{
    struct h2_session *s = of_wire(w);
    h2_block_clear(&s->block);
    LIST_EACH(&s->calls, struct h2_call, link, k) {
        if (k->is_closed)
            continue;
        k->is_closed = true;
        k->is_refused = !k->was_sent;
        if (k->has_ended && k->has_head)
            wake(k);
        else
            fail_call(k, s->was_wronged ? ERR_PROTOCOL : why,
                      "the connection to the provider broke");
    }
    s->has_news = true;
}

static void release(struct h2_wire *w)
{
    mem_free(of_wire(w));
}

static const struct h2_wire_owner owner = {
    .set_callbacks = set_callbacks, .on_turn = on_turn, .on_closed = on_closed, .release = release};

static void on_event(struct io *io)
{
    h2_wire_on_event(&CONTAINER_OF(io, struct h2_session, stream.io)->wire);
}

struct h2_session *h2_session_new(struct stream *stream, h2_session_changed changed, void *context)
{
    struct h2_session *s = mem_calloc(1, sizeof *s);
    if (!s || h2_wire_init(&s->wire, H2_CLIENT, &s->stream, &owner) != ERR_OK) {
        mem_free(s);
        stream_close(stream);
        return NULL;
    }
    list_init(&s->calls);
    s->changed = changed;
    s->context = context;
    h2_wire_hold(&s->wire); /* the owner, until it closes */
    if (stream_move(&s->stream, stream, on_event) != ERR_OK) {
        s->changed = NULL;
        h2_wire_drop(&s->wire);
        h2_wire_close(&s->wire, ERR_IO);
        return NULL;
    }
    h2_wire_schedule(&s->wire); /* the preface */
    return s;
}

bool h2_session_is_going(const struct h2_session *s)
{
    return s->is_going || s->wire.is_doomed || !h2_wire_is_open(&s->wire);
}

bool h2_session_can_take(const struct h2_session *s)
{
    if (h2_session_is_going(s) || !nghttp2_session_check_request_allowed(s->wire.session))
        return false;
    const uint32_t allowed = nghttp2_session_get_remote_settings(
        s->wire.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return s->call_count < MIN(allowed, (uint32_t)H2_STREAMS_MAX);
}

size_t h2_session_calls(const struct h2_session *s)
{
    return s->call_count;
}

void h2_session_close(struct h2_session *s)
{
    ASSERT(s->changed != NULL);
    s->changed = NULL;
    h2_wire_schedule(&s->wire);
    h2_wire_drop(&s->wire);
}

void h2_session_abort(struct h2_session *s)
{
    ASSERT(s->changed != NULL);
    s->changed = NULL;
    h2_wire_drop(&s->wire);
    h2_wire_close(&s->wire, ERR_CLOSED);
}

/* --- a call ----------------------------------------------------------------------------------- */

static enum err check_request(const struct http_call_request *rq, struct failure *why)
{
    if (rq->method == HTTP_METHOD_OTHER || rq->method == HTTP_CONNECT)
        return fail(why, ERR_BAD_REQUEST, "the method cannot be sent");
    if (!http_is_path_and_query(rq->target))
        return fail(why, ERR_BAD_REQUEST, "the path cannot be sent");
    if (!http_is_authority(rq->origin->authority))
        return fail(why, ERR_BAD_REQUEST, "the authority cannot be sent");
    for (size_t i = 0; i < rq->field_count; i++)
        if (!http_is_token(rq->fields[i].name) || !http_is_value(rq->fields[i].value))
            return fail(why, ERR_BAD_REQUEST, "a field cannot be sent");
    return ERR_OK;
}

static bool is_ours(struct span name)
{
    const enum http_known known = http_known_of(name);
    return known == HTTP_KNOWN_HOST || known == HTTP_KNOWN_CONTENT_LENGTH ||
           known == HTTP_KNOWN_TE || h2_is_connection_field(name);
}

static uint64_t bytes_of(const struct http_call_request *rq)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rq->body_parts; i++)
        n += rq->body[i].n;
    return n;
}

static enum err submit(struct h2_call *k, const struct http_call_request *rq)
{
    nghttp2_nv *pairs = arena_alloc(k->arena, (rq->field_count + OWN_FIELDS_MAX) * sizeof *pairs);
    TRY_ALLOC(pairs);
    const uint64_t bytes = bytes_of(rq);
    size_t count = 0;
    char length[24];
    struct builder text;
    builder_init_fixed(&text, length, sizeof length);
    builder_add_u64(&text, bytes);
    pairs[count++] = h2_pair(SPAN(":method"), http_method_text(rq->method));
    pairs[count++] = h2_pair(SPAN(":scheme"), rq->origin->tls ? SPAN("https") : SPAN("http"));
    pairs[count++] = h2_pair(SPAN(":authority"), rq->origin->authority);
    pairs[count++] = h2_pair(SPAN(":path"), rq->target);
    for (size_t i = 0; i < rq->field_count; i++)
        if (!is_ours(rq->fields[i].name))
            pairs[count++] = h2_pair(rq->fields[i].name, rq->fields[i].value);
    if (bytes || rq->method == HTTP_POST || rq->method == HTTP_PUT)
        pairs[count++] = h2_pair(SPAN("content-length"), builder_span(&text));
    h2_source_set(&k->source, rq->body, rq->body_parts, true);
    const nghttp2_data_provider provider = h2_source_provider(&k->source);
    k->id = nghttp2_submit_request(k->session->wire.session, NULL, pairs, count,
                                   bytes ? &provider : NULL, k);
    return h2_err(k->id);
}

static struct h2_call *new_call(struct h2_session *s, struct arena *arena, struct http_head *head)
{
    struct h2_call *k = mem_calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->session = s;
    k->arena = arena;
    k->head = head;
    list_append(&s->calls, &k->link);
    s->call_count++;
    h2_wire_hold(&s->wire);
    return k;
}

/* nghttp2 forgets us first, so that nothing of ours is looked at later. */
static void free_call(struct h2_call *k)
{
    struct h2_session *s = k->session;
    nghttp2_session *session = s->wire.session;
    const size_t unread = (k->waiting ? k->waiting->n : 0) + (k->lent ? k->lent->n : 0);
    int failed = session ? nghttp2_session_consume_connection(session, unread) : 0;
    if (!k->is_closed && k->id > 0) {
        (void)nghttp2_session_set_stream_user_data(session, k->id, NULL);
        failed |= reset(k, NGHTTP2_CANCEL);
    }
    if (failed)
        h2_wire_close(&s->wire, ERR_NO_MEMORY);
    list_remove(&k->link);
    s->call_count--;
    buffer_put(k->waiting);
    buffer_put(k->lent);
    mem_free(k);
    note_news(s);
    h2_wire_drop(&s->wire);
}

/* The head is here, and nothing of the request's body will be looked at again. */
static bool has_started(const struct h2_call *k)
{
    return k->has_head && (k->source.end_was_sent || k->is_closed || k->head->status >= 300);
}

static SUSPENDS enum err await_head(struct h2_call *k, int64_t deadline)
{
    enum err e = ERR_OK;
    k->waiter = fiber_self();
    while (e == ERR_OK && !has_started(k) && k->failed == ERR_OK)
        e = fiber_park("the head of the answer", deadline);
    k->waiter = NULL;
    h2_source_clear(&k->source);
    if (has_started(k)) /* what went wrong afterwards is told by reading */
        return ERR_OK;
    return k->failed != ERR_OK ? k->failed : e;
}

static SUSPENDS enum err run(struct h2_call *k, const struct http_call_request *rq,
                             struct http_call *call, struct failure *why)
{
    struct h2_wire *w = &k->session->wire;
    TRY(submit(k, rq));
    h2_wire_schedule(w);
    enum err e = await_head(k, rq->first_byte_deadline);
    if (e == ERR_TIMEOUT)
        return fail(why, ERR_UPSTREAM_TIMEOUT, "the provider did not begin to answer in time");
    if (e != ERR_OK)
        return fail(why, e, "%s", k->failed == e ? k->why : err_info(e)->text);
    call->first_byte_ns = clock_ns();
    return ERR_OK;
}

enum err h2_call_start(struct h2_session *s, const struct http_call_request *request,
                       struct arena *arena, struct http_call *call, bool *is_untouched,
                       struct failure *why)
{
    fiber_may_suspend();
    *is_untouched = true;
    call->h2_stream = NULL;
    call->body_received = 0;
    TRY(check_request(request, why));
    if (!h2_session_can_take(s))
        return fail(why, ERR_CLOSED, "the connection takes no more calls");
    struct h2_call *k = new_call(s, arena, &call->head);
    if (!k)
        return fail(why, ERR_NO_MEMORY, "no memory for a call");
    call->sent_ns = clock_ns();
    enum err e = run(k, request, call, why);
    if (e == ERR_OK) {
        call->h2_stream = k;
        *is_untouched = false;
        return ERR_OK;
    }
    *is_untouched = k->is_refused || !k->was_sent;
    free_call(k);
    return e;
}

/* What was lent is read: the peer may send as much again. */
static void return_lent(struct h2_call *k)
{
    if (!k->lent)
        return;
    if (h2_wire_is_open(&k->session->wire)) {
        (void)nghttp2_session_consume(k->session->wire.session, k->id, k->lent->n);
        h2_wire_schedule(&k->session->wire);
    }
    buffer_put(k->lent);
    k->lent = NULL;
}

enum err h2_call_try_read(struct http_call *call, struct span *piece)
{
    struct h2_call *k = call->h2_stream;
    return_lent(k);
    if (k->waiting) { /* also before a failure: it came */
        k->lent = k->waiting;
        k->waiting = NULL;
        *piece = span(k->lent->p, k->lent->n);
        call->body_received += piece->n;
        return ERR_OK;
    }
    *piece = (struct span){0};
    if (k->failed != ERR_OK)
        return k->failed;
    return k->has_ended ? ERR_OK : ERR_AGAIN;
}

enum err h2_call_read(struct http_call *call, struct span *piece, int64_t deadline)
{
    fiber_may_suspend();
    struct h2_call *k = call->h2_stream;
    enum err e;
    while ((e = h2_call_try_read(call, piece)) == ERR_AGAIN) {
        k->waiter = fiber_self();
        e = fiber_park("a piece of the answer", deadline);
        k->waiter = NULL;
        if (e == ERR_TIMEOUT && h2_call_try_read(call, piece) == ERR_OK)
            return ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    return e;
}

void h2_call_end(struct http_call *call)
{
    if (!call->h2_stream)
        return;
    free_call(call->h2_stream);
    call->h2_stream = NULL;
}
