#include "fiber/loop.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "fiber/fiber_impl.h"
#include "fiber/io.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    TRIM_KEEP = 32,   /* free stacks that stay warm */
    TRIM_WORTH = 256, /* stacks given back that make a look at the heap worth its milliseconds */
    SIGNAL_STACK = 16 * 1024,
};
static const int64_t TRIM_EVERY_NS = 2 * NS_PER_S;
static const int64_t SLOW_ROUND_NS = 10 * NS_PER_MS;

static _Thread_local struct loop *this_loop;

struct loop *loop_self(void)
{
    return this_loop;
}

int64_t loop_now(void)
{
    return this_loop ? this_loop->now_ns : clock_ns();
}

void loop_set_timer(struct timer *t, int64_t at_ns)
{
    ASSERT(this_loop != NULL);
    timer_set(&this_loop->wheel, t, at_ns);
}

/* What load left behind goes back to the system once it is over; set only while there is some. */
static void on_trim(struct timer *t)
{
    struct loop *l = CONTAINER_OF(t, struct loop, trim_timer);
    if (stacks_trim(&l->stacks, TRIM_KEEP) > TRIM_WORTH)
        mem_trim(); /* what so many requests held in the heap is free, too */
}

static bool open_descriptors(struct loop *l)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->epoll_fd >= 0 && l->wake_fd >= 0 &&
        sys.epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &event) == 0)
        return true;
    close(l->epoll_fd);
    close(l->wake_fd);
    return false;
}

/* A fiber that overflowed its stack cannot run the handler that says so on it. */
static void use_signal_stack(char *memory)
{
    stack_t alternate = {
        .ss_sp = memory, .ss_size = memory ? SIGNAL_STACK : 0, .ss_flags = memory ? 0 : SS_DISABLE};
    sigaltstack(&alternate, NULL);
}

struct loop *loop_new(size_t fibers_max)
{
    ASSERT(this_loop == NULL);
    struct loop *l = mem_calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->signal_stack = mem_alloc(SIGNAL_STACK);
    if (!l->signal_stack || !open_descriptors(l)) {
        mem_free(l->signal_stack);
        mem_free(l);
        return NULL;
    }
    if (!WITH_ASAN && !WITH_TSAN)
        use_signal_stack(l->signal_stack);
    list_init(&l->ready);
    list_init(&l->all);
    l->now_ns = clock_ns();
    wheel_init(&l->wheel, l->now_ns);
    timer_init(&l->trim_timer, on_trim);
    stacks_init(&l->stacks, fibers_max + 16);
    l->stats.fibers_max = fibers_max;
    this_loop = l;
    return l;
}

static void run_letters(struct loop *l);

static void empty_graveyard(struct loop *l);

void loop_free(struct loop *l)
{
    ASSERT(l == this_loop);
    run_letters(l);
    while (atomic_load(&l->posting) > 0)
        sched_yield(); /* a letter's sender still holds the handle */
    empty_graveyard(l);
    ASSERT(list_is_empty(&l->all));
    close(l->epoll_fd);
    close(l->wake_fd);
    stacks_deinit(&l->stacks);
    if (!WITH_ASAN && !WITH_TSAN)
        use_signal_stack(NULL);
    mem_free(l->signal_stack);
    mem_free(l);
    this_loop = NULL;
}

void loop_stop(struct loop *l)
{
    ASSERT(l == this_loop);
    l->is_stopping = true;
}

void loop_bury(struct grave *g)
{
    ASSERT(this_loop != NULL);
    g->next = this_loop->graves;
    this_loop->graves = g;
}

static void empty_graveyard(struct loop *l)
{
    while (l->graves) {
        struct grave *g = l->graves;
        l->graves = g->next;
        g->release(g);
    }
}

/* --- letters ---------------------------------------------------------------------------------- */

