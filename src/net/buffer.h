/* buffer.h -- byte buffers, taken when there are bytes and put back when there are none.
 *
 * Why: an idle connection, or a stream that waits for its next event, must not hold a buffer; and a
 * call must not pay for fresh pages. A loop keeps a few free buffers of each size.
 *
 * Owns:      free buffers, until buffers_trim; taken ones belong to the taker.
 * Bounds:    buffer_take refuses what is over `bytes_max` of its loop (the memory budget); the
 *            caller sheds load. Sizes: four, from 4 KiB to 256 KiB; larger ones as asked.
 * Errors:    NULL: no memory, or over the budget.
 * Suspends:  never.     Threads: each has its own pool.
 */
#ifndef PENSTOCK_NET_BUFFER_H
#define PENSTOCK_NET_BUFFER_H

#include "base/span.h"

enum { BUFFER_SMALL = 4096, BUFFER_USUAL = 16384 };

struct buffer {
    struct buffer *next; /* private: the free list */
    uint32_t size_class; /* private */
    size_t room;         /* bytes at p */
    size_t n;            /* bytes filled; the taker's */
    size_t at;           /* bytes consumed; the taker's */
    char p[];
};

/* An empty buffer with room for at least `room` bytes, or NULL. */
MUST_USE struct buffer *buffer_take(size_t room);

/* NULL is fine. */
void buffer_put(struct buffer *b);

/* Filled and not yet consumed. */
static inline struct span buffer_rest(const struct buffer *b)
{
    return (struct span){b->p + b->at, b->n - b->at};
}

/* The calling thread's budget: bytes in taken buffers; SIZE_MAX: none. */
void buffers_set_max(size_t bytes_max);
size_t buffers_in_use(void);

/* True when so little of the budget is left that new work should be refused. */
bool buffers_are_short(void);

/* Frees what is not in use, all of it at a thread's end, else what a quiet loop does not need. */
void buffers_trim(bool all);

#endif
