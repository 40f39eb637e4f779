/* server_impl.h -- what the sources of the server know of each other; private to this room.
 *
 * Why: accepting, HTTP/1.1 and HTTP/2 are three subjects that share one server.
 *
 * Owns:      see server.h.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_SERVER_IMPL_H
#define PENSTOCK_HTTP_SERVER_IMPL_H

#include "base/list.h"
#include "fiber/loop.h"
#include "http/server.h"

enum { REQUEST_ARENA_FIRST = 4096, REQUEST_ARENA_MAX = 64 * 1024 * 1024 };

struct http_server {
    struct http_server_settings settings;
    http_handler handler;
    void *context;
    struct list listeners;
    struct list connections; /* struct http_connection */
    struct list newcomers;   /* that shake hands still */
    struct http_server_stats stats;
    bool is_draining;
};

/* What both versions' connections begin with. */
struct http_connection {
    struct list link; /* on server->connections */
    struct http_server *server;
    struct stream stream;
    struct sockaddr_storage peer;
    int listener_tag;
    /* Called on the loop. close: at once, whatever is under way (its fibers are cancelled and the
     * memory goes when the last one ended). drain: close when idle, finish what is under way. */
    void (*drain)(struct http_connection *c);
    void (*abort)(struct http_connection *c);
};

/* Puts a connection on its server's list, and takes it off. The stream is the connection's. */
void server_add(struct http_server *s, struct http_connection *c);
void server_remove(struct http_connection *c);

/* A connected descriptor in the clear becomes an HTTP/1.1 connection; closed on failure. */
void h1_connection_accept(struct http_server *s, int fd, const struct sockaddr_storage *peer,
                          int tag);

/* A stream that shook hands becomes an HTTP/1.1 or HTTP/2 connection. It is moved (stream_move) and
 * `stream` is dead afterwards. `bytes` is what was read of it already: HTTP/2 by prior knowledge,
 * found out by the HTTP/1.1 reader. On failure the stream is closed. */
void h1_connection_start(struct http_server *s, struct stream *stream,
                         const struct sockaddr_storage *peer, int tag);
void h2_connection_start(struct http_server *s, struct stream *stream,
                         const struct sockaddr_storage *peer, int tag, struct span bytes);

/* A request with its arena; NULL: shed it. */
MUST_USE struct http_request *request_new(struct http_server *s);

/* Its head is complete, and it will be served: from now on it counts as in flight. */
void request_begin(struct http_request *rq);
void request_free(struct http_request *rq);

/* Calls the handler and makes sure that the answer ended, one way or the other. */
SUSPENDS void request_serve(struct http_request *rq);

/* True when one more request is too much: too many in flight, or memory is short. */
bool server_is_overloaded(const struct http_server *s);

/* The head of an answer as HTTP/1.1 text into `out`; framing and Connection included. */
MUST_USE enum err h1_write_reply_head(struct builder *out, const struct http_request *rq,
                                      const struct http_reply_head *head, uint64_t body_bytes,
                                      bool keep_alive);

/* "Sat, 21 Nov 2026 08:51:02 GMT", the current second's, kept per thread. */
struct span http_date(void);

#endif
