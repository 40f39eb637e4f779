/* parked.c -- a program with fibers that wait, for test_fiber_gdb.py.
 *
 * Two loops on two threads; on the first, fibers wait in a sleep, deep in a call, for ever, and for
 * a child; one is spawned last and has not run. Then the process stops where gdb looks. */
#include "base/sys.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

void all_are_parked(void);
static sem_t other_is_parked;

/* Where gdb has its breakpoint. */
__attribute__((noinline)) void all_are_parked(void)
{
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static int sleep_at_depth(int depth)
{
    if (depth == 0)
        return fiber_sleep(clock_ns() + 3600 * NS_PER_S) == ERR_OK;
    int below = sleep_at_depth(depth - 1);
    __asm__ volatile("" ::: "memory"); /* no tail call: each level keeps its frame */
    return below + 1;
}

static void sleeper(void *arg)
{
    fiber_set_label(arg);
    (void)!sleep_at_depth(3);
}

static void waiter(void *arg)
{
    (void)arg;
    (void)!fiber_park("a letter", FIBER_FOREVER);
}

static void parent(void *arg)
{
    struct group g;
    (void)arg;
    group_init(&g);
    if (group_spawn(&g, sleeper, "child of the parent", "child"))
        (void)!group_join(&g, FIBER_FOREVER);
    group_leave(&g, CANCEL_OWNER);
}

static void unborn(void *arg)
{
    (void)arg;
}

static void witness(void *arg)
{
    (void)arg;
    while (sem_wait(&other_is_parked) != 0) {
    }
    if (!fiber_spawn(unborn, NULL, "unborn"))
        _exit(1);
    all_are_parked();
    _exit(0);
}

/* Let the others run before the end is told. */
static void late_witness(void *arg)
{
    if (fiber_sleep(clock_ns() + 20 * NS_PER_MS) == ERR_OK)
        witness(arg);
}

static void tell(void *arg)
{
    (void)arg;
    if (fiber_sleep(clock_ns() + 10 * NS_PER_MS) == ERR_OK)
        sem_post(&other_is_parked);
    (void)!fiber_park("the end of the test", FIBER_FOREVER);
}

static void *other_thread(void *arg)
{
    struct loop *l = loop_new(100);
    (void)arg;
    if (!l || !fiber_spawn(waiter, NULL, "elsewhere") || !fiber_spawn(tell, NULL, "teller"))
        _exit(1);
    loop_run(l);
    return NULL;
}

int main(void)
{
    static char label[] = "request 4711";
    pthread_t other;
    sem_init(&other_is_parked, 0, 0);
    struct loop *l = loop_new(100);
    if (!l || pthread_create(&other, NULL, other_thread, NULL) != 0)
        return 1;
    if (!fiber_spawn(sleeper, label, "sleeper") || !fiber_spawn(waiter, NULL, "waiter") ||
        !fiber_spawn(parent, NULL, "parent") || !fiber_spawn(late_witness, NULL, "witness"))
        return 1;
    loop_run(l);
    return 0;
}
