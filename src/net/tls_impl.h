/* tls_impl.h -- what the sources of TLS know of each other; private to them.
 *
 * Why: contexts, sessions and the words for what went wrong are three subjects.
 *
 * Owns:      see tls.h.
 * Suspends:  never.     Threads: see tls.h.
 */
#ifndef PENSTOCK_NET_TLS_IMPL_H
#define PENSTOCK_NET_TLS_IMPL_H

#include "net/tls.h"

#include <openssl/ssl.h>

enum { TLS_HOST_MAX = 255 };

struct tls {
    SSL *ssl;
    struct io *io;
    struct tls_client *client; /* a reference; NULL on the server's side */
    char *rest;                /* records that the socket had no room for */
    size_t rest_at, rest_n;
    size_t ahead;        /* bytes that are in `rest` but were not reported as written */
    const char *trouble; /* static: what broke the session; "" */
    enum err io_error;   /* what the socket said last, when that was a failure */
    enum err ended;      /* why nothing can be read or written any more */
    enum io_side wants;
    bool is_h2;
    bool is_established;
    bool was_asked; /* the server wanted a certificate of ours, and we had none */
    int bad_depth;  /* where in the peer's chain the first fault was: 0 is its own certificate */
    char host[TLS_HOST_MAX + 1]; /* the client's side: whom we want; else "" */
};

SSL_CTX *tls_server_context(struct tls_server *server);
SSL_CTX *tls_client_context(struct tls_client *client);

/* A session to resume with `host`, the caller's; or NULL. */
SSL_SESSION *tls_client_take_session(struct tls_client *client, const char *host);

/* The index under which an SSL knows its struct tls. */
static inline struct tls *tls_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* Says why the handshake failed, from the session and OpenSSL's error queue; always ERR_TLS. */
enum err tls_fail_handshake(struct tls *t, struct failure *why);

/* Says why a file could not be used, from OpenSSL's error queue; always ERR_TLS. */
enum err tls_fail_file(struct failure *why, const char *what, const char *path);

/* The newest entry of OpenSSL's error queue as static words. */
const char *tls_trouble_of_queue(void);

#endif
