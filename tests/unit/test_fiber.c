#include "base/mem.h"
#include "base/sys.h"
#include "fiber/fiber.h"
#include "fiber/io.h"
#include "fiber/loop.h"
#include "fiber/offload.h"
#include "fiber/stack.h"
#include "tests/test.h"

#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `fn` as the first fiber of a loop of its own until loop_stop, and leaves nothing behind. */
static struct loop_stats run_in_loop(fiber_fn fn, void *arg, size_t fibers_max)
{
    struct loop *l = loop_new(fibers_max);
    if (!EXPECT(l != NULL) || !EXPECT(fiber_spawn(fn, arg, "test") != NULL))
        exit(1);
    loop_run(l);
    struct loop_stats stats = loop_stats(l);
    loop_free(l);
    return stats;
}

static void done(void)
{
    loop_stop(loop_self());
}

/* --- the switch ------------------------------------------------------------------------------- */

static bool aligned;
static double kept;
static int frames;

__attribute__((noinline)) static double many_doubles(double x)
{
    volatile _Alignas(16) double v[4] = {x, x + 1, x + 2, x + 3}; /* movaps on x86-64 */
    aligned = ((uintptr_t)v & 15) == 0;
    return v[0] + v[1] + v[2] + v[3];
}

static void other_fiber(void *arg)
{
    volatile double noise = many_doubles(1000.5);
    (void)noise;
    (void)arg;
}

static void switch_body(void *arg)
{
    (void)arg;
    double sum = 0;
    for (int i = 0; i < 100; i++) {
        sum += many_doubles(i);
        if (!EXPECT(fiber_spawn(other_fiber, NULL, "other") != NULL))
            break;
        (void)!fiber_yield();
    }
    kept = sum;
    void *trace[32];
    frames = backtrace(trace, 32);
    done();
}

TEST(a_switch_keeps_registers_alignment_and_backtraces)
{
    run_in_loop(switch_body, NULL, 100);
    CHECK(aligned);
    CHECK(kept == 4 * 4950 + 6 * 100);
    CHECK(frames > 0 && frames < 32); /* the unwinder stops at the first frame */
}

/* --- timers, against a plain array -------------------------------------------------------------*/

enum { TIMERS = 300 };
static struct timer timers[TIMERS];
static int64_t due[TIMERS]; /* INT64_MAX: not set */
static int64_t test_now;
static int too_early, too_late;

static void on_test_timer(struct timer *t)
{
    size_t i = (size_t)(t - timers);
    too_early += due[i] > test_now;
    due[i] = INT64_MAX;
}

TEST(timers_fire_in_time_and_once)
{
    static struct wheel w;
    const int64_t tick = INT64_C(1) << TICK_SHIFT;
    test_now = 123 * NS_PER_S;
    wheel_init(&w, test_now);
    for (int i = 0; i < TIMERS; i++) {
        timer_init(&timers[i], on_test_timer);
        due[i] = INT64_MAX;
    }
    uint32_t seed = 7;
    int64_t earliest = INT64_MAX;
    for (int step = 0; step < 200000; step++) {
        seed = seed * 1664525u + 1013904223u;
        size_t i = (seed >> 8) % TIMERS;
        int64_t reach = NS_PER_MS << (seed >> 28) << (seed >> 27 & 7); /* 1 ms to 70 min */
        if (seed & 1) {
            due[i] = test_now + (int64_t)(seed >> 4) % reach;
            timer_set(&w, &timers[i], due[i]);
        } else if (seed & 2) {
            timer_stop(&timers[i]);
            due[i] = INT64_MAX;
        } else if (seed & 4) {
            int64_t next = wheel_next_ns(&w);
            earliest = INT64_MAX;
            for (int k = 0; k < TIMERS; k++)
                earliest = MIN(earliest, due[k]);
            /* It may tell an earlier time, never a later one than the first timer plus two ticks.
             */
            CHECK(earliest == INT64_MAX || next <= MAX(earliest, test_now) + 2 * tick);
            test_now = seed & 8 && next != INT64_MAX ? MAX(next, test_now)
                                                     : test_now + (int64_t)(seed >> 6) % reach;
            wheel_turn(&w, test_now);
            for (int k = 0; k < TIMERS; k++)
                too_late += due[k] < test_now - 2 * tick;
        }
        CHECK(too_early == 0 && too_late == 0);
    }
}

/* --- waiting, deadlines, cancellation --------------------------------------------------------- */

static enum err first_wait, second_wait, late_wait;
static int64_t slept_ns;

static void sleeper(void *arg)
{
    (void)arg;
    first_wait = fiber_park("nothing", FIBER_FOREVER);
    second_wait = fiber_park("nothing", FIBER_FOREVER);
    late_wait = fiber_yield();
}

