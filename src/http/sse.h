/* sse.h -- server-sent events: cutting a stream into events, and writing them.
 *
 * Why: a model's answer comes as events whose ends fall anywhere in what a read returns. Most are
 * passed on as they are; some must be looked into. The reader gives both: the raw bytes and what
 * they say. The format is that of the HTML standard, section 9.2 (WHATWG), read as its
 * section 9.2.6 says.
 *
 * Owns:      the reader: two buffers, for events that are split between reads and for data of
 * several lines. Lends:     an event's spans until the next call on its reader; they may point into
 * the bytes given. Bounds:    an event's raw bytes are at most the reader's maximum: ERR_TOO_LARGE
 * beyond it. Errors:    ERR_AGAIN, ERR_TOO_LARGE, ERR_NO_MEMORY; the last two are final. Suspends:
 * never.     Threads: any; a reader has one owner.
 */
#ifndef PENSTOCK_HTTP_SSE_H
#define PENSTOCK_HTTP_SSE_H

#include "base/builder.h"

struct sse_event {
    struct span raw;  /* every byte, the empty line at the end included */
    struct span name; /* empty when the event has none ("message" by the standard) */
    struct span data; /* data lines, joined by newlines */
    bool has_data;    /* false: comments or an empty block; no event by the standard, pass raw on or
                         drop it */
};

struct sse_reader {        /* private */
    struct builder held;   /* the raw bytes of an event that began in earlier pieces */
    struct builder joined; /* data of several lines */
    size_t event_max;
    enum err failed;
    uint8_t line_end; /* how the line before ended */
    bool in_line;     /* the line has bytes already */
    bool after_cr;    /* the last byte was a CR: a LF now belongs to it */
    bool block_done;  /* an empty line was read by its CR: only its LF may still come */
    bool is_first;    /* of the stream: a byte-order mark may stand before it */
    bool lent_held;   /* the last event lent `held`: forget it at the next call */
};

void sse_reader_init(struct sse_reader *r, size_t event_max);
void sse_reader_deinit(struct sse_reader *r);

/* Takes bytes from the front of *bytes up to the end of the next event. ERR_OK: *event is set and
 * *bytes is what follows. ERR_AGAIN: all was taken, no event ends in it. The raw bytes of all
 * events are the stream, none missing and none twice. */
MUST_USE enum err sse_next(struct sse_reader *r, struct span *bytes, struct sse_event *event);

/* At the stream's end: what came after the last empty line, read as though one followed. The
 * standard drops it; providers that forget the last empty line, or put a bare error there, are why
 * it can be seen. ERR_AGAIN when there is nothing. */
MUST_USE enum err sse_finish(struct sse_reader *r, struct sse_event *event);

/* Writes one event; an empty name is left out; data is cut at CR, LF and CRLF into lines.
 * ERR_PROTOCOL when the name holds CR, LF or NUL: nothing is written then. Otherwise the builder's
 * state. */
MUST_USE enum err sse_write(struct builder *out, struct span name, struct span data);

/* Writes a comment line and an empty one: keeps a connection alive. The text is ours: no line ends.
 */
void sse_write_comment(struct builder *out, struct span text);

#endif
