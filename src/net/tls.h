/* tls.h -- TLS 1.2 and 1.3 over a stream, both sides, by OpenSSL.
 *
 * Why: providers are verified for real (trust store or own CA, name, validity), always; there is
 * no switch that turns it off. Our listeners can ask for a client certificate.
 *
 * Owns:      contexts are reference-counted, because sessions outlive the snapshot that made them;
 *            a session belongs to its stream.
 * Bounds:    handshakes by the caller's deadline; session memory is released while idle
 *            (SSL_MODE_RELEASE_BUFFERS).
 * Errors:    ERR_TLS with a text that names what is wrong (expired, wrong name, unknown CA, ...).
 * Suspends:  tls_accept, tls_connect, tls_read, tls_write.
 * Threads:   contexts any, sessions the loop's.
 */
#ifndef PENSTOCK_NET_TLS_H
#define PENSTOCK_NET_TLS_H

#include "net/stream.h"

struct tls_server; /* certificate, key, and whom we let in */
struct tls_client; /* whom we trust, and who we are */

/* Reads the files. An empty client_ca asks for no client certificate. */
MUST_USE enum err tls_server_new(struct span certificate_file, struct span key_file,
                                 struct span client_ca_file, struct tls_server **server,
                                 struct failure *why);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server);

/* Reads the trust store: slow, so not on a worker (offload.h). Empty ca_file: the system's. Empty
 * certificate_file: we show none. */
MUST_USE enum err tls_client_new(struct span ca_file, struct span certificate_file,
                                 struct span key_file, struct tls_client **client,
                                 struct failure *why);
struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_unref(struct tls_client *client);

/* Shakes hands as the server; ALPN offers h2 and http/1.1. On success s->tls is set. */
MUST_USE SUSPENDS enum err tls_accept(struct stream *s, struct tls_server *server, int64_t deadline,
                                      struct failure *why);

/* Shakes hands as the client with `host` (SNI and verified name; an address literal is verified as
 * such, without SNI). `offer_h2` puts h2 first in ALPN. Resumes sessions where the peer allows. */
MUST_USE SUSPENDS enum err tls_connect(struct stream *s, struct tls_client *client,
                                       struct span host, bool offer_h2, int64_t deadline,
                                       struct failure *why);

/* True when ALPN chose HTTP/2. */
bool tls_is_h2(const struct tls *tls);

/* What broke the session, as static text; "" while nothing did. TLS 1.3 refuses a client that shows
 * no certificate only after the handshake: this says so when the first read fails. */
const char *tls_trouble(const struct tls *tls);

/* True when the handshake took up an earlier session. */
bool tls_was_resumed(const struct tls *tls);

/* For stream.c only: the encrypted halves of its functions, on s->tls. */
MUST_USE enum err tls_try_read(struct stream *s, void *buffer, size_t n, size_t *got);
MUST_USE enum err tls_try_write(struct stream *s, const struct iovec *parts, int count,
                                size_t *done);
/* Which side of the socket a try that answered ERR_AGAIN waits for. */
enum io_side tls_wants(const struct tls *tls);
bool tls_has_pending(const struct tls *tls);
/* The stream is at another place now. */
void tls_moved(struct stream *s);
void tls_close(struct stream *s);

#endif