static void cancel_body(void *arg)
{
    (void)arg;
    struct group g;
    group_init(&g);
    struct fiber *f = group_spawn(&g, sleeper, NULL, "sleeper");
    EXPECT(f != NULL);
    EXPECT(fiber_yield() == ERR_OK);
    int64_t before = clock_ns();
    EXPECT(group_join(&g, before + 5 * NS_PER_MS) == ERR_TIMEOUT);
    slept_ns = clock_ns() - before;
    fiber_cancel(f, CANCEL_CLIENT_GONE);
    fiber_cancel(f, CANCEL_DRAIN);
    EXPECT(fiber_cancelled(f) == CANCEL_CLIENT_GONE); /* the first reason stays */
    group_leave(&g, CANCEL_OWNER);
    done();
}

TEST(cancellation_is_sticky_and_deadlines_hold)
{
    run_in_loop(cancel_body, NULL, 100);
    CHECK(first_wait == ERR_CANCELLED);
    CHECK(second_wait == ERR_CANCELLED);
    CHECK(late_wait == ERR_CANCELLED);
    CHECK(slept_ns >= 5 * NS_PER_MS);
}

static int children_ended;

static void stubborn_child(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) /* work between waits is never interrupted */
        (void)!fiber_sleep(loop_now() + NS_PER_S);
    children_ended++;
}

static void cancelled_parent(void *arg)
{
    (void)arg;
    struct group g;
    group_init(&g);
    for (int i = 0; i < 50; i++)
        EXPECT(group_spawn(&g, stubborn_child, NULL, "child") != NULL);
    EXPECT(group_join(&g, FIBER_FOREVER) == ERR_CANCELLED);
    group_leave(&g, CANCEL_OWNER); /* although this fiber is cancelled itself */
    EXPECT(children_ended == 50);
    done();
}

static void cancel_parent(void *arg)
{
    struct fiber **parent = arg;
    *parent = fiber_spawn(cancelled_parent, NULL, "parent");
    EXPECT(fiber_sleep(loop_now() + NS_PER_MS) == ERR_OK);
    fiber_cancel(*parent, CANCEL_DRAIN);
}

TEST(a_cancelled_parent_takes_its_children_along)
{
    struct fiber *parent;
    children_ended = 0;
    run_in_loop(cancel_parent, &parent, 100);
    CHECK(children_ended == 50);
}

/* --- io: a stream through a socket pair in odd pieces ----------------------------------------- */

enum { STREAM = 1000000 };
struct ends {
    int fds[2];
    struct io writer, reader;
    size_t received;
    bool is_right;
    enum err end;
};

static void write_stream(void *arg)
{
    struct ends *e = arg;
    static char bytes[STREAM];
    for (size_t i = 0; i < STREAM; i++)
        bytes[i] = (char)(i * 31 + i / 251);
    struct iovec parts[3] = {{bytes, 1}, {bytes + 1, 70000}, {bytes + 70001, STREAM - 70001}};
    EXPECT(io_write(&e->writer, parts, 3, FIBER_FOREVER) == ERR_OK);
    io_close(&e->writer);
}

static void read_stream(void *arg)
{
    struct ends *e = arg;
    char piece[777];
    size_t got;
    EXPECT(io_open(&e->writer, e->fds[0], NULL) == ERR_OK);
    EXPECT(io_open(&e->reader, e->fds[1], NULL) == ERR_OK);
    EXPECT(io_read(&e->reader, piece, 1, loop_now() + NS_PER_MS, &got) == ERR_TIMEOUT);
    EXPECT(fiber_spawn(write_stream, e, "writer") != NULL);
    e->is_right = true;
    while ((e->end = io_read(&e->reader, piece, sizeof piece, FIBER_FOREVER, &got)) == ERR_OK)
        for (size_t k = 0; k < got; k++, e->received++)
            e->is_right &= piece[k] == (char)(e->received * 31 + e->received / 251);
    io_close(&e->reader);
    done();
}

TEST(a_stream_arrives_whole_through_waits)
{
    struct ends e = {.received = 0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e.fds) == 0);
    run_in_loop(read_stream, &e, 10);
    CHECK(e.end == ERR_CLOSED);
    CHECK(e.received == STREAM && e.is_right);
}

/* --- fairness: a fiber that never blocks still lets others run -------------------------------- */

static int turns;
static bool hog_ended;

static void hog(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        (void)!fiber_did_work();
    hog_ended = true;
    done();
}

static void polite(void *arg)
{
    (void)arg;
    while (!hog_ended) {
        turns++;
        (void)!fiber_yield();
    }
}

static void fairness_body(void *arg)
{
    (void)arg;
    EXPECT(fiber_spawn(hog, NULL, "hog") != NULL);
    EXPECT(fiber_spawn(polite, NULL, "polite") != NULL);
}

TEST(a_busy_fiber_yields)
{
    turns = 0;
    hog_ended = false;
    run_in_loop(fairness_body, NULL, 10);
    CHECK(turns > 30);
}

/* --- bounds ----------------------------------------------------------------------------------- */

enum { MANY = WITH_TSAN ? 2000 : 10000 }; /* TSan has room for 8,000 */
static int spawned, refused;

static void wait_a_little(void *arg)
{
    (void)arg;
    (void)!fiber_sleep(loop_now() + 20 * NS_PER_MS);
}

