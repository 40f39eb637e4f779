#include "http/h2_wire.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/sys.h"

enum {
    READ_BYTES = 16 * 1024,
    READS_PER_TURN = 4, /* then others have their turn */
    OUT_ROOM = 8192,    /* the class of 16 KiB */
    PREFACE = 24,
    PAYLOAD_MIN = 1024, /* rather wait for an empty buffer than send less of more */

    GLITCHES_PER_S = 8,   /* are forgotten */
    PADDING_MAX = 256,    /* with the byte that tells its length */
    UPDATES_PER_DATA = 4, /* WINDOW_UPDATEs that a DATA frame of ours explains */
    ALLOWANCE_START = 64,
    ALLOWANCE_MAX = 1024,

    SERVER_WINDOW = 1024 * 1024,                /* of a connection: bodies that are read anyway */
    CLIENT_WINDOW = H2_STREAMS_MAX * H2_WINDOW, /* no slow reader stops the others */
    OUTBOUND_ACKS_MAX = 128,
};

/* --- nghttp2's ways --------------------------------------------------------------------------- */

static struct h2_wire *of_user_data(void *user_data)
{
    return user_data;
}

/* Stands before each block of nghttp2's memory. */
union block {
    struct list link;
    max_align_t unused;
};

static void *door_realloc(void *old, size_t n, void *user_data)
{
    struct h2_wire *w = of_user_data(user_data);
    union block *b = old ? (union block *)old - 1 : NULL;
    if (b)
        list_remove(&b->link);
    union block *grown = n <= SIZE_MAX / 2 ? mem_realloc(b, sizeof *b + n) : NULL;
    if (!grown)
        w->is_out_of_memory = true;
    union block *kept = grown ? grown : b;
    if (kept)
        list_append(&w->blocks, &kept->link);
    return grown ? grown + 1 : NULL;
}

static void *door_malloc(size_t n, void *user_data)
{
    return door_realloc(NULL, n, user_data);
}

static void *door_calloc(size_t count, size_t size, void *user_data)
{
    size_t n;
    void *p = __builtin_mul_overflow(count, size, &n) ? NULL : door_malloc(n, user_data);
    if (p)
        memset(p, 0, n);
    return p;
}

static void door_free(void *p, void *user_data)
{
    (void)user_data;
    if (!p)
        return;
    union block *b = (union block *)p - 1;
    list_remove(&b->link);
    mem_free(b);
}

static void free_session(struct h2_wire *w)
{
    if (!w->is_out_of_memory)
        nghttp2_session_del(w->session);
    while (!list_is_empty(&w->blocks)) {
        union block *b = CONTAINER_OF(w->blocks.next, union block, link);
        list_remove(&b->link);
        mem_free(b);
    }
    w->session = NULL;
}

enum err h2_err(ssize_t answer)
{
    if (LIKELY(answer >= 0))
        return ERR_OK;
    return answer == NGHTTP2_ERR_NOMEM ? ERR_NO_MEMORY : ERR_PROTOCOL;
}

/* --- what a stream sends ---------------------------------------------------------------------- */

void h2_source_set(struct h2_source *source, const struct span *parts, size_t count, bool is_last)
{
    ASSERT(source->left == 0);
    source->parts = parts;
    source->part_at = 0;
    for (size_t i = 0; i < count; i++)
        source->left += parts[i].n;
    source->is_last = is_last;
    source->moved_ns = loop_now();
}

void h2_source_clear(struct h2_source *source)
{
    source->parts = NULL;
    source->left = 0;
    source->is_last = false; /* cut short: never an end */
    source->waiter = NULL;
}

static size_t room_of(const struct h2_wire *w)
{
    return w->out ? w->out->room - w->out->n : OUT_ROOM;
}

/* nghttp2 asks how much of the source goes into the next DATA frame. The frame is then written
 * whole by send_data, so its room is made sure of here: the source may be gone later. */
