/* ring.h -- messages from one thread to another, never waiting.
 *
 * Why: a worker hands its log lines and records to a service thread. A slow disk must never slow
 * a call, so a full ring refuses, and the refusals are counted.
 *
 * Owns:      its buffer.
 * Lends:     ring_peek's span, until ring_consume.
 * Bounds:    `size` bytes, a power of two, given at init; a message takes its length and 4 bytes.
 * Errors:    ring_put answers false when there is no room; the drop is counted.
 * Suspends:  never.     Threads: one producer, one consumer.
 */
#ifndef PENSTOCK_BASE_RING_H
#define PENSTOCK_BASE_RING_H

#include "base/err.h"
#include "base/span.h"

#include <stdatomic.h>

struct ring { /* private */
    char *buffer;
    size_t size;
    _Alignas(64) _Atomic size_t head; /* where the producer writes next */
    size_t tail_seen;                 /* producer's last view of tail */
    _Atomic uint64_t dropped;
    _Alignas(64) _Atomic size_t tail; /* where the consumer reads next */
};

MUST_USE enum err ring_init(struct ring *r, size_t size);
void ring_deinit(struct ring *r);

/* Producer: a place for a message of up to n bytes in one piece, or NULL when there is no room
 * (counted as dropped). ring_commit publishes it; without it the place is simply reused. */
MUST_USE char *ring_reserve(struct ring *r, size_t n);
void ring_commit(struct ring *r, size_t n);

/* Producer: copies a message in. False: dropped. */
bool ring_put(struct ring *r, struct span message);

/* Consumer: the oldest message; false when there is none. */
MUST_USE bool ring_peek(struct ring *r, struct span *message);
void ring_consume(struct ring *r);

uint64_t ring_dropped(const struct ring *r);

#endif
