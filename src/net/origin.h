/* origin.h -- whom to connect to, and how: what connections are pooled by.
 *
 * Why: a provider's base_url, its TLS settings and the egress proxy together decide which
 * connections may be reused for it. Two providers share a pool only when all of that is equal.
 *
 * Owns:      nothing: the spans live as long as the snapshot that the origin belongs to.
 * Suspends:  never.     Threads: any; immutable once built.
 */
#ifndef PENSTOCK_NET_ORIGIN_H
#define PENSTOCK_NET_ORIGIN_H

#include "base/arena.h"

enum http_version_policy {
    HTTP_VERSION_AUTO, /* ALPN decides over TLS; HTTP/1.1 in the clear */
    HTTP_VERSION_1,    /* HTTP/1.1 only */
    HTTP_VERSION_2,    /* HTTP/2, by prior knowledge in the clear */
};

struct origin {
    struct span name; /* "https://api.openai.com:443": for logs and metrics */
    struct span id;   /* all of the fields below as text, secrets too: equal ids share a pool */
    bool tls;
    struct span host; /* a name or an address literal; empty for a unix socket */
    uint16_t port;
    struct span unix_path; /* empty unless a unix socket; a leading '@' means abstract */
    struct span authority; /* what Host or :authority says */
    enum http_version_policy version;
    struct span ca_file;          /* empty: the system's trust store */
    struct span certificate_file; /* our own, for providers that ask; empty: none */
    struct span key_file;
    struct span proxy_host; /* egress proxy that is asked to CONNECT; empty: none */
    uint16_t proxy_port;
    struct span proxy_authorization; /* the header's value, or empty */
};

/* Cuts a base_url into an origin's tls, host, port, unix_path and authority, and the path that
 * requests are put behind ("" or "/v1", never with a trailing slash). Takes
 *   http://HOST[:PORT][/PATH]   https://HOST[:PORT][/PATH]   unix:/SOCKET/PATH[:/PATH]
 * HOST may be a name, an IPv4 address or an IPv6 address in brackets. No user, query or fragment.
 * The spans point into `url`. On failure `why` says what is wrong, as a static text. */
MUST_USE enum err origin_parse_url(struct span url, struct origin *origin, struct span *path,
                                   const char **why);

/* Cuts "http://[USER:PASSWORD@]HOST[:PORT]" into the origin's proxy fields. User and password may
 * be percent-encoded; the header's value is made in the arena. `why` as above; ERR_NO_MEMORY. */
MUST_USE enum err origin_parse_proxy(struct span url, struct arena *a, struct origin *origin,
                                     const char **why);

/* Makes `name` and `id` from the other fields, in the arena. */
MUST_USE enum err origin_seal(struct origin *origin, struct arena *a);

#endif
