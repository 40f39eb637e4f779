/* upstream.h -- connections to origins, kept and used again; private to this room.
 *
 * Why: opening a connection costs more than a call. Which connection a call gets, and what becomes
 * of it afterwards, is decided here and nowhere else.
 *
 *     (none) --take--> CONNECTING --> BUSY --put--> IDLE --take--> BUSY ...
 *                          |           |             | (event, age, drain)
 *                          +-----------+-------------+----> closed
 *
 * A state is a list of its pool, and set_state() is the only mover: counts are list lengths, and a
 * connection cannot be lost. An HTTP/2 connection serves several calls: it is IDLE while it can
 * take one more.
 *
 * Owns:      pools and connections, from upstreams_init to upstreams_deinit.
 * Lends:     a connection, from upstream_take to upstream_put or upstream_close.
 * Bounds:    UPSTREAM_IDLE_MAX idle ones an origin, each for UPSTREAM_IDLE_NS.
 * Errors:    as connect.h.
 * Suspends:  upstream_take.     Threads: the loop's.
 */
#ifndef PENSTOCK_HTTP_UPSTREAM_H
#define PENSTOCK_HTTP_UPSTREAM_H

#include "base/list.h"
#include "base/map.h"
#include "fiber/loop.h"
#include "http/client.h"
#include "http/h2_client.h"

enum { UPSTREAM_IDLE_MAX = 256 };

enum upstream_state { UPSTREAM_CONNECTING, UPSTREAM_IDLE, UPSTREAM_BUSY, UPSTREAM_STATES };

struct upstream_pool {
    struct arena arena; /* the origin's text: snapshots come and go */
    struct origin origin;
    struct http_client *client;
    struct list states[UPSTREAM_STATES];
    size_t counts[UPSTREAM_STATES];
    struct tls_client *tls; /* made with the first connection */
    struct list waiters;    /* struct waiter: calls that wait for a connection to be shared */
    bool speaks_h2;         /* as far as the last connection told */
};

struct upstream_connection {
    struct stream stream;
    struct list link; /* on its pool's list of its state */
    enum upstream_state state;
    struct upstream_pool *pool;
    struct timer timer; /* how long it may be idle */
    int64_t idle_deadline_ns;
    struct grave grave;
    uint64_t calls;             /* made on it so far */
    struct h2_session *session; /* NULL: HTTP/1.1; it owns the stream then */
};

struct http_client {
    struct map pools; /* struct upstream_pool by origin.id */
    struct resolver *resolver;
    struct http_client_stats stats;
    bool is_draining;
};

/* An idle connection, the warmest, unless `must_be_fresh`; else a new one. */
MUST_USE SUSPENDS enum err upstream_take(struct http_client *c, const struct origin *origin,
                                         bool must_be_fresh, int64_t deadline,
                                         struct upstream_connection **connection,
                                         struct failure *why);

/* An HTTP/1.1 call is over and the connection clean. (An HTTP/2 session tells by itself.) */
void upstream_put(struct upstream_connection *u);

/* The connection is of no further use. */
void upstream_close(struct upstream_connection *u);

/* Closes what is idle. */
void upstreams_drain(struct http_client *c);

#endif