static ssize_t source_read(nghttp2_session *session, int32_t stream_id, uint8_t *unused,
                           size_t length, uint32_t *flags, nghttp2_data_source *from,
                           void *user_data)
{
    struct h2_wire *w = of_user_data(user_data);
    struct h2_source *source = from->ptr;
    (void)session, (void)stream_id, (void)unused;
    if (source->left == 0 && !source->is_last)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = MIN(length, source->left), room = room_of(w);
    if (room < H2_FRAME_HEAD + MIN(n, (size_t)PAYLOAD_MIN)) {
        w->is_out_of_room = true;
        return NGHTTP2_ERR_PAUSE;
    }
    if (!w->out) {
        w->out = buffer_take(OUT_ROOM);
        if (!w->out)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        room = room_of(w);
    }
    n = MIN(n, room - H2_FRAME_HEAD);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (source->is_last && n == source->left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void put(struct h2_wire *w, const void *bytes, size_t n)
{
    ASSERT(n <= w->out->room - w->out->n);
    if (n)
        memcpy(w->out->p + w->out->n, bytes, n);
    w->out->n += n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                     size_t length, nghttp2_data_source *from, void *user_data)
{
    struct h2_wire *w = of_user_data(user_data);
    struct h2_source *source = from->ptr;
    (void)session;
    put(w, head, H2_FRAME_HEAD);
    source->left -= length;
    while (length) {
        const struct span here = span_from(source->parts[0], source->part_at);
        const size_t n = MIN(length, here.n);
        put(w, here.p, n);
        length -= n;
        source->part_at += n;
        if (n == here.n) {
            source->parts++;
            source->part_at = 0;
        }
    }
    source->moved_ns = loop_now();
    source->end_was_sent = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (source->waiter)
        fiber_wake(source->waiter);
    return 0;
}

nghttp2_data_provider h2_source_provider(struct h2_source *source)
{
    return (nghttp2_data_provider){.source.ptr = source, .read_callback = source_read};
}

/* --- life and death --------------------------------------------------------------------------- */

static void on_round_end(struct grave *g);
static void on_letter(struct letter *letter);

static enum err submit_settings(struct h2_wire *w, enum h2_side side)
{
    /* Priorities of RFC 7540 cost memory for streams that do not exist, and nobody uses them. The
     * window of callers is the protocol's own: a smaller one turns negative for those who send
     * before they have our settings, which RFC 9113, 6.9.2 allows and some of them cannot stand. */
    nghttp2_settings_entry ours[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
         side == H2_SERVER ? NGHTTP2_INITIAL_WINDOW_SIZE : H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {side == H2_SERVER ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_ENABLE_PUSH,
         side == H2_SERVER ? H2_STREAMS_MAX : 0},
    };
    TRY(h2_err(nghttp2_submit_settings(w->session, NGHTTP2_FLAG_NONE, ours, ARRAY_LEN(ours))));
    return h2_err(nghttp2_session_set_local_window_size(
        w->session, NGHTTP2_FLAG_NONE, 0, side == H2_SERVER ? SERVER_WINDOW : CLIENT_WINDOW));
}

static enum err new_session(struct h2_wire *w, enum h2_side side)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_mem door = {w, door_malloc, door_free, door_calloc, door_realloc};
    int e = nghttp2_session_callbacks_new(&callbacks);
    if (e == 0)
        e = nghttp2_option_new(&option);
    if (e == 0) {
        w->owner->set_callbacks(callbacks);
        nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
        e = side == H2_SERVER
                ? nghttp2_session_server_new3(&w->session, callbacks, w, option, &door)
                : nghttp2_session_client_new3(&w->session, callbacks, w, option, &door);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return h2_err(e);
}

enum err h2_wire_init(struct h2_wire *w, enum h2_side side, struct stream *stream,
                      const struct h2_wire_owner *owner)
{
    *w = (struct h2_wire){
        .stream = stream,
        .owner = owner,
        .grave.release = on_round_end,
        .letter.fn = on_letter,
        .allowance = ALLOWANCE_START,
        .glitches_at_ns = loop_now(),
        .preface_left = side == H2_SERVER ? PREFACE : 0,
    };
    list_init(&w->blocks);
    enum err e = new_session(w, side);
    if (e == ERR_OK)
        e = submit_settings(w, side);
    if (e != ERR_OK)
        free_session(w);
    return e;
}

void h2_wire_close(struct h2_wire *w, enum err why)
{
    ASSERT(!w->is_inside);
    if (!w->session)
        return;
    free_session(w);
    buffer_put(w->out);
    w->out = NULL;
    if (stream_is_open(w->stream))
        stream_close(w->stream);
    w->owner->on_closed(w, why);
    h2_wire_schedule(w); /* its end, unless it is held */
}

void h2_wire_hold(struct h2_wire *w)
{
    w->holds++;
}

void h2_wire_drop(struct h2_wire *w)
{
    ASSERT(w->holds > 0);
    if (--w->holds == 0 && !w->session)
        h2_wire_schedule(w);
}

/* --- output ----------------------------------------------------------------------------------- */

static enum err write_out(struct h2_wire *w)
{
    struct buffer *b = w->out;
    while (b && !w->is_blocked && b->at < b->n) {
        struct iovec part = {b->p + b->at, b->n - b->at};
        size_t done = 0;
        enum err e = stream_try_write(w->stream, &part, 1, &done);
        if (e == ERR_AGAIN) {
            w->is_blocked = true;
            return ERR_OK;
        }
        TRY(e);
        b->at += done;
        w->progress_ns = loop_now();
    }
    if (b && b->at == b->n) {
        buffer_put(b);
        w->out = NULL;
    }
    return ERR_OK;
}

/* Copies what fits of the frame that nghttp2 lent. */
static enum err take_rest(struct h2_wire *w)
{
    if (!w->out) {
        w->out = buffer_take(OUT_ROOM);
        TRY_ALLOC(w->out);
        w->progress_ns = loop_now();
    }
    const size_t n = MIN(w->rest.n, w->out->room - w->out->n);
    put(w, w->rest.p, n);
    w->rest = span_from(w->rest, n);
    return ERR_OK;
}

static enum err next_frame(struct h2_wire *w, bool *is_none)
{
    const uint8_t *bytes = NULL;
    w->is_inside = true;
    const ssize_t n = nghttp2_session_mem_send(w->session, &bytes);
    w->is_inside = false;
    w->rest = span((const char *)bytes, n > 0 ? (size_t)n : 0);
    *is_none = n == 0 && !w->is_out_of_room;
    return w->is_out_of_memory ? ERR_NO_MEMORY : h2_err(n);
}

static enum err pump(struct h2_wire *w)
{
    if (w->is_out_of_memory)
        return ERR_NO_MEMORY;
    for (;;) {
        bool is_none = false;
        if (w->rest.n == 0)
            TRY(next_frame(w, &is_none));
        if (is_none)
            return ERR_OK;
        if (w->rest.n)
            TRY(take_rest(w));
        if (w->rest.n || w->is_out_of_room) {
            w->is_out_of_room = false;
            TRY(write_out(w));
            if (w->is_blocked)
                return ERR_OK;
        }
    }
}

void h2_wire_pump(struct h2_wire *w)
{
    if (!w->session)
        return;
    enum err e = pump(w);
    if (e != ERR_OK)
        h2_wire_close(w, e);
    else
        h2_wire_schedule(w);
}

/* Nothing is left to say or to hear: GOAWAY went out, or came in, and no stream is open. */
static bool is_over(const struct h2_wire *w)
{
    return !w->out && w->rest.n == 0 && (w->is_doomed || !nghttp2_session_want_read(w->session)) &&
           !nghttp2_session_want_write(w->session);
}

static void flush(struct h2_wire *w)
{
    enum err e = pump(w);
    if (e == ERR_OK)
        e = write_out(w);
    if (e == ERR_OK && is_over(w))
        e = ERR_CLOSED;
    if (e != ERR_OK)
        h2_wire_close(w, e);
    else
        w->owner->on_turn(w);
}

static void on_round_end(struct grave *g)
{
    struct h2_wire *w = CONTAINER_OF(g, struct h2_wire, grave);
    w->is_scheduled = false;
    if (w->session)
        flush(w);
    else if (w->holds == 0)
        w->owner->release(w);
    else
        w->owner->on_turn(w);
}

/* The graveyard is emptied when all events and fibers of the round had their turn: the one place
 * where everything that they want to send is known. */
void h2_wire_schedule(struct h2_wire *w)
{
    if (w->is_scheduled)
        return;
    w->is_scheduled = true;
    loop_bury(&w->grave);
}

/* --- glitches --------------------------------------------------------------------------------- */

void h2_wire_terminate(struct h2_wire *w, uint32_t error)
{
    if (w->is_doomed)
        return;
    w->is_doomed = true;
    /* Without memory for the frame there is no farewell; it is doomed all the same. */
    (void)nghttp2_session_terminate_session(w->session, error);
}

void h2_wire_glitch(struct h2_wire *w, int cost)
{
    const int64_t unit_ns = NS_PER_S / GLITCHES_PER_S;
    const int64_t forgotten = (loop_now() - w->glitches_at_ns) / unit_ns;
    w->glitches_at_ns += forgotten * unit_ns;
    w->glitches = (int32_t)MAX((int64_t)w->glitches - forgotten, INT64_C(0)) + cost;
    if (w->glitches >= H2_GLITCHES_MAX)
        h2_wire_terminate(w, NGHTTP2_ENHANCE_YOUR_CALM);
}

void h2_wire_note_send(struct h2_wire *w, const nghttp2_frame *frame)
{
    if (frame->hd.type == NGHTTP2_DATA)
        w->allowance = MIN(w->allowance + UPDATES_PER_DATA, (int32_t)ALLOWANCE_MAX);
}

/* True for frames that carry something of an exchange. */
static bool is_useful(struct h2_wire *w, const struct h2_frame_head *head)
{
    switch (head->type) {
    case NGHTTP2_DATA: /* padding may be all that there is */
        return head->length > (head->flags & NGHTTP2_FLAG_PADDED ? PADDING_MAX : 0) ||
               head->flags & NGHTTP2_FLAG_END_STREAM;
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM: /* the server has its own opinion */
    case NGHTTP2_PUSH_PROMISE:
        return true;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        return (head->flags & NGHTTP2_FLAG_ACK) != 0;
    case NGHTTP2_WINDOW_UPDATE: /* some tell of every frame that they read */
        if (w->allowance > 0)
            w->allowance--;
        return w->allowance > 0;
    default: /* PRIORITY, CONTINUATION, GOAWAY, and what we do not know */
        return false;
    }
}

/* --- input ------------------------------------------------------------------------------------ */

static uint32_t load_u31(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]) & INT32_MAX;
}

