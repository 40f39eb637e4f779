/* listen.h -- opens the sockets that callers connect to.
 *
 * Why: the master opens them once and keeps them, so that a worker that dies or is replaced never
 * leaves a caller refused.
 *
 * Owns:      nothing: the descriptor is the caller's.
 * Errors:    ERR_BAD_REQUEST: not an address; ERR_IO: the system refused; `why` tells.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_NET_LISTEN_H
#define PENSTOCK_NET_LISTEN_H

#include "base/err.h"
#include "base/span.h"

#include <sys/socket.h>

struct listen_address {
    struct sockaddr_storage socket_address;
    socklen_t size;
};

/* "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses), "localhost:8080", "unix:/path",
 * "unix:@name" (abstract). On failure `why` is a static text. */
MUST_USE enum err listen_parse(struct span text, struct listen_address *address, const char **why);

/* A listening socket, non-blocking, close-on-exec. Several can share a TCP address (SO_REUSEPORT):
 * the kernel spreads connections over them. The file of a dead unix socket is replaced. */
MUST_USE enum err listen_open(const struct listen_address *address, int *fd, struct failure *why);

/* True when somebody listens at this TCP address already. listen_open alone would not notice a
 * process of the same user that shares its sockets as ours are shared: each would get half of the
 * callers. */
bool listen_is_taken(const struct listen_address *address);

#endif
