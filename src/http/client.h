/* client.h -- calls to upstreams: a pooled connection, a request, an answer read piece by piece.
 *
 * Why: the gate attempts a target and judges what comes back. Which connection, which version,
 * whether it was fresh, is decided here.
 *
 * Owns:      a client a loop: its pools, its resolver, its TLS contexts. A struct http_call lives
 *            in the caller's frame or arena; http_call_end releases what it holds.
 * Lends:     the answer's head and each piece of the body, until the next call on it.
 * Bounds:    HTTP_HEAD_MAX of head, deadlines of the caller; idle connections by number and age.
 * Errors:    ERR_DNS, ERR_CONNECT, ERR_TLS (nothing was sent); ERR_UPSTREAM_TIMEOUT; ERR_PROTOCOL,
 *            ERR_CLOSED (the provider broke off); ERR_CANCELLED; with a text in `why`.
 *            Only a pooled connection that turned out dead before a byte was sent is replaced,
 * once. Suspends:  http_call_start, http_call_read.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_CLIENT_H
#define PENSTOCK_HTTP_CLIENT_H

#include "base/arena.h"
#include "http/message.h"
#include "net/buffer.h"
#include "net/connect.h"

struct http_client;
struct upstream_connection;

/* `dns_servers`: see resolver_new. */
MUST_USE struct http_client *http_client_new(struct span dns_servers);

/* Closes idle connections and refuses new calls. */
void http_client_drain(struct http_client *c);
void http_client_free(struct http_client *c);

struct http_call_request {
    const struct origin *origin;
    enum http_method method;
    struct span target;              /* path and query */
    const struct http_field *fields; /* without Host, framing, Connection; names: h1_own_field */
    size_t field_count;
    const struct span *body; /* pieces, sent as they are */
    size_t body_parts;
    int64_t connect_deadline, first_byte_deadline;
};

struct http_call {
    struct http_head head; /* the final answer's; interim ones are skipped */
    uint64_t body_received;
    bool connection_was_reused;
    int64_t sent_ns, first_byte_ns; /* monotonic */

    /* Private. */
    struct http_client *client;
    struct upstream_connection *connection;
    void *h2_stream;
    struct buffer *buffer;
    struct http_field *fields;
    uint64_t body_left;
    void *decoder;
    bool is_complete, may_reuse;
};

/* Sends the request and waits for the head of the answer. `arena` holds the head's fields. On
 * failure nothing is held and http_call_end is not needed, though harmless. */
MUST_USE SUSPENDS enum err http_call_start(struct http_client *c,
                                           const struct http_call_request *request,
                                           struct arena *arena, struct http_call *call,
                                           struct failure *why);

/* Makes the head outlive the reading of the body: copies it into the arena, unless the whole answer
 * is here already. */
MUST_USE enum err http_call_keep_head(struct http_call *call, struct arena *arena);

/* The next piece of the body: at least one byte, or ERR_OK with an empty piece at its end. The
 * buffer is given back while it waits. */
MUST_USE SUSPENDS enum err http_call_read(struct http_call *call, struct span *piece,
                                          int64_t deadline);

/* As http_call_read, for all that one read brought: up to `max` pieces, valid together. A count of
 * 0 is the end. */
MUST_USE SUSPENDS enum err http_call_read_many(struct http_call *call, struct span *pieces,
                                               size_t max, int64_t deadline, size_t *count);

/* The connection goes back to its pool when the answer was read to its end, else it is closed (an
 * HTTP/2 stream is reset). */
void http_call_end(struct http_call *call);

struct http_client_stats {
    size_t idle, busy;                      /* connections now */
    uint64_t opened, reused, failed, stale; /* connections; `stale`: replaced when found dead */
};
struct http_client_stats http_client_stats(const struct http_client *c);

#endif
