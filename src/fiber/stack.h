/* stack.h -- the stacks that fibers run on.
 *
 * Why: 64 KiB each with a guard below, of which only the touched pages cost memory. They come in
 * slabs and are used again, the warmest first; what load left behind is given back to the system.
 *
 * Owns:      the slabs, until stacks_deinit.
 * Lends:     a stack, from stack_take to stack_put.
 * Bounds:    `count_max`; beyond it, and where guards need more mappings than the kernel gives,
 *            stack_take answers NULL.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_FIBER_STACK_H
#define PENSTOCK_FIBER_STACK_H

#include "base/base.h"

enum {
    STACK_SIZE = 64 * 1024,
    STACK_GUARD = 64 * 1024, /* 16 pages: no frame of ours (4 KiB at most) jumps over it */
};

struct stack_slab;
struct stack_free;

struct stacks { /* private */
    struct stack_slab *slabs;
    struct stack_free *free; /* warmest first */
    size_t count, count_max;
    size_t warm;       /* free ones whose pages are still there */
    size_t warm_least; /* since stacks_trim looked: what was never needed meanwhile */
    size_t guards_max; /* what vm.max_map_count leaves for guards that need mappings */
    bool has_cheap_guards;
};

void stacks_init(struct stacks *s, size_t count_max);
void stacks_deinit(struct stacks *s);

/* The lowest usable address of a stack of STACK_SIZE bytes, or NULL. */
MUST_USE char *stack_take(struct stacks *s);
void stack_put(struct stacks *s, char *stack_low);

/* Gives back to the system what was free ever since the last call, but for `keep` stacks. Answers
 * how many stacks that were. */
size_t stacks_trim(struct stacks *s, size_t keep);

/* True when `address` lies in the guard below this stack: an overflow. */
bool stack_guard_hit(const char *stack_low, const void *address);

#endif
