#include "tests/fault/doors.h"

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { FDS_MAX = 1024 };

static struct {
    struct fault fault;
    atomic_bool is_armed;
    atomic_ulong calls;
    atomic_long live;
} doors;

static struct sys_door real;
static struct mem_door real_mem;

/* How each descriptor was registered: one thread runs loops here. */
static struct {
    int epoll;
    struct epoll_event event;
} registered[FDS_MAX];

static bool fails(enum door door)
{
    if (!atomic_load(&doors.is_armed) || doors.fault.door != door)
        return false;
    unsigned long n = atomic_fetch_add(&doors.calls, 1) + 1;
    return doors.fault.at &&
           (n == doors.fault.at || (doors.fault.is_for_ever && n > doors.fault.at));
}

static void tell_again(int fd)
{
    if (fd >= 0 && fd < FDS_MAX && registered[fd].epoll)
        epoll_ctl(registered[fd].epoll, EPOLL_CTL_MOD, fd, &registered[fd].event);
}

static int refuse(int fd)
{
    if (doors.fault.how == EAGAIN)
        tell_again(fd);
    errno = doors.fault.how;
    return -1;
}

/* --- memory ----------------------------------------------------------------------------------- */

static void *failing_realloc(void *old, size_t n)
{
    if (fails(DOOR_ALLOC))
        return NULL;
    void *p = real_mem.realloc(old, n);
    if (p && !old)
        atomic_fetch_add(&doors.live, 1);
    return p;
}

static void counting_free(void *p)
{
    atomic_fetch_sub(&doors.live, 1);
    real_mem.free(p);
}

static void *failing_map(size_t n)
{
    return fails(DOOR_MAP) ? NULL : real.map(n);
}

/* --- sockets and files ------------------------------------------------------------------------ */

static ssize_t failing_read(int fd, void *buffer, size_t n)
{
    if (!fails(DOOR_READ))
        return real.read(fd, buffer, n);
    if (doors.fault.how == FAULT_EOF)
        return 0;
    if (doors.fault.how != FAULT_SHORT)
        return refuse(fd);
    ssize_t got = real.read(fd, buffer, 1);
    tell_again(fd);
    return got;
}

static ssize_t failing_writev(int fd, const struct iovec *parts, int count)
{
    if (!fails(DOOR_WRITEV))
        return real.writev(fd, parts, count);
    if (doors.fault.how != FAULT_SHORT)
        return refuse(fd);
    struct iovec one = {parts[0].iov_base, MIN(parts[0].iov_len, 1u)};
    return real.writev(fd, &one, 1);
}

static ssize_t failing_write(int fd, const void *bytes, size_t n)
{
    if (!fails(DOOR_WRITE))
        return real.write(fd, bytes, n);
    return doors.fault.how == FAULT_SHORT ? real.write(fd, bytes, 1) : refuse(-1);
}

static int failing_accept(int fd, struct sockaddr *address, socklen_t *n)
{
    return fails(DOOR_ACCEPT) ? refuse(fd) : real.accept(fd, address, n);
}

static int failing_connect(int fd, const struct sockaddr *address, socklen_t n)
{
    return fails(DOOR_CONNECT) ? refuse(-1) : real.connect(fd, address, n);
}

static int failing_socket(int family, int type, int protocol)
{
    return fails(DOOR_SOCKET) ? refuse(-1) : real.socket(family, type, protocol);
}

static int failing_open(const char *path, int flags, mode_t mode)
{
    return fails(DOOR_OPEN) ? refuse(-1) : real.open(path, flags, mode);
}

static int failing_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation != EPOLL_CTL_DEL && fails(DOOR_EPOLL_CTL))
        return refuse(-1);
    if (fd < FDS_MAX && operation == EPOLL_CTL_DEL)
        registered[fd].epoll = 0;
    else if (fd < FDS_MAX) {
        registered[fd].epoll = epoll;
        registered[fd].event = *event;
    }
    return real.epoll_ctl(epoll, operation, fd, event);
}

static int failing_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    return fails(DOOR_EPOLL_WAIT) ? refuse(-1) : real.epoll_wait(epoll, events, count, timeout_ms);
}

static int forgetting_close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX)
        registered[fd].epoll = 0;
    return real.close(fd);
}

/* --- cancellation ----------------------------------------------------------------------------- */

struct cancellation {
    struct letter letter;
    struct fiber *fiber;
};

/* Before any fiber of the round runs: the one that waited is still there. */
static void cancel(struct letter *letter)
{
    struct cancellation *c = CONTAINER_OF(letter, struct cancellation, letter);
    fiber_cancel(c->fiber, CANCEL_CLIENT_GONE);
    free(c);
}

static void on_park(struct fiber *f)
{
    if (!fails(DOOR_PARK))
        return;
    struct cancellation *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->letter.fn = cancel;
    c->fiber = f;
    loop_post(loop_self(), &c->letter);
}

/* --- the handle ------------------------------------------------------------------------------- */

void doors_install(void)
{
    real = sys;
    real_mem = mem_door;
    mem_door = (struct mem_door){failing_realloc, counting_free};
    sys.map = failing_map;
    sys.read = failing_read;
    sys.writev = failing_writev;
    sys.write = failing_write;
    sys.accept = failing_accept;
    sys.connect = failing_connect;
    sys.socket = failing_socket;
    sys.open = failing_open;
    sys.epoll_ctl = failing_epoll_ctl;
    sys.epoll_wait = failing_epoll_wait;
    sys.close = forgetting_close;
    fiber_on_park = on_park;
}

void doors_arm(const struct fault *fault)
{
    doors.fault = *fault;
    atomic_store(&doors.calls, 0);
    atomic_store(&doors.is_armed, true);
}

void doors_disarm(void)
{
    atomic_store(&doors.is_armed, false);
}

unsigned long doors_count(void)
{
    return atomic_load(&doors.calls);
}

long doors_live(void)
{
    return atomic_load(&doors.live);
}
