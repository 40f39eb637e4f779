/* timer.h -- a hierarchical timer wheel.
 *
 * Why: every wait has a deadline, and almost none is reached: setting and stopping one must cost a
 * few stores, whatever their number.
 *
 * Owns:      nothing: a timer lives in its object, which stops it before it dies.
 * Bounds:    four wheels of 64 slots of 1.05 ms: 4.9 hours; what lies further is filed again.
 *            A timer fires at most two ticks late, never early.
 * Suspends:  never; a timer's function runs on the loop, and must not suspend either.
 * Threads:   one owner.
 */
#ifndef PENSTOCK_FIBER_TIMER_H
#define PENSTOCK_FIBER_TIMER_H

#include "base/list.h"

enum { WHEEL_LEVELS = 4, WHEEL_SLOTS = 64, TICK_SHIFT = 20 };

struct timer {
    struct list link; /* alone: not set */
    int64_t at_ns;
    void (*fn)(struct timer *t);
    uint8_t level, slot; /* private */
};

struct wheel { /* private */
    int64_t tick;
    uint64_t filled[WHEEL_LEVELS]; /* a bit a slot that may hold timers */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_ns);

void timer_init(struct timer *t, void (*fn)(struct timer *t));

static inline bool timer_is_set(const struct timer *t)
{
    return !list_is_empty(&t->link);
}

/* Sets it anew when it is set already. */
void timer_set(struct wheel *w, struct timer *t, int64_t at_ns);
void timer_stop(struct timer *t);

/* Calls the function of every timer that is due, each once; they may set and stop timers. */
void wheel_turn(struct wheel *w, int64_t now_ns);

/* When wheel_turn has work again, INT64_MAX when no timer is set. May be early, never late. */
int64_t wheel_next_ns(const struct wheel *w);

#endif
