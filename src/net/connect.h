/* connect.h -- from an origin to a connected stream.
 *
 * Why: names with several addresses, unix sockets, an egress proxy, TLS: one call, one deadline,
 * one reason when it fails.
 *
 * Owns:      nothing; on success the stream is the caller's.
 * Errors:    ERR_DNS, ERR_CONNECT, ERR_TLS, ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY, ERR_IO, with
 *            a text that names who failed: the name, the address, the proxy, the certificate.
 * Suspends:  connect_origin.     Threads: the loop's.
 */
#ifndef PENSTOCK_NET_CONNECT_H
#define PENSTOCK_NET_CONNECT_H

#include "net/dns.h"
#include "net/origin.h"
#include "net/stream.h"
#include "net/tls.h"

/* Addresses are tried in order, the next one 250 ms after the last started or at once when it
 * failed (RFC 8305); the first that connects wins. `client` is needed for TLS origins. */
MUST_USE SUSPENDS enum err connect_origin(const struct origin *origin, struct resolver *resolver,
                                          struct tls_client *client, int64_t deadline,
                                          struct stream *stream, struct failure *why);

#endif