void loop_post(struct loop *to, struct letter *letter)
{
    struct letter *head = atomic_load_explicit(&to->letters, memory_order_relaxed);
    /* The letter may be what the loop's end waits for: it must not be freed before we are done. */
    atomic_fetch_add(&to->posting, 1);
    do {
        letter->next = head;
    } while (!atomic_compare_exchange_weak(&to->letters, &head, letter));
    if (atomic_load(&to->is_sleeping)) {
        uint64_t one = 1;
        ssize_t n = write(to->wake_fd, &one, sizeof one);
        (void)n; /* full: it is awake anyway */
    }
    atomic_fetch_sub(&to->posting, 1);
}

static void run_letters(struct loop *l)
{
    struct letter *newest = atomic_exchange(&l->letters, NULL), *oldest = NULL;
    while (newest) { /* the order in which they were posted */
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct letter *letter = oldest;
        oldest = letter->next;
        letter->fn(letter);
    }
}

/* --- the round -------------------------------------------------------------------------------- */

/* Those that become runnable meanwhile have their turn in the next round. */
static void run_ready(struct loop *l)
{
    struct list turn;
    list_init(&turn);
    list_splice(&turn, &l->ready);
    while (!list_is_empty(&turn)) {
        struct fiber *f = CONTAINER_OF(turn.next, struct fiber, link);
        list_remove(&f->link);
        fiber_resume(f);
    }
}

static int poll_timeout_ms(struct loop *l)
{
    if (!list_is_empty(&l->ready) || l->is_stopping ||
        atomic_load_explicit(&l->letters, memory_order_relaxed))
        return 0;
    int64_t next = wheel_next_ns(&l->wheel);
    if (next == INT64_MAX)
        return -1;
    int64_t wait = next - l->now_ns;
    return wait <= 0 ? 0 : (int)MIN((wait + NS_PER_MS - 1) / NS_PER_MS, 60 * 1000);
}

/* A round that took long kept everybody waiting: the operator should know. */
static void note_round(struct loop *l, int64_t before)
{
    l->stats.rounds++;
    int64_t took = clock_ns() - before;
    if (LIKELY(took < SLOW_ROUND_NS))
        return;
    l->stats.slow_rounds++;
    log_debug("a round of the event loop took %lld ms", (long long)(took / NS_PER_MS));
}

static void drain_wake_fd(struct loop *l)
{
    uint64_t count;
    ssize_t n = read(l->wake_fd, &count, sizeof count);
    (void)n;
}

static void poll_events(struct loop *l)
{
    struct epoll_event events[EVENTS_MAX];
    int timeout = poll_timeout_ms(l);
    if (timeout != 0) {
        /* Announce the sleep, then look once more: a letter may have come in between. */
        atomic_store(&l->is_sleeping, true);
        if (atomic_load(&l->letters))
            timeout = 0;
    }
    int count = sys.epoll_wait(l->epoll_fd, events, EVENTS_MAX, timeout);
    if (timeout != 0)
        atomic_store(&l->is_sleeping, false);
    l->now_ns = clock_ns();
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr)
            io_dispatch(events[i].data.ptr, events[i].events);
        else
            drain_wake_fd(l);
    }
}

void loop_run(struct loop *l)
{
    ASSERT(l == this_loop);
    l->is_stopping = false;
    while (!l->is_stopping) {
        poll_events(l);
        int64_t before = l->now_ns;
        wheel_turn(&l->wheel, l->now_ns);
        if (atomic_load_explicit(&l->letters, memory_order_relaxed))
            run_letters(l);
        run_ready(l);
        empty_graveyard(l);
        note_round(l, before);
        if (l->stacks.warm > TRIM_KEEP && !timer_is_set(&l->trim_timer))
            timer_set(&l->wheel, &l->trim_timer, l->now_ns + TRIM_EVERY_NS);
    }
}

struct loop_stats loop_stats(const struct loop *l)
{
    struct loop_stats stats = l->stats;
    stats.stacks = l->stacks.count;
    return stats;
}
