#include "net/tls_trust.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What was read last, and from what. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static X509_STORE *kept;
static const char *kept_path;
static struct stat kept_stat;

/* Where Debian, Fedora, SUSE, Alpine and the BSD-like keep one file of all authorities. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
};

static enum err read_store(const char *file, const char *directory, X509_STORE **store,
                           struct failure *why)
{
    ERR_clear_error();
    X509_STORE *s = X509_STORE_new();
    TRY_ALLOC(s);
    if ((!file || X509_STORE_load_file(s, file) == 1) &&
        (!directory || X509_STORE_load_path(s, directory) == 1)) {
        *store = s;
        return ERR_OK;
    }
    X509_STORE_free(s);
    return fail(why, ERR_TLS, "the trust store %s cannot be read", file ? file : directory);
}

static bool is_unchanged(const char *path, const struct stat *now)
{
    return kept && kept_path == path && kept_stat.st_ino == now->st_ino &&
           kept_stat.st_size == now->st_size && kept_stat.st_mtim.tv_sec == now->st_mtim.tv_sec &&
           kept_stat.st_mtim.tv_nsec == now->st_mtim.tv_nsec;
}

/* With the lock held. */
static enum err read_bundle(const char *path, const struct stat *now, X509_STORE **store,
                            struct failure *why)
{
    if (!is_unchanged(path, now)) {
        X509_STORE *fresh = NULL;
        TRY(read_store(path, NULL, &fresh, why));
        X509_STORE_free(kept);
        kept = fresh;
        kept_path = path;
        kept_stat = *now;
    }
    if (!X509_STORE_up_ref(kept))
        return ERR_NO_MEMORY;
    *store = kept;
    return ERR_OK;
}

enum err tls_system_trust(X509_STORE **store, struct failure *why)
{
    const char *file = getenv("SSL_CERT_FILE"), *directory = getenv("SSL_CERT_DIR");
    file = file && *file ? file : NULL;
    directory = directory && *directory ? directory : NULL;
    if (file || directory)
        return read_store(file, directory, store, why);
    for (size_t i = 0; i < ARRAY_LEN(bundles); i++) {
        struct stat now;
        if (stat(bundles[i], &now) != 0 || now.st_size == 0)
            continue;
        pthread_mutex_lock(&lock);
        enum err e = read_bundle(bundles[i], &now, store, why);
        pthread_mutex_unlock(&lock);
        return e;
    }
    return fail(why, ERR_TLS,
                "this system has no trust store (%s and others are missing): install "
                "ca-certificates, set SSL_CERT_FILE, or give the provider a ca_file",
                bundles[0]);
}
