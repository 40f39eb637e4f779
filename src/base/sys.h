/* sys.h -- everything that we ask of the operating system, replaceable.
 *
 * Why: what cannot be replaced cannot be made to fail. The fault tests put doors in here that
 * fail or cut short the n-th call; a simulation puts a clock here that it moves by hand.
 *
 * Owns:      nothing.
 * Errors:    as the system calls: -1 and errno. Only fiber/io.c and the few callers at start
 *            translate errno into enum err.
 * Suspends:  never. read/write on a blocking descriptor block the thread: see FIBERS, rule 5.
 * Threads:   any.
 */
#ifndef PENSTOCK_BASE_SYS_H
#define PENSTOCK_BASE_SYS_H

#include "base/base.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct epoll_event;

/* Replaced as a whole or in part by tests before threads start; production never writes it. */
struct sys_door {
    /* Time in nanoseconds: since some start, never backwards; and since 1970. */
    int64_t (*monotonic_ns)(void);
    int64_t (*wall_ns)(void);

    /* Unpredictable bytes. Aborts when the system has none: nothing safe can be done then. */
    void (*random)(void *bytes, size_t n);

    /* Sockets and pipes, all non-blocking. */
    ssize_t (*read)(int fd, void *buffer, size_t n);
    ssize_t (*writev)(int fd, const struct iovec *parts, int count);
    int (*socket)(int family, int type, int protocol);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t n);
    int (*accept)(int fd, struct sockaddr *address, socklen_t *n); /* non-blocking, close-on-exec */
    int (*close)(int fd);
    int (*epoll_ctl)(int epoll, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(int epoll, struct epoll_event *events, int count, int timeout_ms);

    /* Files. */
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*write)(int fd, const void *bytes, size_t n);
    int (*fsync)(int fd);
    int (*rename)(const char *from, const char *to);
    void *(*map)(size_t n); /* anonymous private memory, or NULL */
};
extern struct sys_door sys;

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

static inline int64_t clock_ns(void)
{
    return sys.monotonic_ns();
}

static inline int64_t wall_ns(void)
{
    return sys.wall_ns();
}

/* A cheap stream of numbers for jitter, sampling and ids that need not be secret; seeded from the
 * system per thread. Never for keys. */
uint64_t random_u64(void);

/* Writes wall time as 2026-11-21T08:51:02.123Z: 24 bytes, no NUL. */
enum { TIME_TEXT_BYTES = 24 };
void time_text(int64_t wall_ns, char out[TIME_TEXT_BYTES]);

#endif
