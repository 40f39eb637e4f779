#include "net/stream.h"

#include "base/sys.h"

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
    return io_move(&to->io, &from->io, on_event);
}

void stream_close(struct stream *s)
{
    io_close(&s->io);
}

bool stream_is_readable(const struct stream *s)
{
    return s->io.is_readable;
}

enum err stream_wait_readable(struct stream *s, int64_t deadline)
{
    return stream_is_readable(s) ? ERR_OK : io_wait(&s->io, IO_READ, deadline);
}

enum err stream_read(struct stream *s, void *buffer, size_t n, int64_t deadline, size_t *got)
{
    return io_read(&s->io, buffer, n, deadline, got);
}

enum err stream_try_read(struct stream *s, void *buffer, size_t n, size_t *got)
{
    return io_try_read(&s->io, buffer, n, got);
}

enum err stream_write(struct stream *s, struct iovec *parts, int count, int64_t deadline)
{
    return io_write(&s->io, parts, count, deadline);
}

enum err stream_try_write(struct stream *s, const struct iovec *parts, int count, size_t *done)
{
    return io_try_write(&s->io, parts, count, done);
}
