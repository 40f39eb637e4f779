/* fiber.h -- straight-line code that can wait.
 *
 * Why: a request is a story with loops and early returns; written as callbacks it is a hundred
 * fragments. A fiber has a stack of its own and gives the thread away wherever it waits. The law
 * that its users keep is docs/fibers.md; the short form:
 *   errno does not survive a wait; what was checked before a wait is checked again after it;
 *   no lock is held across one; every wait has an absolute deadline; cancellation is sticky.
 *
 * Owns:      a fiber's stack, until its function returns.
 * Lends:     a struct fiber pointer is valid until its function returns: hold it only where the
 *            fiber itself takes it back (a wait record), or in the group that owns it.
 * Bounds:    the loop's fibers_max; 64 KiB of stack (STACK_SIZE), guarded.
 * Errors:    waits answer ERR_OK, ERR_TIMEOUT (deadline), ERR_CANCELLED.
 * Suspends:  fiber_park, fiber_sleep, fiber_yield, group_join, group_leave.
 * Threads:   the one that spawned it, for ever.
 */
#ifndef PENSTOCK_FIBER_FIBER_H
#define PENSTOCK_FIBER_FIBER_H

#include "base/builder.h"
#include "base/err.h"
#include "base/list.h"

/* Marks a function that may give the thread away. Its first statement is fiber_may_suspend(). */
#define SUSPENDS

#define FIBER_FOREVER INT64_MAX

typedef void (*fiber_fn)(void *arg);

struct fiber;

enum cancel_reason {
    CANCEL_NONE,
    CANCEL_CLIENT_GONE,
    CANCEL_DEADLINE,
    CANCEL_DRAIN,
    CANCEL_SIBLING_WON,
    CANCEL_OWNER, /* the group that owns it is left */
};

/* A runnable fiber on the calling thread's loop; it starts in the next round at the latest. NULL
 * when there are too many or no memory: shed the load. `name` is shown by reports and must be
 * static, or live as long as the fiber. */
MUST_USE struct fiber *fiber_spawn(fiber_fn fn, void *arg, const char *name);

/* The running fiber; NULL on the loop itself. */
struct fiber *fiber_self(void);

/* Asserts that the caller may wait here: in a fiber, not in a release, without a lock. */
void fiber_may_suspend(void);

/* Waits until fiber_wake, the deadline, or cancellation. Wake-ups can be early: callers wait in a
 * loop for their condition. `waiting_for` is static text for reports. */
MUST_USE SUSPENDS enum err fiber_park(const char *waiting_for, int64_t deadline);

/* NULL, but in tests: told of every fiber that is about to wait, so that they can cancel it at the
 * n-th wait. Set before threads start. */
extern void (*fiber_on_park)(struct fiber *f);

/* As fiber_park without a deadline, deaf to cancellation: for the rare wait whose end is certain
 * and whose record lies on this stack. */
SUSPENDS void fiber_wait_uncancelled(const char *waiting_for);

/* Makes a waiting fiber runnable; nothing happens when it is not waiting. */
void fiber_wake(struct fiber *f);

MUST_USE SUSPENDS enum err fiber_sleep(int64_t until);

/* Lets the others run first. */
MUST_USE SUSPENDS enum err fiber_yield(void);

/* To be called for each unit of work that did not wait: yields when the fiber has had its share of
 * this round (FIBERS: fairness). */
MUST_USE SUSPENDS enum err fiber_did_work(void);

/* Ends the current wait, and every later one, with ERR_CANCELLED. The first reason stays. */
void fiber_cancel(struct fiber *f, enum cancel_reason reason);
enum cancel_reason fiber_cancelled(const struct fiber *f);
const char *cancel_reason_name(enum cancel_reason reason);

/* The request id that reports show beside the name; borrowed, NULL for none. */
void fiber_set_label(const char *label);
uint64_t fiber_id(const struct fiber *f);

/* Calls fn(arg) on the thread's own big stack. fn must not suspend. For deep library calls. */
void fiber_on_big_stack(void (*fn)(void *arg), void *arg);

/* Locks held: a debug aid. Whoever holds a mutex says so; waiting then is an assertion. */
void fiber_lock_taken(void);
void fiber_lock_released(void);

/* --- groups: children that are owned ---------------------------------------------------------- */

/* Lives on its owner's stack; the owner leaves it before that frame ends. */
struct group { /* private */
    struct list fibers;
    struct fiber *joiner;
    size_t live;
};

void group_init(struct group *g);

/* As fiber_spawn; the child belongs to the group. */
MUST_USE struct fiber *group_spawn(struct group *g, fiber_fn fn, void *arg, const char *name);

/* Waits until all children ended. On ERR_TIMEOUT and ERR_CANCELLED some still live: leave. */
MUST_USE SUSPENDS enum err group_join(struct group *g, int64_t deadline);

/* Cancels all children and waits for them. The one wait that a cancelled fiber may still make: it
 * is bounded, because the children cannot wait any more. */
SUSPENDS void group_leave(struct group *g, enum cancel_reason reason);

/* --- reports ---------------------------------------------------------------------------------- */

/* A line a fiber of the calling thread's loop: id, name, label, what it waits for, until when. */
void fiber_report(struct builder *out);

/* Bytes of stack that the deepest fiber of this name has used (debug builds, else 0). */
size_t fiber_census(struct builder *out);

/* Installs the handler that tells a stack overflow from another crash. Once a process; and the
 * alternate stack that it needs, once a thread (loop_new does). */
void fiber_catch_crashes(void);

#endif
