/* tls_trust.h -- the system's trust store, wherever this distribution keeps it.
 *
 * Why: the binary carries its own OpenSSL, whose built-in paths are those of the machine that
 * built it; and a store of 140 authorities is worth sharing.
 *
 * Owns:      one store a process, read again when its file has changed.
 * Lends:     a reference, which the caller frees.
 * Errors:    ERR_TLS, ERR_NO_MEMORY.
 * Suspends:  never, but reads files: not on a worker.     Threads: any.
 */
#ifndef PENSTOCK_NET_TLS_TRUST_H
#define PENSTOCK_NET_TLS_TRUST_H

#include "base/err.h"

#include <openssl/ssl.h>

/* SSL_CERT_FILE and SSL_CERT_DIR of the environment come first, as everywhere. */
MUST_USE enum err tls_system_trust(X509_STORE **store, struct failure *why);

#endif
