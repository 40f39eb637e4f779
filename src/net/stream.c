#include "net/stream.h"

#include "base/sys.h"
#include "net/tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

enum err stream_open(struct stream *s, int fd, void (*on_event)(struct io *io))
{
    s->tls = NULL;
    /* Our messages leave whole, in one writev: waiting for more only adds 40 ms. Sockets that are
     * not TCP refuse this, and need not have it. */
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    enum err e = io_open(&s->io, fd, on_event);
    if (e != ERR_OK)
        sys.close(fd);
    return e;
}

enum err stream_move(struct stream *to, struct stream *from, void (*on_event)(struct io *io))
{
    to->tls = from->tls;
    from->tls = NULL;
    if (to->tls)
        tls_moved(to);
    enum err e = io_move(&to->io, &from->io, on_event);
    if (e != ERR_OK && to->tls)
        tls_close(to); /* says goodbye to nobody */
    return e;
}

void stream_close(struct stream *s)
{
    if (s->tls)
        tls_close(s);
    io_close(&s->io);
}

bool stream_is_readable(const struct stream *s)
{
    return s->io.is_readable || (s->tls && tls_has_pending(s->tls));
}

static enum err read_tls(struct stream *s, void *buffer, size_t n, int64_t deadline, size_t *got)
{
    fiber_may_suspend();
    if (stream_is_readable(s))
        TRY(fiber_did_work());
    for (;;) {
        enum err e = tls_try_read(s, buffer, n, got);
        if (e != ERR_AGAIN)
            return e;
        TRY(io_wait(&s->io, tls_wants(s->tls), deadline));
    }
}

enum err stream_wait_readable(struct stream *s, int64_t deadline)
{
    return stream_is_readable(s) ? ERR_OK : io_wait(&s->io, IO_READ, deadline);
}

enum err stream_read(struct stream *s, void *buffer, size_t n, int64_t deadline, size_t *got)
{
    if (LIKELY(!s->tls))
        return io_read(&s->io, buffer, n, deadline, got);
    return read_tls(s, buffer, n, deadline, got);
}

enum err stream_try_read(struct stream *s, void *buffer, size_t n, size_t *got)
{
    if (LIKELY(!s->tls))
        return io_try_read(&s->io, buffer, n, got);
    return tls_try_read(s, buffer, n, got);
}

static enum err write_tls(struct stream *s, struct iovec *parts, int count, int64_t deadline)
{
    fiber_may_suspend();
    count = iovec_advance(&parts, count, 0);
    while (count > 0) {
        size_t done = 0;
        enum err e = tls_try_write(s, parts, count, &done);
        if (e == ERR_AGAIN) {
            TRY(io_wait(&s->io, tls_wants(s->tls), deadline));
            continue;
        }
        TRY(e);
        count = iovec_advance(&parts, count, done);
        TRY(fiber_did_work());
    }
    return ERR_OK;
}

enum err stream_write(struct stream *s, struct iovec *parts, int count, int64_t deadline)
{
    if (LIKELY(!s->tls))
        return io_write(&s->io, parts, count, deadline);
    return write_tls(s, parts, count, deadline);
}

enum err stream_try_write(struct stream *s, const struct iovec *parts, int count, size_t *done)
{
    if (LIKELY(!s->tls))
        return io_try_write(&s->io, parts, count, done);
    return tls_try_write(s, parts, count, done);
}
