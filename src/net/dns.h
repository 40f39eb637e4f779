/* dns.h -- from a host's name to its addresses, by c-ares, with a cache.
 *
 * Why: getaddrinfo blocks the thread and forgets the TTL.
 *
 * Owns:      a resolver a loop: its channel, its sockets, its cache.
 * Lends:     nothing: addresses are copied out.
 * Bounds:    DNS_CACHE_MAX names; TTLs between 1 s and 5 min; failures are remembered for 1 s;
 *            an expired answer is used for up to 1 min when the servers do not answer.
 * Errors:    ERR_DNS with the reason, ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY.
 * Suspends:  dns_resolve.     Threads: the loop's.
 */
#ifndef PENSTOCK_NET_DNS_H
#define PENSTOCK_NET_DNS_H

#include "base/span.h"
#include "fiber/fiber.h"

#include <sys/socket.h>

enum { DNS_CACHE_MAX = 1024, DNS_ADDRESSES_MAX = 8 };

struct address {
    struct sockaddr_storage socket_address;
    socklen_t size;
};

struct resolver;

/* NULL: no memory, or the system's configuration cannot be read. `servers` as "127.0.0.1:5353"
 * overrides the system's (for tests); empty: the system's. */
MUST_USE struct resolver *resolver_new(struct span servers);

/* No fiber may wait in it. */
void resolver_free(struct resolver *r);

/* Up to DNS_ADDRESSES_MAX addresses, in the order to try them (RFC 6724, then a rotation of equals
 * so that load spreads). Address literals ("10.0.0.5", "::1") and /etc/hosts ask nobody. Several
 * fibers that ask for one name share one query. */
MUST_USE SUSPENDS enum err dns_resolve(struct resolver *r, struct span host, uint16_t port,
                                       int64_t deadline, struct address *addresses, size_t *count,
                                       struct failure *why);

#endif
