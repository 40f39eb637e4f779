/* dns_channel.h -- c-ares on the loop: its sockets, its timeouts.
 *
 * Why: c-ares asks for events and time, and the loop has both; the cache above wants neither.
 *
 * Owns:      the c-ares channel and its sockets, from dns_channel_open to dns_channel_close.
 * Bounds:    c-ares': two tries a server, two seconds the first.
 * Errors:    ERR_DNS when the system's configuration cannot be read, ERR_NO_MEMORY.
 * Suspends:  never.     Threads: the loop's.
 */
#ifndef PENSTOCK_NET_DNS_CHANNEL_H
#define PENSTOCK_NET_DNS_CHANNEL_H

#include "base/list.h"
#include "base/span.h"
#include "fiber/timer.h"

#include <ares.h>

struct dns_channel { /* private */
    ares_channel ares;
    struct list sockets;
    struct timer timer;
    bool is_closing;
};

/* `servers` as "127.0.0.1:5353,..." replace the system's; empty: the system's. */
MUST_USE enum err dns_channel_open(struct dns_channel *c, struct span servers);

/* Questions that are open are answered with ARES_EDESTRUCTION. Not from an event's callback. */
void dns_channel_close(struct dns_channel *c);

/* Asks for all addresses of a name. The answer may come before this returns. */
void dns_channel_ask(struct dns_channel *c, const char *host, ares_addrinfo_callback on_answer,
                     void *arg);

#endif
