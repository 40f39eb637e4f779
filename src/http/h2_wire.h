/* h2_wire.h -- an nghttp2 session on a stream, driven by events; what both sides share.
 *
 * Why: nghttp2 knows frames and states but no sockets, and we know sockets but no fibers where
 * nothing is under way: an idle connection has neither fiber nor buffer. What all streams want to
 * send in a round of the loop leaves together at its end, in as few writes as it takes.
 *
 * Owns:      the session, and the bytes that it wants to send (one buffer).
 * Bounds:    one buffer of unsent bytes; H2_GLITCHES_MAX frames that do no work, refilled slowly:
 *            beyond it GOAWAY (ENHANCE_YOUR_CALM) and close.
 * Errors:    ERR_CLOSED, ERR_IO, ERR_TLS, ERR_PROTOCOL, ERR_NO_MEMORY: each closes the connection.
 * Suspends:  never.     Threads: the loop's.
 *
 * nghttp2 1.52 frees twice what it could not enqueue when memory ran out. So each session's blocks
 * are on a list, and a session that was refused one is closed and its blocks freed by that list.
 *
 * nghttp2 must not be entered twice: its callbacks set flags and submit frames, and never call
 * h2_wire_pump or h2_wire_close.
 */
#ifndef PENSTOCK_HTTP_H2_WIRE_H
#define PENSTOCK_HTTP_H2_WIRE_H

#include "fiber/loop.h"
#include "net/buffer.h"
#include "net/stream.h"

#include <nghttp2/nghttp2.h>

enum {
    /* Of a stream: what a slow reader makes us hold. It fits a buffer of 64 KiB. */
    H2_WINDOW = 63 * 1024,

    /* What a frame costs that moves nothing. Frames that are part of every exchange cost nothing
     * while they keep in proportion (h2_wire.c). */
    H2_COST_IDLE = 1,
    H2_COST_RESET = 2,
};

struct h2_wire;

/* The head of a frame, and of PRIORITY the stream that it names. */
enum { H2_FRAME_HEAD = 9, H2_FRAME_SEEN = H2_FRAME_HEAD + 4 };
struct h2_frame_head {
    uint32_t length;
    uint8_t type, flags;
    int32_t stream_id;
};

struct h2_wire_owner {
    void (*set_callbacks)(nghttp2_session_callbacks *callbacks);
    /* A frame begins; nghttp2 knows all before it and nothing of it yet. It tells nothing of those
     * that it ignores. May be NULL. */
    void (*on_frame)(struct h2_wire *w, const struct h2_frame_head *head);
    /* After events of any kind, outside nghttp2: what the callbacks only noted can be acted on. It
     * may close the wire. */
    void (*on_turn)(struct h2_wire *w);
    /* Once: the stream is closed and the session gone; no stream hears of its end otherwise. */
    void (*on_closed)(struct h2_wire *w, enum err why);
    /* Closed and held by nobody: the owner's memory may go. */
    void (*release)(struct h2_wire *w);
};

struct h2_wire {
    nghttp2_session *session; /* NULL once closed */
    struct stream *stream;
    const struct h2_wire_owner *owner;

    /* Private. */
    struct list blocks;   /* all memory of the session */
    struct buffer *out;   /* taken while there is something to send */
    struct span rest;     /* of the frame that nghttp2 lent last */
    struct grave grave;   /* the end of the round: see h2_wire_schedule */
    struct letter letter; /* more to read than one turn allows */
    int64_t progress_ns;  /* when output moved last, or began to wait */
    int64_t glitches_at_ns;
    int32_t glitches, allowance;
    uint32_t holds;
    uint32_t preface_left, payload_left; /* of what is being received */
    uint8_t head[H2_FRAME_SEEN], head_n;
    bool is_out_of_memory; /* nghttp2 was refused some, and is not to be trusted any more */
    bool is_scheduled, is_posted;
    bool is_blocked;     /* the socket takes no more */
    bool is_out_of_room; /* a DATA frame waits for room in `out` */
    bool is_inside;      /* nghttp2 is running */
    bool is_doomed;      /* the peer was told to calm down; nothing more is read */
};