static void spawn_many(void *arg)
{
    struct group g;
    (void)arg;
    group_init(&g);
    for (int i = 0; i < MANY + 2000; i++) {
        if (group_spawn(&g, wait_a_little, NULL, "many"))
            spawned++;
        else
            refused++;
    }
    EXPECT(group_join(&g, FIBER_FOREVER) == ERR_OK);
    done();
}

TEST(ten_thousand_fibers_and_not_one_more)
{
    struct loop_stats stats = run_in_loop(spawn_many, NULL, MANY + 1);
    CHECK(spawned == MANY && refused == 2000);
    CHECK(stats.fibers == 0 && stats.fibers_peak == MANY + 1 && stats.refused == 2000);
}

/* --- letters and offloaded work --------------------------------------------------------------- */

enum { LETTERS = 20000 };
struct counted {
    struct letter letter;
    int number;
};
static struct counted letters[2][LETTERS];
static int next_number[2], out_of_order, arrived;
static struct loop *reader_loop;

static void on_letter(struct letter *letter)
{
    struct counted *c = CONTAINER_OF(letter, struct counted, letter);
    int who = c >= letters[1];
    out_of_order += c->number != next_number[who]++;
    if (++arrived == 2 * LETTERS)
        done();
}

static void *post_letters(void *arg)
{
    struct counted *mine = arg;
    for (int i = 0; i < LETTERS; i++) {
        mine[i] = (struct counted){.letter.fn = on_letter, .number = i};
        loop_post(reader_loop, &mine[i].letter);
    }
    return NULL;
}

TEST(letters_arrive_once_and_in_order)
{
    pthread_t threads[2];
    reader_loop = loop_new(4);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, post_letters, letters[i]) == 0);
    loop_run(reader_loop);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    loop_free(reader_loop);
    CHECK(arrived == 2 * LETTERS && out_of_order == 0);
}

static void square(void *arg)
{
    int *value = arg;
    usleep(1000);
    *value *= *value;
}

static int squares_sum;

static void call_offload(void *arg)
{
    int value = *(int *)arg;
    EXPECT(offload_call(square, &value) == ERR_OK);
    squares_sum += value;
}

static void offload_body(void *arg)
{
    struct group g;
    int values[20];
    (void)arg;
    group_init(&g);
    for (int i = 0; i < 20; i++) {
        values[i] = i;
        EXPECT(group_spawn(&g, call_offload, &values[i], "offload") != NULL);
    }
    EXPECT(fiber_yield() == ERR_OK);
    group_leave(&g, CANCEL_OWNER); /* cancelled, yet every job is waited for */
    done();
}

TEST(offloaded_work_is_waited_for)
{
    squares_sum = 0;
    run_in_loop(offload_body, NULL, 100);
    CHECK(squares_sum == 2470);
}

static int on_big;

/* 100 frames of 2 KiB: more than a fiber has. */
__attribute__((noinline)) static int deep(int level)
{
    volatile char room[2048];
    room[level % 2048] = 1;
    return level == 0 ? room[0] : deep(level - 1) + room[level % 2048];
}

static void needs_room(void *arg)
{
    *(int *)arg = deep(100);
}

static void big_stack_body(void *arg)
{
    (void)arg;
    fiber_on_big_stack(needs_room, &on_big);
    done();
}

TEST(the_big_stack_takes_deep_calls)
{
    run_in_loop(big_stack_body, NULL, 4);
    CHECK(on_big == 101);
}

/* --- an overflow is told from other crashes --------------------------------------------------- */

#if !WITH_ASAN && !WITH_TSAN

static void overflow_body(void *arg)
{
    (void)arg;
    fiber_set_label("req-77");
    deep(2000);
}

TEST(an_overflow_hits_the_guard_and_says_so)
{
    int pipe_fds[2];
    CHECK(pipe(pipe_fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        fiber_catch_crashes();
        run_in_loop(overflow_body, NULL, 4);
        _exit(0);
    }
    close(pipe_fds[1]);
    char text[1000] = {0};
    for (ssize_t n, at = 0; (n = read(pipe_fds[0], text + at, sizeof text - 1 - (size_t)at)) > 0;)
        at += n;
    close(pipe_fds[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(strstr(text, "overflowed its stack") && strstr(text, "req-77"));
}
#endif

int main(void)
{
    RUN(a_switch_keeps_registers_alignment_and_backtraces);
    RUN(timers_fire_in_time_and_once);
    RUN(cancellation_is_sticky_and_deadlines_hold);
    RUN(a_cancelled_parent_takes_its_children_along);
    RUN(a_stream_arrives_whole_through_waits);
    RUN(a_busy_fiber_yields);
    RUN(ten_thousand_fibers_and_not_one_more);
    RUN(letters_arrive_once_and_in_order);
    RUN(offloaded_work_is_waited_for);
    RUN(the_big_stack_takes_deep_calls);
#if !WITH_ASAN && !WITH_TSAN
    /* qemu's user mode says that guard pages were installed and installs none. */
    if (getenv("PENSTOCK_EMULATED"))
        SKIP(an_overflow_hits_the_guard_and_says_so, "no guard pages under emulation");
    else
        RUN(an_overflow_hits_the_guard_and_says_so);
#endif
    return TESTS_DONE();
}
