#include "fiber/fiber.h"

#include "base/sys.h"
#include "fiber/fiber_impl.h"

enum { BUDGET = 16 }; /* reads or writes that succeed at once, before the others have their turn */

struct fiber *fiber_self(void)
{
    struct loop *l = loop_self();
    return l ? l->current : NULL;
}

/* --- life and death --------------------------------------------------------------------------- */

static void leave_group(struct fiber *f)
{
    struct group *g = f->group;
    if (!g)
        return;
    list_remove(&f->group_link);
    f->group = NULL;
    g->live--;
    if (g->live == 0 && g->joiner)
        fiber_wake(g->joiner);
}

/* The first and last frame of every fiber. */
static void run(void *arg)
{
    struct fiber *f = arg;
    struct loop *l = f->loop;
    annotate_entered(l, f);
    f->fn(f->arg);
    ASSERT(l->current == f);
    ASSERT(f->locks == 0);
    timer_stop(&f->timer);
    leave_group(f);
    list_remove(&f->all);
    f->state = FIBER_DONE;
    l->finished = f; /* the loop frees the stack that we still stand on */
    annotate_leave(l, f, true);
    context_switch(&f->context, &l->context);
    ASSERT(false);
}

static void on_timer(struct timer *t)
{
    struct fiber *f = CONTAINER_OF(t, struct fiber, timer);
    if (f->state != FIBER_WAITING || f->wait_deadline == FIBER_FOREVER)
        return;
    if (f->wait_deadline > f->loop->now_ns) {
        timer_set(&f->loop->wheel, t, f->wait_deadline);
        return;
    }
    f->wait_result = ERR_TIMEOUT;
    f->state = FIBER_READY;
    list_append(&f->loop->ready, &f->link);
}

static_assert(sizeof(struct fiber) < 512, "the fiber and its first frames share a page");

struct fiber *fiber_spawn(fiber_fn fn, void *arg, const char *name)
{
    struct loop *l = loop_self();
    ASSERT(l != NULL);
    char *stack_low = l->stats.fibers < l->stats.fibers_max ? stack_take(&l->stacks) : NULL;
    if (UNLIKELY(!stack_low)) {
        l->stats.refused++;
        return NULL;
    }
    struct fiber *f = (struct fiber *)(void *)(stack_low + STACK_SIZE) - 1;
    *f = (struct fiber){
        .loop = l,
        .fn = fn,
        .arg = arg,
        .stack_low = stack_low,
        .name = name,
        .id = ++l->last_id,
        .state = FIBER_READY,
        .wait_deadline = FIBER_FOREVER,
    };
    timer_init(&f->timer, on_timer);
    list_init(&f->group_link);
    list_append(&l->all, &f->all);
    list_append(&l->ready, &f->link);
    census_paint(f);
    annotate_born(f);
    context_make(&f->context, stack_low, (size_t)((char *)f - stack_low), run, f);
    l->stats.fibers++;
    l->stats.fibers_peak = MAX(l->stats.fibers_peak, l->stats.fibers);
    return f;
}

static void free_finished(struct loop *l)
{
    struct fiber *f = l->finished;
    l->finished = NULL;
    l->stats.fibers--;
    census_take(f);
    annotate_died(f);
    stack_put(&l->stacks, f->stack_low);
}

void fiber_resume(struct fiber *f)
{
    struct loop *l = f->loop;
    ASSERT(l->current == NULL);
    ASSERT(f->state == FIBER_READY);
    f->state = FIBER_RUNNING;
    f->budget = BUDGET;
    l->current = f;
    for (;;) {
        annotate_enter(l, f);
        context_switch(&l->context, &f->context);
        annotate_left(l, f);
        if (LIKELY(!l->big_fn))
            break;
        l->big_fn(l->big_arg);
        l->big_fn = NULL;
    }
    l->current = NULL;
    if (l->finished)
        free_finished(l);
}

/* --- waiting ---------------------------------------------------------------------------------- */

void (*fiber_on_park)(struct fiber *f);

static void switch_to_loop(struct fiber *f)
{
    struct loop *l = f->loop;
    annotate_leave(l, f, false);
    context_switch(&f->context, &l->context);
    annotate_entered(l, f);
}

void fiber_may_suspend(void)
{
    struct fiber *f = fiber_self();
    ASSERT(f != NULL);
    ASSERT(f->locks == 0);
}

enum err fiber_park(const char *waiting_for, int64_t deadline)
{
    fiber_may_suspend();
    struct fiber *f = fiber_self();
    if (UNLIKELY(f->cancelled != CANCEL_NONE && !f->is_shielded))
        return ERR_CANCELLED;
    f->waiting_for = waiting_for;
    f->wait_deadline = deadline;
    f->wait_result = ERR_OK;
    f->state = FIBER_WAITING;
    if (UNLIKELY(fiber_on_park != NULL))
        fiber_on_park(f);
    /* A timer that is set for earlier stays: when it fires it is filed again. So a fiber that waits
     * often under one deadline sets its timer once. */
    if (deadline != FIBER_FOREVER && (!timer_is_set(&f->timer) || f->timer.at_ns > deadline))
        timer_set(&f->loop->wheel, &f->timer, deadline);
    switch_to_loop(f);
    ASSERT(f->state == FIBER_RUNNING);
    f->waiting_for = NULL;
    return f->wait_result;
}