static void begin_frame(struct h2_wire *w)
{
    const uint8_t *p = w->head;
    const struct h2_frame_head head = {.length = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2],
                                       .type = p[3],
                                       .flags = p[4],
                                       .stream_id = (int32_t)load_u31(p + 5)};
    const bool is_priority = head.type == NGHTTP2_PRIORITY;
    w->payload_left = head.length - (w->head_n - (uint32_t)H2_FRAME_HEAD);
    if (!is_useful(w, &head))
        h2_wire_glitch(w, H2_COST_IDLE);
    /* We asked for none, so nghttp2 does not look at them; what RFC 7540 section 5.3.1 and RFC 9113
     * section 6.3 forbid is refused all the same. */
    if (is_priority && (head.stream_id == 0 || (w->head_n == H2_FRAME_SEEN &&
                                                load_u31(p + 9) == (uint32_t)head.stream_id)))
        h2_wire_terminate(w, NGHTTP2_PROTOCOL_ERROR);
    if (w->owner->on_frame)
        w->owner->on_frame(w, &head);
    w->head_n = 0;
}

/* How much of the next frame's head is wanted. */
static uint8_t head_wanted(const struct h2_wire *w)
{
    const bool names_stream = w->head_n >= H2_FRAME_HEAD && w->head[3] == NGHTTP2_PRIORITY &&
                              w->head[0] == 0 && w->head[1] == 0 && w->head[2] >= 4;
    return names_stream ? H2_FRAME_SEEN : H2_FRAME_HEAD;
}

