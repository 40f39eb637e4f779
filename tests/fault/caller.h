/* caller.h -- a plain HTTP/1.1 client that trusts nothing, on blocking sockets outside the doors.
 *
 * Why: what a caller gets while something fails must be one of three things: the right answer, an
 * error that says so, or a connection that visibly broke off. The gateway's own client cannot be
 * the judge of that.
 *
 * Owns:      one connection, kept between calls while the gateway keeps it.
 * Errors:    enum answer_kind; nothing here aborts.
 * Suspends:  blocks its thread, CALLER_PATIENCE_MS at most a read.     Threads: one.
 */
#ifndef PENSTOCK_TESTS_FAULT_CALLER_H
#define PENSTOCK_TESTS_FAULT_CALLER_H

#include "base/span.h"

enum { CALLER_PATIENCE_MS = 8000, ANSWER_BYTES_MAX = 1 << 20 };

enum answer_kind {
    ANSWER_WHOLE,  /* framed to its end */
    ANSWER_BROKEN, /* the connection ended before the answer did, or there was none */
    ANSWER_NONE,   /* the connection stays open and nothing comes */
};

struct answer {
    enum answer_kind kind;
    int status;
    struct span head, body; /* the body without its framing; valid until the next call */
};

struct caller {
    int fd; /* -1: none */
    int port;
    bool is_impatient; /* leaves as soon as the first bytes of an answer are here */
};

/* Sends `parts` one after the other, each in a packet of its own, and reads the answer. A fresh
 * connection is made where there is none, and where the kept one turns out to be closed. */
struct answer caller_ask(struct caller *c, const struct span *parts, size_t count);
/* Sends and does not wait. False: it could not. */
bool caller_send(struct caller *c, const struct span *parts, size_t count);

void caller_leave(struct caller *c);

#endif
