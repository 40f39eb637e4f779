#include "fiber/io.h"

#include "base/sys.h"
#include "fiber/fiber_impl.h"

#include <errno.h>
#include <sys/epoll.h>

enum { PARTS_MAX = 1024 }; /* IOV_MAX on Linux */

static enum err register_io(struct io *io, int operation)
{
    struct loop *l = loop_self();
    ASSERT(l != NULL);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = io};
    if (sys.epoll_ctl(l->epoll_fd, operation, io->fd, &event) == 0)
        return ERR_OK;
    return errno == ENOMEM || errno == ENOSPC ? ERR_NO_MEMORY : ERR_IO;
}

enum err io_open(struct io *io, int fd, void (*on_event)(struct io *io))
{
    *io = (struct io){.fd = fd, .on_event = on_event};
    enum err e = register_io(io, EPOLL_CTL_ADD);
    if (e != ERR_OK)
        io->fd = -1;
    return e;
}

enum err io_move(struct io *to, struct io *from, void (*on_event)(struct io *io))
{
    ASSERT(from->reader == NULL);
    ASSERT(from->writer == NULL);
    *to = *from;
    to->on_event = on_event;
    from->fd = -1;
    /* Events of this round that name `from` are dropped with its descriptor; the kernel tells
     * what is ready once more for a modified registration. */
    enum err e = register_io(to, EPOLL_CTL_MOD);
    if (e != ERR_OK)
        io_close(to);
    return e;
}

void io_close(struct io *io)
{
    ASSERT(io->fd >= 0);
    ASSERT(io->reader == NULL);
    ASSERT(io->writer == NULL);
    sys.close(io->fd); /* the kernel takes it off the epoll instance */
    io->fd = -1;
}

int io_detach(struct io *io)
{
    ASSERT(io->fd >= 0);
    ASSERT(io->reader == NULL);
    ASSERT(io->writer == NULL);
    int fd = io->fd;
    struct epoll_event unused = {0};
    if (sys.epoll_ctl(loop_self()->epoll_fd, EPOLL_CTL_DEL, fd, &unused) != 0) {
        io_close(io); /* an event for it could still come */
        return -1;
    }
    io->fd = -1;
    return fd;
}

void io_dispatch(struct io *io, uint32_t events)
{
    if (io->fd < 0)
        return; /* closed by an earlier event of this round */
    io->is_hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    io->is_broken |= (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        io->is_readable = true;
        if (io->reader)
            fiber_wake(io->reader);
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        io->is_writable = true;
        if (io->writer)
            fiber_wake(io->writer);
    }
    if (io->on_event)
        io->on_event(io);
}

enum err io_wait(struct io *io, enum io_side side, int64_t deadline)
{
    fiber_may_suspend();
    struct fiber **waiter = side == IO_READ ? &io->reader : &io->writer;
    const bool *is_ready = side == IO_READ ? &io->is_readable : &io->is_writable;
    ASSERT(*waiter == NULL);
    enum err e = ERR_OK;
    *waiter = fiber_self();
    while (!*is_ready && e == ERR_OK)
        e = fiber_park(side == IO_READ ? "bytes to read" : "room to write", deadline);
    *waiter = NULL;
    return e;
}

/* What a failed call means; ERR_AGAIN when it should be tried again after a wait. */
static enum err translate(int number)
{
    switch (number) {
    case EAGAIN:
        return ERR_AGAIN;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
        return ERR_CLOSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_IO;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NO_MEMORY;
    default:
        return ERR_IO;
    }
}

enum err io_try_read(struct io *io, void *buffer, size_t n, size_t *got)
{
    ASSERT(n > 0);
    ssize_t r;
    do {
        r = sys.read(io->fd, buffer, n);
    } while (r < 0 && errno == EINTR);
    if (r > 0) {
        /* Less than asked for: the socket is empty, and the next byte will be an event. After a
         * FIN there is no further event, so the flag stays for the read that sees the end. */
        if ((size_t)r < n && !io->is_hung_up)
            io->is_readable = false;
        *got = (size_t)r;
        return ERR_OK;
    }
    if (r == 0)
        return ERR_CLOSED;
    enum err e = translate(errno);
    if (e == ERR_AGAIN)
        io->is_readable = false;
    return e;
}

enum err io_read(struct io *io, void *buffer, size_t n, int64_t deadline, size_t *got)
{
    fiber_may_suspend();
    for (;;) {
        if (io->is_readable)
            TRY(fiber_did_work());
        else
            TRY(io_wait(io, IO_READ, deadline));
        enum err e = io_try_read(io, buffer, n, got);
        if (e != ERR_AGAIN)
            return e;
    }
}

int iovec_advance(struct iovec **parts, int count, size_t n)
{
    struct iovec *p = *parts;
    while (count > 0 && n >= p->iov_len) {
        n -= p->iov_len;
        p++;
        count--;
    }
    if (count > 0) {
        p->iov_base = (char *)p->iov_base + n;
        p->iov_len -= n;
    }
    *parts = p;
    return count;
}

enum err io_try_write(struct io *io, const struct iovec *parts, int count, size_t *done)
{
    ssize_t r;
    do {
        r = sys.writev(io->fd, parts, MIN(count, (int)PARTS_MAX));
    } while (r < 0 && errno == EINTR);
    if (r >= 0) {
        *done = (size_t)r;
        return ERR_OK;
    }
    enum err e = translate(errno);
    if (e == ERR_AGAIN)
        io->is_writable = false;
    return e;
}

enum err io_write(struct io *io, struct iovec *parts, int count, int64_t deadline)
{
    fiber_may_suspend();
    count = iovec_advance(&parts, count, 0);
    while (count > 0) {
        /* A fresh socket is writable before epoll says so: try first. */
        size_t done = 0;
        enum err e = io_try_write(io, parts, count, &done);
        if (e == ERR_AGAIN) {
            TRY(io_wait(io, IO_WRITE, deadline));
            continue;
        }
        TRY(e);
        count = iovec_advance(&parts, count, done);
        TRY(fiber_did_work());
    }
    return ERR_OK;
}