/* Goes over bytes up to the end of the next frame's head, or to the end of all; how far. *start:
 * where that head begins among them. */
static size_t scan(struct h2_wire *w, const char *bytes, size_t n, size_t *start, bool *is_head)
{
    size_t at = MIN(n, (size_t)w->preface_left);
    w->preface_left -= (uint32_t)at;
    const size_t payload = MIN(n - at, (size_t)w->payload_left);
    w->payload_left -= (uint32_t)payload;
    at += payload;
    *start = at;
    while (at < n && w->head_n < head_wanted(w))
        w->head[w->head_n++] = (uint8_t)bytes[at++];
    *is_head = w->head_n > 0 && w->head_n == head_wanted(w);
    return at;
}

static enum err give(struct h2_wire *w, const char *bytes, size_t n)
{
    if (n == 0)
        return ERR_OK;
    w->is_inside = true;
    const ssize_t taken = nghttp2_session_mem_recv(w->session, (const uint8_t *)bytes, n);
    w->is_inside = false;
    if (w->is_out_of_memory || taken == NGHTTP2_ERR_CALLBACK_FAILURE)
        return ERR_NO_MEMORY;
    if (taken >= 0 || taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        return h2_err(taken);
    h2_wire_terminate(w, NGHTTP2_ENHANCE_YOUR_CALM); /* nghttp2's own limits */
    return ERR_OK;
}

/* Before nghttp2 sees a frame we have seen its head, and judge it by what came before. */
static enum err feed(struct h2_wire *w, const char *bytes, size_t n)
{
    const char *given = bytes, *end = bytes + n;
    while (bytes < end && !w->is_doomed) {
        size_t start;
        bool is_head;
        const size_t seen = scan(w, bytes, (size_t)(end - bytes), &start, &is_head);
        if (is_head) {
            TRY(give(w, given, (size_t)(bytes + start - given)));
            given = bytes + start;
            if (!w->is_doomed)
                begin_frame(w);
        }
        bytes += seen;
    }
    return w->is_doomed ? ERR_OK : give(w, given, (size_t)(end - given));
}

/* ERR_AGAIN: all was read. ERR_OK: there may be more. */
static enum err read_some(struct h2_wire *w)
{
    static _Thread_local char bytes[READ_BYTES]; /* nghttp2 keeps none of it */
    for (int i = 0; i < READS_PER_TURN && !w->is_doomed; i++) {
        size_t got;
        TRY(stream_try_read(w->stream, bytes, sizeof bytes, &got));
        TRY(feed(w, bytes, got));
        if (!stream_is_readable(w->stream))
            return ERR_AGAIN;
    }
    return w->is_doomed ? ERR_AGAIN : ERR_OK;
}

static void read_turn(struct h2_wire *w)
{
    enum err e = read_some(w);
    if (e != ERR_OK && e != ERR_AGAIN) {
        h2_wire_close(w, e);
        return;
    }
    if (e == ERR_OK && !w->is_posted) { /* edge-triggered: nobody will tell us again */
        w->is_posted = true;
        h2_wire_hold(w);
        loop_post(loop_self(), &w->letter);
    }
    h2_wire_schedule(w);
}

static void on_letter(struct letter *letter)
{
    struct h2_wire *w = CONTAINER_OF(letter, struct h2_wire, letter);
    w->is_posted = false;
    if (w->session)
        read_turn(w);
    h2_wire_drop(w);
}

void h2_wire_on_event(struct h2_wire *w)
{
    if (!w->session)
        return;
    w->is_blocked = false; /* TLS may have waited for either side */
    if (stream_is_readable(w->stream) && !w->is_doomed)
        read_turn(w);
    else
        h2_wire_schedule(w);
}

void h2_wire_feed(struct h2_wire *w, struct span bytes)
{
    enum err e = feed(w, bytes.p, bytes.n);
    if (e != ERR_OK)
        h2_wire_close(w, e);
    else
        h2_wire_schedule(w);
}
