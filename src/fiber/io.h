/* io.h -- a descriptor on the loop: reads and writes that wait, and events for those who do not.
 *
 * Why: a socket is registered once, edge-triggered, and remembered as readable or writable until
 * the kernel says otherwise, so that a proxied call costs its four data system calls and no more.
 * This is the one place where errno becomes enum err.
 *
 * Owns:      the descriptor, from io_open to io_close.
 * Lends:     nothing.
 * Bounds:    one fiber may wait to read and one to write.
 * Errors:    ERR_CLOSED (end of stream, reset), ERR_IO, ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY.
 * Suspends:  io_read, io_write, io_wait.     Threads: the loop's.
 *
 * The struct must outlive the round in which it is closed when a callback of the same round may
 * close it: loop_bury it.
 */
#ifndef PENSTOCK_FIBER_IO_H
#define PENSTOCK_FIBER_IO_H

#include "base/err.h"
#include "fiber/fiber.h"

#include <sys/uio.h>

struct io {
    int fd;                        /* -1: closed */
    bool is_readable, is_writable; /* as far as we know: a try may say otherwise */
    bool is_hung_up;               /* the peer sent FIN */
    bool is_broken;                /* reset, or both directions are shut */
    struct fiber *reader, *writer; /* who waits */
    /* Called on the loop for every event, after the flags were set and the waiting fibers woken;
     * may be NULL. It may close the io. */
    void (*on_event)(struct io *io);
};

/* Registers a non-blocking descriptor. On failure the descriptor is still the caller's. */
MUST_USE enum err io_open(struct io *io, int fd, void (*on_event)(struct io *io));

/* Moves the descriptor to another struct, where its events go from now on; `from` is closed then.
 * What is ready is told again, so nothing is lost. Nobody may wait on it. */
MUST_USE enum err io_move(struct io *to, struct io *from, void (*on_event)(struct io *io));

/* Nobody may wait on it. */
void io_close(struct io *io);

/* Takes the descriptor off the loop and hands it back, still open. -1: the system refused, and it
 * is closed. Nobody may wait on it. */
MUST_USE int io_detach(struct io *io);

static inline bool io_is_open(const struct io *io)
{
    return io->fd >= 0;
}

enum io_side { IO_READ, IO_WRITE };

/* Waits until reading (writing) is worth a try. */
MUST_USE SUSPENDS enum err io_wait(struct io *io, enum io_side side, int64_t deadline);

/* At least one byte; ERR_CLOSED at the end of the stream. */
MUST_USE SUSPENDS enum err io_read(struct io *io, void *buffer, size_t n, int64_t deadline,
                                   size_t *got);

/* One try without waiting: ERR_AGAIN when there is nothing. */
MUST_USE enum err io_try_read(struct io *io, void *buffer, size_t n, size_t *got);
MUST_USE enum err io_try_write(struct io *io, const struct iovec *parts, int count, size_t *done);

/* All of it. `parts` is used up. */
MUST_USE SUSPENDS enum err io_write(struct io *io, struct iovec *parts, int count,
                                    int64_t deadline);

/* Takes n bytes off the front of parts; how many parts are left starts at *parts. */
int iovec_advance(struct iovec **parts, int count, size_t n);

/* The loop tells what epoll saw. */
void io_dispatch(struct io *io, uint32_t events);

#endif
