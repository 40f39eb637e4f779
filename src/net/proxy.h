/* proxy.h -- asks an egress proxy for a tunnel (RFC 9110, 9.3.6).
 *
 * Why: many companies let nothing out but through one.
 *
 * Owns:      nothing: the stream stays the caller's.
 * Bounds:    the proxy's answer: PROXY_HEAD_MAX bytes, within the deadline.
 * Errors:    ERR_CONNECT, ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY, with a text that names the
 *            proxy.
 * Suspends:  proxy_connect.     Threads: the loop's.
 */
#ifndef PENSTOCK_NET_PROXY_H
#define PENSTOCK_NET_PROXY_H

#include "net/origin.h"
#include "net/stream.h"

enum { PROXY_HEAD_MAX = 8 * 1024 };

/* `s` is connected to the proxy; on success it leads to the origin. */
MUST_USE SUSPENDS enum err proxy_connect(struct stream *s, const struct origin *origin,
                                         int64_t deadline, struct failure *why);

#endif
