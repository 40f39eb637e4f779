/* stream.h -- a connected socket, in the clear or through TLS.
 *
 * Why: whoever speaks HTTP should not know whether the bytes are encrypted.
 *
 * Owns:      the descriptor and the TLS session, from stream_open (or tls_accept, tls_connect) to
 *            stream_close.
 * Errors:    as fiber/io.h; ERR_TLS when the peer breaks TLS. ERR_CLOSED of a read means that the
 *            peer ended TLS properly; a connection cut short of that is ERR_TLS.
 * Suspends:  stream_read, stream_write.     Threads: the loop's.
 */
#ifndef PENSTOCK_NET_STREAM_H
#define PENSTOCK_NET_STREAM_H

#include "fiber/io.h"

struct tls;

struct stream {
    struct io io;
    struct tls *tls; /* NULL: in the clear */
};

/* Takes a connected, non-blocking descriptor; closes it on failure. TCP_NODELAY is set. */
MUST_USE enum err stream_open(struct stream *s, int fd, void (*on_event)(struct io *io));

/* Moves a stream to another place: the events go there from now on. What is readable now is told
 * again. Nobody may wait on it. On failure it is closed. */
MUST_USE enum err stream_move(struct stream *to, struct stream *from,
                              void (*on_event)(struct io *io));

/* Ends TLS as far as that needs no waiting, and closes. */
void stream_close(struct stream *s);

static inline bool stream_is_open(const struct stream *s)
{
    return io_is_open(&s->io);
}

/* True when a read may find something: bytes that TLS already holds count. */
bool stream_is_readable(const struct stream *s);

/* Waits until stream_is_readable. */
MUST_USE SUSPENDS enum err stream_wait_readable(struct stream *s, int64_t deadline);

MUST_USE SUSPENDS enum err stream_read(struct stream *s, void *buffer, size_t n, int64_t deadline,
                                       size_t *got);

/* One try: ERR_AGAIN when there is nothing. */
MUST_USE enum err stream_try_read(struct stream *s, void *buffer, size_t n, size_t *got);

/* All of it. `parts` is used up. */
MUST_USE SUSPENDS enum err stream_write(struct stream *s, struct iovec *parts, int count,
                                        int64_t deadline);

/* One try: `done` bytes were taken; ERR_AGAIN when none could be. What was not taken must come
 * again, first and unchanged: through TLS it may be encrypted already. */
MUST_USE enum err stream_try_write(struct stream *s, const struct iovec *parts, int count,
                                   size_t *done);

#endif
