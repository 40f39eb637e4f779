/* fiber_impl.h -- what the sources of this room know of each other; private to it.
 *
 * Why: the loop runs fibers and a fiber parks on its loop; neither is anybody else's business.
 *
 * Owns:      see loop.h and fiber.h.
 * Suspends:  never.     Threads: the loop's.
 */
#ifndef PENSTOCK_FIBER_FIBER_IMPL_H
#define PENSTOCK_FIBER_FIBER_IMPL_H

#include "fiber/context.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "fiber/stack.h"

#include <stdatomic.h>

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_WAITING, FIBER_DONE };

/* Lies at the top of its own stack. */
struct fiber {
    struct context context;
    struct loop *loop;
    struct list link;       /* on the loop's ready list, or alone */
    struct list all;        /* on the loop's list of all fibers */
    struct list group_link; /* on its group's list, or alone */
    struct group *group;
    fiber_fn fn;
    void *arg;
    char *stack_low;
    const char *name, *label, *waiting_for;
    struct timer timer; /* set at or before wait_deadline while one is due */
    int64_t wait_deadline;
    uint64_t id;
    enum fiber_state state;
    enum err wait_result;
    enum cancel_reason cancelled;
    bool is_shielded; /* group_leave: a cancelled fiber may wait */
    int budget;       /* work that may still be done in this round */
    int locks;        /* held, where debug builds count */
    void *asan_stack, *tsan_fiber;
    unsigned valgrind_id;
};

struct loop {
    struct context context; /* the thread's own stack, while a fiber runs */
    int epoll_fd, wake_fd;
    struct fiber *current;
    struct list ready, all;
    struct wheel wheel;
    int64_t now_ns;
    struct stacks stacks;
    struct grave *graves;
    struct fiber *finished; /* its stack is free once the loop runs again */
    void (*big_fn)(void *arg);
    void *big_arg;
    bool is_stopping;
    uint64_t last_id;
    struct loop_stats stats;
    struct timer trim_timer;
    char *signal_stack;
    void *asan_stack, *tsan_fiber;
    const void *asan_low;
    size_t asan_size;
    _Atomic(struct letter *) letters; /* newest first */
    atomic_bool is_sleeping;
    _Atomic unsigned posting; /* threads that are inside loop_post */
};

/* The loop enters a fiber; comes back when it parks or ends. */
void fiber_resume(struct fiber *f);

/* Sanitizers must be told of every switch; these are empty elsewhere. */
void annotate_enter(struct loop *l, struct fiber *f);
void annotate_entered(struct loop *l, struct fiber *f);
void annotate_leave(struct loop *l, struct fiber *f, bool for_ever);
void annotate_left(struct loop *l, struct fiber *f);
void annotate_born(struct fiber *f);
void annotate_died(struct fiber *f);

/* Debug builds: the paint that shows how deep a stack was used. */
void census_paint(struct fiber *f);
void census_take(struct fiber *f);

#endif