void fiber_wait_uncancelled(const char *waiting_for)
{
    struct fiber *self = fiber_self();
    ASSERT(self != NULL);
    bool was_shielded = self->is_shielded;
    self->is_shielded = true;
    enum err e = fiber_park(waiting_for, FIBER_FOREVER);
    ASSERT(e == ERR_OK);
    self->is_shielded = was_shielded;
}

void fiber_wake(struct fiber *f)
{
    ASSERT(f->loop == loop_self());
    if (f->state != FIBER_WAITING)
        return;
    f->state = FIBER_READY;
    list_append(&f->loop->ready, &f->link);
}

enum err fiber_sleep(int64_t until)
{
    enum err e;
    while ((e = fiber_park("time to pass", until)) == ERR_OK) {
    }
    return e == ERR_TIMEOUT ? ERR_OK : e;
}

enum err fiber_yield(void)
{
    fiber_may_suspend();
    struct fiber *f = fiber_self();
    if (f->cancelled != CANCEL_NONE && !f->is_shielded)
        return ERR_CANCELLED;
    f->state = FIBER_READY;
    f->waiting_for = "its turn";
    list_append(&f->loop->ready, &f->link);
    switch_to_loop(f);
    return f->cancelled != CANCEL_NONE && !f->is_shielded ? ERR_CANCELLED : ERR_OK;
}

enum err fiber_did_work(void)
{
    struct fiber *f = fiber_self();
    ASSERT(f != NULL);
    return LIKELY(--f->budget > 0) ? ERR_OK : fiber_yield();
}

void fiber_cancel(struct fiber *f, enum cancel_reason reason)
{
    ASSERT(reason != CANCEL_NONE);
    ASSERT(f->loop == loop_self());
    if (f->cancelled != CANCEL_NONE)
        return;
    f->cancelled = reason;
    if (f->state != FIBER_WAITING || f->is_shielded)
        return;
    f->wait_result = ERR_CANCELLED;
    f->state = FIBER_READY;
    list_append(&f->loop->ready, &f->link);
}

enum cancel_reason fiber_cancelled(const struct fiber *f)
{
    return f->cancelled;
}

const char *cancel_reason_name(enum cancel_reason reason)
{
    static const char *const names[] = {
        [CANCEL_NONE] = "none",           [CANCEL_CLIENT_GONE] = "client_gone",
        [CANCEL_DEADLINE] = "deadline",   [CANCEL_DRAIN] = "drain",
        [CANCEL_SIBLING_WON] = "sibling", [CANCEL_OWNER] = "owner",
    };
    return names[reason];
}

void fiber_set_label(const char *label)
{
    struct fiber *f = fiber_self();
    if (f)
        f->label = label;
}

uint64_t fiber_id(const struct fiber *f)
{
    return f->id;
}

void fiber_on_big_stack(void (*fn)(void *arg), void *arg)
{
    struct fiber *f = fiber_self();
    if (!f) {
        fn(arg); /* the loop is on it already */
        return;
    }
    f->loop->big_fn = fn;
    f->loop->big_arg = arg;
    switch_to_loop(f);
}

void fiber_lock_taken(void)
{
    struct fiber *f = fiber_self();
    if (f)
        f->locks++;
}

void fiber_lock_released(void)
{
    struct fiber *f = fiber_self();
    if (f)
        f->locks--;
}

/* --- groups ----------------------------------------------------------------------------------- */

void group_init(struct group *g)
{
    *g = (struct group){0};
    list_init(&g->fibers);
}

struct fiber *group_spawn(struct group *g, fiber_fn fn, void *arg, const char *name)
{
    struct fiber *f = fiber_spawn(fn, arg, name);
    if (!f)
        return NULL;
    f->group = g;
    list_append(&g->fibers, &f->group_link);
    g->live++;
    return f;
}

enum err group_join(struct group *g, int64_t deadline)
{
    struct fiber *self = fiber_self();
    ASSERT(self != NULL);
    ASSERT(self->group != g); /* nobody joins a group that it belongs to */
    ASSERT(g->joiner == NULL);
    enum err e = ERR_OK;
    g->joiner = self;
    while (g->live > 0 && e == ERR_OK)
        e = fiber_park("its children", deadline);
    g->joiner = NULL;
    return g->live == 0 ? ERR_OK : e;
}

void group_leave(struct group *g, enum cancel_reason reason)
{
    struct fiber *self = fiber_self();
    ASSERT(self != NULL);
    LIST_EACH(&g->fibers, struct fiber, group_link, f)
        fiber_cancel(f, reason);
    bool was_shielded = self->is_shielded;
    self->is_shielded = true;
    enum err e = group_join(g, FIBER_FOREVER);
    ASSERT(e == ERR_OK);
    self->is_shielded = was_shielded;
}
