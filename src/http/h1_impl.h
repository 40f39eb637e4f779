/* h1_impl.h -- an HTTP/1.1 connection of a caller; private to h1_server.c and h1_reply.c.
 *
 * Why: the connection's life (events, heads, deadlines) and a request's body and answer are two
 * subjects that share one struct.
 *
 * Owns:      see server.h.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_H1_IMPL_H
#define PENSTOCK_HTTP_H1_IMPL_H

#include "http/h1_parse.h"
#include "http/server_impl.h"

enum { H1_RECEIVE_MIN = 8192 }; /* room to read to; one buffer of the usual size */

enum h1_state { H1_IDLE, H1_READING, H1_BUSY, H1_LINGERING, H1_CLOSED };

struct h1_connection {
    struct http_connection base;
    struct grave grave;
    struct timer timer; /* set at or before deadline_ns */
    int64_t deadline_ns;
    enum h1_state state;
    struct h1_parser parser;
    struct http_request *rq;  /* READING (once a piece came) and BUSY */
    struct buffer *buffer;    /* received; from `at` on not yet consumed */
    struct buffer *body;      /* of the request, when it did not fit */
    struct buffer *spill;     /* pieces of a chunked body, and what is pipelined behind it */
    struct builder chunks;    /* of the request, when it came in chunks */
    struct span pending_head; /* of the answer: leaves with its first piece */
    uint64_t reply_left;      /* of a body with a length */
    uint64_t lingered;
    bool served_before; /* not the first request: HTTP/2 is no longer possible */
    bool keep_alive, reply_is_chunked, request_is_read, was_aborted;
};

extern const struct http_reply_ops h1_ops;

/* Gives the memory of the request's body back. */
void h1_drop_request_body(struct h1_connection *c);

/* True when bytes of the request's body may still come. */
bool h1_has_unread_body(const struct h1_connection *c);

/* The peer will see ECONNRESET, not an orderly end. */
void h1_reset_when_closed(struct h1_connection *c);

#endif
