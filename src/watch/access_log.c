#include "watch/access_log.h"

#include "base/mem.h"
#include "base/ring.h"
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_MAX = 256 * 1024 };

/* How long the writer lets lines gather: a wake-up costs more than a line. */
static const int64_t GATHER_NS = 5 * NS_PER_MS;

struct access_log {
    struct ring *rings;
    size_t ring_count;
    pthread_t thread;
    pthread_mutex_t writing; /* held while fd is used, and while it is replaced */
    _Atomic int fd;          /* -1: off */
    atomic_bool is_stopping, is_asleep;
    int wake_fd;
    _Atomic uint64_t lost;
    char *batch;
};

static enum err open_path(struct span path, int *fd, struct failure *why)
{
    char name[2048];
    if (span_eq(path, SPAN("off"))) {
        *fd = -1;
        return ERR_OK;
    }
    if (span_eq(path, SPAN("stdout"))) {
        *fd = dup(STDOUT_FILENO);
        return *fd < 0 ? fail(why, ERR_IO, "cannot write to standard output") : ERR_OK;
    }
    if (path.n >= sizeof name)
        return fail(why, ERR_IO, "the access log's path is too long");
    memcpy(name, path.p, path.n);
    name[path.n] = '\0';
    *fd = sys.open(name, O_WRONLY | O_APPEND | O_CREAT, 0640);
    if (*fd < 0)
        return fail(why, ERR_IO, "cannot open the access log %s: %s", name, strerror(errno));
    return ERR_OK;
}

/* Only ever on the writer's own thread, or the main one. */
static void rest(int64_t ns)
{
    struct timespec t = {.tv_nsec = (long)ns};
    nanosleep(&t, NULL);
}

/* All of it, however slow: only this thread waits. False: the rest is lost. */
static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = sys.write(fd, p, n);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) {
            if (errno == EAGAIN)
                rest(NS_PER_MS);
            continue;
        }
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool drain_ring(struct access_log *log, struct ring *r)
{
    struct span line;
    size_t n = 0;
    uint64_t lines = 0;
    while (n < BATCH_MAX - RECORD_TEXT_MAX && ring_peek(r, &line)) {
        memcpy(log->batch + n, line.p, line.n);
        n += line.n;
        lines++;
        ring_consume(r);
    }
    pthread_mutex_lock(&log->writing);
    int fd = atomic_load(&log->fd);
    bool is_lost = n > 0 && fd >= 0 && !write_all(fd, log->batch, n);
    pthread_mutex_unlock(&log->writing);
    if (is_lost)
        atomic_fetch_add(&log->lost, lines);
    return n > 0;
}

static bool drain_all(struct access_log *log)
{
    bool any = false;
    for (size_t i = 0; i < log->ring_count; i++)
        any |= drain_ring(log, &log->rings[i]);
    return any;
}

static void sleep_until_woken(struct access_log *log)
{
    uint64_t count;
    atomic_store(&log->is_asleep, true);
    if (!drain_all(log) && !atomic_load(&log->is_stopping)) {
        ssize_t n = read(log->wake_fd, &count, sizeof count);
        (void)n;
    }
    atomic_store(&log->is_asleep, false);
}

static void *run(void *arg)
{
    struct access_log *log = arg;
    while (!atomic_load(&log->is_stopping)) {
        if (!drain_all(log))
            sleep_until_woken(log);
        rest(GATHER_NS);
    }
    while (drain_all(log)) {
    }
    return NULL;
}

static void wake(struct access_log *log)
{
    uint64_t one = 1;
    ssize_t n = write(log->wake_fd, &one, sizeof one);
    (void)n;
}

static void free_log(struct access_log *log)
{
    for (size_t i = 0; log->rings && i < log->ring_count; i++)
        ring_deinit(&log->rings[i]);
    if (log->wake_fd >= 0)
        close(log->wake_fd);
    int fd = atomic_load(&log->fd);
    if (fd >= 0)
        sys.close(fd);
    pthread_mutex_destroy(&log->writing);
    mem_free(log->rings);
    mem_free(log->batch);
    mem_free(log);
}

static bool start_thread(struct access_log *log)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&log->thread, NULL, run, log) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

enum err access_log_open(struct span path, size_t workers, struct access_log **out,
                         struct failure *why)
{
    struct access_log *log = mem_calloc(1, sizeof *log);
    TRY_ALLOC(log);
    log->fd = -1;
    pthread_mutex_init(&log->writing, NULL);
    log->wake_fd = eventfd(0, EFD_CLOEXEC);
    log->rings = mem_calloc(workers, sizeof *log->rings);
    log->batch = mem_alloc(BATCH_MAX);
    enum err e = log->rings && log->batch && log->wake_fd >= 0 ? ERR_OK : ERR_NO_MEMORY;
    while (e == ERR_OK && log->ring_count < workers) {
        e = ring_init(&log->rings[log->ring_count], ACCESS_LOG_RING);
        log->ring_count += e == ERR_OK;
    }
    int fd = -1;
    if (e == ERR_OK)
        e = open_path(path, &fd, why);
    atomic_store(&log->fd, fd);
    if (e == ERR_OK && !start_thread(log))
        e = fail(why, ERR_NO_MEMORY, "cannot start the thread of the access log");
    if (e != ERR_OK) {
        free_log(log);
        return e;
    }
    *out = log;
    return ERR_OK;
}

void access_log_close(struct access_log *log)
{
    if (!log)
        return;
    atomic_store(&log->is_stopping, true);
    wake(log);
    pthread_join(log->thread, NULL);
    free_log(log);
}

enum err access_log_reopen(struct access_log *log, struct span path, struct failure *why)
{
    int fd;
    TRY(open_path(path, &fd, why));
    /* The writer may be in the middle of a batch: closed under its hands, the number could be a
     * caller's socket by the time that it is used again. */
    pthread_mutex_lock(&log->writing);
    int old = atomic_exchange(&log->fd, fd);
    pthread_mutex_unlock(&log->writing);
    if (old >= 0)
        sys.close(old);
    return ERR_OK;
}

void access_log_put(struct access_log *log, size_t worker, const struct record *r)
{
    if (!log || atomic_load_explicit(&log->fd, memory_order_relaxed) < 0)
        return;
    ASSERT(worker < log->ring_count);
    struct ring *ring = &log->rings[worker];
    char *place = ring_reserve(ring, RECORD_TEXT_MAX);
    if (!place)
        return;
    struct builder out;
    builder_init_fixed(&out, place, RECORD_TEXT_MAX);
    if (record_write(&out, r) != ERR_OK) {
        atomic_fetch_add(&log->lost, 1);
        return;
    }
    ring_commit(ring, builder_span(&out).n);
    if (atomic_load(&log->is_asleep))
        wake(log);
}

uint64_t access_log_dropped(const struct access_log *log)
{
    uint64_t n = 0;
    if (!log)
        return 0;
    for (size_t i = 0; i < log->ring_count; i++)
        n += ring_dropped(&log->rings[i]);
    return n + atomic_load(&log->lost);
}
