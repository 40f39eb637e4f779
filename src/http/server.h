/* server.h -- from a listening socket to requests, each in a fiber of its own.
 *
 * Why: a connection is a state machine fed by events and costs a few hundred bytes while it is
 * idle; a request is a story told in a fiber. The handler sees neither version nor encryption.
 *
 * Owns:      connections, from accept to close; a request, from its head to the end of its answer.
 * Lends:     a struct http_request and all it points to, until the handler returns.
 * Bounds:    struct http_server_settings. Load beyond them is refused (503, Retry-After) before the
 *            body is read.
 * Errors:    functions that read or write answer ERR_CLOSED, ERR_TIMEOUT, ERR_CANCELLED when the
 *            caller is gone: the handler then cleans up and returns.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_SERVER_H
#define PENSTOCK_HTTP_SERVER_H

#include "base/arena.h"
#include "base/builder.h"
#include "fiber/fiber.h"
#include "http/message.h"
#include "net/buffer.h"
#include "net/tls.h"

#include <netinet/in.h>

struct http_server;
struct http_request;

/* What a FIN from a caller means while its answer is under way. A FIN alone does not say whether
 * the caller still reads. */
enum half_close {
    HALF_CLOSE_PROBE, /* ask by an interim answer (100) after a second of silence */
    HALF_CLOSE_ABORT, /* it is gone */
    HALF_CLOSE_ALLOW, /* it still reads, until a write fails */
};

struct http_server_settings {
    uint64_t body_max; /* bytes of a request's body, after decompression too */
    uint32_t connections_max, requests_max;
    int64_t header_timeout_ns, body_timeout_ns, write_timeout_ns, keepalive_timeout_ns;
    enum half_close half_close;
};

typedef void (*http_handler)(struct http_request *rq, void *context);

/* One a loop. Settings can be replaced at any time; each request is judged by those of its start.
 */
MUST_USE struct http_server *http_server_new(const struct http_server_settings *settings,
                                             http_handler handler, void *context);
void http_server_set(struct http_server *s, const struct http_server_settings *settings);

/* Listens on a descriptor that somebody else owns. `tls` may be NULL; the server takes a reference.
 * `tag` comes back in http_request.listener_tag. */
MUST_USE enum err http_server_listen(struct http_server *s, int fd, struct tls_server *tls,
                                     int tag);

/* Stops listening on this descriptor, after taking what is queued. The descriptor stays open. */
void http_server_unlisten(struct http_server *s, int fd);

/* No new connections, idle ones are closed, answers say Connection: close (GOAWAY). */
void http_server_drain(struct http_server *s);

/* Cancels the requests in flight and closes all connections. */
void http_server_abort(struct http_server *s);

/* No connection may be left. */
void http_server_free(struct http_server *s);

struct http_server_stats {
    size_t connections, requests;      /* open, in flight now */
    uint64_t accepted, received, shed; /* connections; requests; refused for load */
    uint64_t bad_requests, timeouts;   /* refused by the parsers; closed by a deadline */
};
struct http_server_stats http_server_stats(const struct http_server *s);

/* --- a request, in its handler ---------------------------------------------------------------- */

struct http_reply_ops;

struct http_request {
    struct http_head head;
    struct arena arena; /* freed when the handler has returned */
    struct failure failure;
    struct http_server *server;
    const struct http_server_settings *settings;
    int listener_tag;
    const struct sockaddr_storage *peer; /* ss_family AF_UNIX: no address */
    int64_t received_ns;                 /* when the head was complete; monotonic */

    /* The answer so far. */
    int status; /* 0: not begun */
    uint64_t body_sent;
    bool reply_is_ended;

    /* Private to the connection's version. */
    const struct http_reply_ops *ops;
    void *connection;
    struct fiber *fiber;
    struct span body;
    struct builder unpacked; /* a body that came packed */
    bool body_is_read;
    bool is_in_flight; /* counted as such */
};

/* The whole body, decompressed, bounded by body_max; sends 100 Continue when the caller waits for
 * it. ERR_TOO_LARGE, ERR_BAD_REQUEST, ERR_BAD_MEDIA (an encoding other than gzip) have told why
 * in rq->failure: reply with that. */
MUST_USE SUSPENDS enum err http_read_body(struct http_request *rq, struct span *body);

/* Lets go of the body's memory before the answer is over: a long stream needs it no more. */
void http_drop_body(struct http_request *rq);

struct http_reply_head {
    int status;
    const struct http_field *fields; /* without framing, Connection, Date; names: h1_own_field */
    size_t field_count;
};

/* The whole answer. Values of fields are checked: what cannot stand in a head is ERR_BAD_REQUEST,
 * and nothing was sent. */
MUST_USE SUSPENDS enum err http_reply(struct http_request *rq, const struct http_reply_head *head,
                                      const struct span *body, size_t body_parts);

/* An answer in pieces: begin, any number of writes, end. The head leaves with the first piece, or
 * with http_reply_flush. body_bytes: the exact length, or HTTP_LENGTH_UNKNOWN. */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX
enum { HTTP_PIECES_MAX = 32 }; /* of one write, or of one answer */
MUST_USE SUSPENDS enum err
http_reply_begin(struct http_request *rq, const struct http_reply_head *head, uint64_t body_bytes);
MUST_USE SUSPENDS enum err http_reply_writev(struct http_request *rq, const struct span *pieces,
                                             size_t count);
MUST_USE SUSPENDS static inline enum err http_reply_write(struct http_request *rq,
                                                          struct span piece)
{
    return http_reply_writev(rq, &piece, 1);
}
MUST_USE SUSPENDS enum err http_reply_flush(struct http_request *rq);
MUST_USE SUSPENDS enum err http_reply_end(struct http_request *rq);

/* The answer cannot be finished: the connection (stream) is cut, so that the caller sees that; it
 * is reset when no answer has begun. */
void http_reply_cut(struct http_request *rq);

/* --- for the versions: h1_server.c, h2_server.c ----------------------------------------------- */

struct http_reply_ops {
    SUSPENDS enum err (*read_body)(struct http_request *rq); /* sets rq->body, not decompressed */
    void (*drop_body)(struct http_request *rq);
    SUSPENDS enum err (*reply)(struct http_request *rq, const struct http_reply_head *head,
                               const struct span *body, size_t body_parts);
    SUSPENDS enum err (*begin)(struct http_request *rq, const struct http_reply_head *head,
                               uint64_t body_bytes);
    SUSPENDS enum err (*write)(struct http_request *rq, const struct span *pieces, size_t count,
                               size_t bytes); /* bytes > 0: their sum */
    SUSPENDS enum err (*flush)(struct http_request *rq);
    SUSPENDS enum err (*end)(struct http_request *rq);
    void (*cut)(struct http_request *rq);
};

#endif