enum h2_side { H2_SERVER, H2_CLIENT };

/* A session with our SETTINGS queued. The stream stays the owner's place; it is closed by
 * h2_wire_close. Callbacks get the wire as user_data. On failure nothing is held. */
MUST_USE enum err h2_wire_init(struct h2_wire *w, enum h2_side side, struct stream *stream,
                               const struct h2_wire_owner *owner);

/* Closes the stream, frees the session; then on_closed. Nothing happens the second time. */
void h2_wire_close(struct h2_wire *w, enum err why);

/* Whoever keeps a pointer to the wire across rounds holds it. */
void h2_wire_hold(struct h2_wire *w);
void h2_wire_drop(struct h2_wire *w);

/* The stream's event function calls this. */
void h2_wire_on_event(struct h2_wire *w);

/* Bytes that came before the wire was there. */
void h2_wire_feed(struct h2_wire *w, struct span bytes);

/* Moves what the session wants to send into the buffer, and the buffer to the socket when it is
 * full. The rest leaves at the end of the round. A failure has closed the wire. */
void h2_wire_pump(struct h2_wire *w);

/* Pumps and writes when this round's fibers have run. */
void h2_wire_schedule(struct h2_wire *w);

static inline bool h2_wire_is_open(const struct h2_wire *w)
{
    return w->session != NULL;
}

/* True when output waits for the peer; *since_ns: from when on. */
static inline bool h2_wire_is_stuck(const struct h2_wire *w, int64_t *since_ns)
{
    *since_ns = w->progress_ns;
    return w->is_blocked && w->out != NULL;
}

/* The peer did something that costs us and moves nothing. In callbacks too. */
void h2_wire_glitch(struct h2_wire *w, int cost);

/* The connection ends with this error: GOAWAY, then nothing more is read. In callbacks too. */
void h2_wire_terminate(struct h2_wire *w, uint32_t error);

/* From on_frame_send: DATA of ours explains WINDOW_UPDATEs. */
void h2_wire_note_send(struct h2_wire *w, const nghttp2_frame *frame);

/* --- what a stream sends ---------------------------------------------------------------------- */

/* Pieces that lie with the sender until they are in the buffer. Zero-initialised: nothing yet. */
struct h2_source {
    const struct span *parts;
    size_t part_at; /* bytes of parts[0] that are gone */
    size_t left;    /* bytes of all parts that are not */
    int64_t moved_ns;
    bool is_last;         /* nothing follows these pieces */
    bool end_was_sent;    /* END_STREAM left */
    struct fiber *waiter; /* woken whenever something moved */
};

/* The provider for nghttp2_submit_*. The source must live until its stream is closed. */
nghttp2_data_provider h2_source_provider(struct h2_source *source);

/* Pieces to be sent; those before are done. */
void h2_source_set(struct h2_source *source, const struct span *parts, size_t count, bool is_last);

/* The sender's memory goes away: nothing of it is looked at any more. */
void h2_source_clear(struct h2_source *source);

static inline bool h2_source_is_done(const struct h2_source *source)
{
    return source->left == 0 && (!source->is_last || source->end_was_sent);
}

/* A name-value pair for nghttp2_submit_*, which copies it and lowers the name's letters. */
static inline nghttp2_nv h2_pair(struct span name, struct span value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                        .value = (uint8_t *)(uintptr_t)(value.n ? value.p : ""),
                        .namelen = name.n,
                        .valuelen = value.n};
}

/* ERR_NO_MEMORY or ERR_PROTOCOL for a negative answer of nghttp2, ERR_OK else. */
MUST_USE enum err h2_err(ssize_t answer);

#endif
