/* loop.h -- a worker: one thread, one epoll instance, its timers, its fibers.
 *
 * Why: everything that a call touches belongs to one thread, so that nothing needs a lock.
 *
 * Owns:      the epoll instance, the stacks, the list of runnable fibers.
 * Bounds:    `fibers_max` fibers at once: beyond it fiber_spawn refuses.
 * Errors:    loop_new answers NULL when the system refuses what it needs.
 * Suspends:  never; what runs on the loop itself (callbacks) must not suspend either.
 * Threads:   the one that made it; loop_post may be called by any.
 */
#ifndef PENSTOCK_FIBER_LOOP_H
#define PENSTOCK_FIBER_LOOP_H

#include "base/list.h"
#include "fiber/timer.h"

struct loop;
struct fiber;

MUST_USE struct loop *loop_new(size_t fibers_max);

/* No fiber may be alive. */
void loop_free(struct loop *l);

/* The calling thread's loop; NULL where there is none. */
struct loop *loop_self(void);

/* Runs until loop_stop. */
void loop_run(struct loop *l);

/* loop_run returns after the current round. From the loop's own thread. */
void loop_stop(struct loop *l);

/* The time of the current round, monotonic: good for deadlines; a measurement reads the clock. */
int64_t loop_now(void);

void loop_set_timer(struct timer *t, int64_t at_ns);

/* What was freed while events of this round may still name it is released when the round is over.
 * The grave lies in the object; bury each once. */
struct grave {
    struct grave *next;
    void (*release)(struct grave *g);
};
void loop_bury(struct grave *g);

/* A message from any thread: fn runs on the loop. The letter belongs to the loop until then. */
struct letter {
    struct letter *next;
    void (*fn)(struct letter *letter);
};
void loop_post(struct loop *to, struct letter *letter);

struct loop_stats {
    size_t fibers, fibers_max, fibers_peak; /* alive now, bound, most ever */
    size_t stacks;                          /* ever made */
    uint64_t rounds, slow_rounds;           /* slow: no event was looked at for 10 ms */
    uint64_t refused;                       /* spawns beyond the bound or without memory */
};
struct loop_stats loop_stats(const struct loop *l);

#endif
