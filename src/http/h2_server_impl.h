/* h2_server_impl.h -- what the two sources of the HTTP/2 server know of each other; private to it.
 *
 * Why: a connection (frames, defences, deadlines) and a request in its fiber (its body, its answer)
 * are two subjects that share a stream.
 *
 * Owns:      a connection lives until it is closed and its last fiber has ended; a stream until
 *            nghttp2 has closed it and its fiber has ended.
 * Bounds:    H2_STREAMS_MAX streams that the caller sees as open, twice that with those whose
 *            fibers are still coming to their end.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_H2_SERVER_IMPL_H
#define PENSTOCK_HTTP_H2_SERVER_IMPL_H

#include "http/h2_head.h"
#include "http/h2_wire.h"
#include "http/server_impl.h"

/* Streams that we reset: what the caller sent before it knew is no offence. The last ones. */
enum { H2_DROPPED_KEPT = 32 };

struct h2_connection {
    struct http_connection base;
    struct h2_wire wire;
    struct timer timer; /* set at or before the next deadline */
    struct list streams;
    uint32_t stream_count;

    struct h2_block block; /* the request head that is being received */
    int32_t block_stream;  /* 0: none, or one that is not wanted */
    bool block_is_open;
    int64_t block_since_ns;

    int32_t last_id; /* the highest stream that was opened */
    int32_t dropped[H2_DROPPED_KEPT];
    uint32_t dropped_count;

    int64_t opened_ns, idle_since_ns, drain_since_ns;
    bool has_settings; /* the caller's first ones came */
    bool is_draining, said_goaway;
};

struct h2_stream {
    struct list link;
    struct h2_connection *connection;
    int32_t id;
    struct http_request *rq; /* NULL: refused without a fiber, or served */
    struct buffer *body;     /* of the request; or the text of a refusal */
    struct span refusal;
    size_t unconsumed;    /* bytes of the body that the windows do not know of yet */
    uint64_t received;    /* bytes of the body */
    int64_t heard_ns;     /* when the body moved last */
    struct fiber *reader; /* waits for the body */
    enum err body_failed;
    bool body_ended, is_reading, is_discarding;
    bool is_closed;       /* nghttp2 knows it no more */
    bool is_broken;       /* by the caller, and about to be reset */
    bool was_cut;         /* we broke the answer off: not the caller's doing */
    bool answer_is_empty; /* HEADERS end the stream */
    struct h2_source source;
    uint64_t reply_left; /* of a body whose length was said */
};

extern const struct http_reply_ops h2_reply_ops;

/* Bytes of a body came. Inside nghttp2. */
void h2_stream_take_data(struct h2_stream *s, struct span bytes);
void h2_stream_end_data(struct h2_stream *s);

/* Answers without a fiber. Inside nghttp2. */
void h2_stream_refuse(struct h2_stream *s, enum err code, const char *why);

/* The handler returned: lets go of what only the request needed. */
void h2_stream_served(struct h2_stream *s);

#endif
