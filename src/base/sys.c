#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* rename */
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int64_t read_clock(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t real_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t real_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void real_random(void *bytes, size_t n)
{
    char *p = bytes;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        ASSERT(got > 0);
        p += got;
        n -= (size_t)got;
    }
}

static int real_accept(int fd, struct sockaddr *address, socklen_t *n)
{
    return accept4(fd, address, n, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static int real_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

static void *real_map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

struct sys_door sys = {
    .monotonic_ns = real_monotonic_ns,
    .wall_ns = real_wall_ns,
    .random = real_random,
    .read = read,
    .writev = writev,
    .socket = socket,
    .connect = connect,
    .accept = real_accept,
    .close = close,
    .epoll_ctl = epoll_ctl,
    .epoll_wait = epoll_wait,
    .open = real_open,
    .write = write,
    .fsync = fsync,
    .rename = rename,
    .map = real_map,
};

/* splitmix64: one multiplication chain a number, any seed will do. */
uint64_t random_u64(void)
{
    static _Thread_local uint64_t state;
    if (state == 0)
        sys.random(&state, sizeof state);
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void put_digits(char *out, int count, int64_t value)
{
    for (int i = count - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The calendar of a second is worth keeping: every line of the access log asks for it. */
void time_text(int64_t wall_ns, char out[TIME_TEXT_BYTES])
{
    static _Thread_local time_t known_second = -1;
    static _Thread_local char known[TIME_TEXT_BYTES];
    time_t second = (time_t)(wall_ns / NS_PER_S);
    if (second != known_second) {
        struct tm t;
        gmtime_r(&second, &t);
        memcpy(known, "0000-00-00T00:00:00.000Z", sizeof known);
        put_digits(known, 4, t.tm_year + 1900);
        put_digits(known + 5, 2, t.tm_mon + 1);
        put_digits(known + 8, 2, t.tm_mday);
        put_digits(known + 11, 2, t.tm_hour);
        put_digits(known + 14, 2, t.tm_min);
        put_digits(known + 17, 2, t.tm_sec);
        known_second = second;
    }
    memcpy(out, known, TIME_TEXT_BYTES);
    put_digits(out + 20, 3, wall_ns / NS_PER_MS % 1000);
}
