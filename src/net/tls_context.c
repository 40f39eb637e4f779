/* Contexts of TLS: who we are, whom we trust, and what can be resumed. */
#include "base/mem.h"
#include "net/tls_impl.h"
#include "net/tls_trust.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum {
    PATH_BYTES_MAX = 4096 - 1,
    SESSIONS_MAX = 32, /* per client; each is a few KiB, for it holds the chain of the peer */
    SESSION_AGE_MAX_S = 3600, /* a certificate is looked at again at least this often */
};

struct tls_server {
    atomic_int refs;
    SSL_CTX *context;
};

struct kept_session {
    SSL_SESSION *session; /* NULL: a free place */
    uint64_t stamp;       /* the larger, the newer */
    char *host;
};

struct tls_client {
    atomic_int refs;
    SSL_CTX *context;
    pthread_mutex_t lock; /* over what follows; held for a scan, never across a wait */
    uint64_t last_stamp;
    struct kept_session sessions[SESSIONS_MAX];
};

/* --- what both sides have in common ----------------------------------------------------------- */

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(method);
    if (!c)
        return NULL;
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(c, SSL_MODE_ASYNC); /* a second fiber library on our stacks: never */
    SSL_CTX_set_read_ahead(c, 1);          /* one read finds the header and the record */
    /* Of TLS 1.2 only forward-secret, authenticated encryption; all of TLS 1.3 is. The security
     * level 2 refuses RSA below 2048 bits and SHA-1, whatever the library's builder thought. */
    SSL_CTX_set_security_level(c, 2);
    if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1)
        return c;
    SSL_CTX_free(c);
    return NULL;
}

/* An encrypted key must not make the library ask the terminal. */
static int no_password(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer, (void)size, (void)is_writing, (void)arg;
    return -1;
}

/* A file's name as the library wants it. */
static enum err to_path(struct span name, char path[PATH_BYTES_MAX + 1], struct failure *why)
{
    if (name.n > PATH_BYTES_MAX || span_find(name, '\0') < name.n)
        return fail(why, ERR_TLS, "a file's name is too long or contains a NUL");
    memcpy(path, name.p, name.n);
    path[name.n] = '\0';
    return ERR_OK;
}

static enum err use_certificate(SSL_CTX *c, char *path, struct span certificate, struct span key,
                                struct failure *why)
{
    SSL_CTX_set_default_passwd_cb(c, no_password);
    TRY(to_path(certificate, path, why));
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(c, path) != 1)
        return tls_fail_file(why, "certificate file", path);
    TRY(to_path(key, path, why));
    ERR_clear_error();
    if (SSL_CTX_use_PrivateKey_file(c, path, SSL_FILETYPE_PEM) == 1)
        return ERR_OK;
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_X509)
        return fail(why, ERR_TLS, "the key file %s does not belong to the certificate file %.*s",
                    path, SPAN_ARG(certificate));
    return tls_fail_file(why, "key file", path);
}

/* --- servers ---------------------------------------------------------------------------------- */

/* HTTP/2 where the client can; a client that names only protocols that we do not speak is told so
 * (RFC 7301, 3.2), because guessing is how one protocol's bytes are read as another's. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    (void)ssl, (void)arg;
    int r = SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_n, ours, sizeof ours - 1,
                                  in, in_n);
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Notes where the first fault lies, for the words; accepts nothing that is not accepted already. */
static int on_verify(int is_good, X509_STORE_CTX *chain)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (!is_good)
        tls_of(ssl)->bad_depth = X509_STORE_CTX_get_error_depth(chain);
    return is_good;
}

static enum err ask_for_certificate(SSL_CTX *c, char *path, struct span ca_file,
                                    struct failure *why)
{
    TRY(to_path(ca_file, path, why));
    ERR_clear_error();
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path); /* the clients' hint */
    if (!names || SSL_CTX_load_verify_file(c, path) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_fail_file(why, "client CA file", path);
    }
    SSL_CTX_set_client_CA_list(c, names);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    return ERR_OK;
}

static enum err set_up_server(SSL_CTX *c, char *path, struct span certificate, struct span key,
                              struct span client_ca, struct failure *why)
{
    static const unsigned char session_context[] = "penstock";
    /* Sessions are resumed by tickets: nothing is kept here. The tickets' keys are this context's
     * own, so none outlives the list of authorities that it was earned under. */
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_alpn_select_cb(c, choose_protocol, NULL);
    if (SSL_CTX_set_session_id_context(c, session_context, sizeof session_context - 1) != 1)
        return ERR_NO_MEMORY;
    TRY(use_certificate(c, path, certificate, key, why));
    return client_ca.n ? ask_for_certificate(c, path, client_ca, why) : ERR_OK;
}

enum err tls_server_new(struct span certificate_file, struct span key_file,
                        struct span client_ca_file, struct tls_server **server, struct failure *why)
{
    struct tls_server *s = mem_calloc(1, sizeof *s);
    char *path = mem_alloc(PATH_BYTES_MAX + 1);
    enum err e = ERR_NO_MEMORY;
    if (s && path && (s->context = new_context(TLS_server_method())) != NULL)
        e = set_up_server(s->context, path, certificate_file, key_file, client_ca_file, why);
    mem_free(path);
    if (e != ERR_OK) {
        if (s)
            SSL_CTX_free(s->context);
        mem_free(s);
        return fail(why, e, "out of memory for TLS");
    }
    atomic_init(&s->refs, 1);
    *server = s;
    return ERR_OK;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    return server;
}

void tls_server_unref(struct tls_server *server)
{
    if (!server || atomic_fetch_sub_explicit(&server->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(server->context);
    mem_free(server);
}

SSL_CTX *tls_server_context(struct tls_server *server)
{
    return server->context;
}

/* --- sessions to resume ----------------------------------------------------------------------- */

static bool is_fresh(const SSL_SESSION *session)
{
    int64_t age_s = (int64_t)time(NULL) - (int64_t)SSL_SESSION_get_time(session);
    return age_s >= 0 &&
           age_s < MIN((int64_t)SSL_SESSION_get_timeout(session), SESSION_AGE_MAX_S) &&
           SSL_SESSION_is_resumable(session);
}

/* The oldest makes room. */
static struct kept_session *place_for_session(struct tls_client *c)
{
    struct kept_session *oldest = &c->sessions[0];
    for (int i = 0; i < SESSIONS_MAX; i++) {
        if (!c->sessions[i].session)
            return &c->sessions[i];
        if (c->sessions[i].stamp < oldest->stamp)
            oldest = &c->sessions[i];
    }
    return oldest;
}

/* The library calls it when the peer gave us something to resume with. 1: the session is ours. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = tls_of(ssl);
    char *host = mem_dup(t->host, strlen(t->host) + 1);
    if (!host)
        return 0;
    pthread_mutex_lock(&t->client->lock);
    struct kept_session *place = place_for_session(t->client);
    struct kept_session old = *place;
    *place = (struct kept_session){session, ++t->client->last_stamp, host};
    pthread_mutex_unlock(&t->client->lock);
    SSL_SESSION_free(old.session);
    mem_free(old.host);
    return 1;
}

/* A ticket of TLS 1.3 is shown once, so that nobody on the way can tell two connections of ours
 * together (RFC 8446, C.4); a session of TLS 1.2 may be shown again. */
SSL_SESSION *tls_client_take_session(struct tls_client *c, const char *host)
{
    SSL_SESSION *session = NULL;
    char *old_host = NULL;
    pthread_mutex_lock(&c->lock);
    struct kept_session *best = NULL;
    for (int i = 0; i < SESSIONS_MAX; i++) {
        struct kept_session *s = &c->sessions[i];
        if (s->session && (!best || s->stamp > best->stamp) && strcmp(s->host, host) == 0)
            best = s;
    }
    if (best && SSL_SESSION_get_protocol_version(best->session) == TLS1_2_VERSION &&
        is_fresh(best->session) && SSL_SESSION_up_ref(best->session)) {
        session = best->session;
    } else if (best) {
        session = best->session;
        old_host = best->host;
        *best = (struct kept_session){0};
    }
    pthread_mutex_unlock(&c->lock);
    mem_free(old_host);
    if (session && !is_fresh(session)) {
        SSL_SESSION_free(session);
        session = NULL;
    }
    return session;
}

/* --- clients ---------------------------------------------------------------------------------- */

/* Called when a server wants a certificate of ours. Without one we go on, and remember. */
static int on_certificate_wanted(SSL *ssl, X509 **certificate, EVP_PKEY **key)
{
    (void)certificate, (void)key;
    tls_of(ssl)->was_asked = true;
    return 0;
}

static enum err set_up_client(SSL_CTX *c, char *path, struct span ca_file, struct span certificate,
                              struct span key, struct failure *why)
{
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, on_verify);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c, on_new_session);
    /* A trusted intermediate is enough: whoever names it as their authority means it. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c), X509_V_FLAG_PARTIAL_CHAIN);
    if (ca_file.n) {
        TRY(to_path(ca_file, path, why));
        ERR_clear_error();
        if (SSL_CTX_load_verify_file(c, path) != 1)
            return tls_fail_file(why, "CA file", path);
    } else {
        X509_STORE *store = NULL;
        TRY(tls_system_trust(&store, why));
        SSL_CTX_set_cert_store(c, store); /* takes our reference */
    }
    if (certificate.n)
        return use_certificate(c, path, certificate, key, why);
    SSL_CTX_set_client_cert_cb(c, on_certificate_wanted);
    return ERR_OK;
}

enum err tls_client_new(struct span ca_file, struct span certificate_file, struct span key_file,
                        struct tls_client **client, struct failure *why)
{
    struct tls_client *c = mem_calloc(1, sizeof *c);
    char *path = mem_alloc(PATH_BYTES_MAX + 1);
    enum err e = ERR_NO_MEMORY;
    if (c && path && (c->context = new_context(TLS_client_method())) != NULL)
        e = set_up_client(c->context, path, ca_file, certificate_file, key_file, why);
    mem_free(path);
    if (e != ERR_OK) {
        if (c)
            SSL_CTX_free(c->context);
        mem_free(c);
        return fail(why, e, "out of memory for TLS");
    }
    pthread_mutex_init(&c->lock, NULL);
    atomic_init(&c->refs, 1);
    *client = c;
    return ERR_OK;
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
    atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
    return client;
}

void tls_client_unref(struct tls_client *client)
{
    if (!client || atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < SESSIONS_MAX; i++) {
        SSL_SESSION_free(client->sessions[i].session);
        mem_free(client->sessions[i].host);
    }
    pthread_mutex_destroy(&client->lock);
    SSL_CTX_free(client->context);
    mem_free(client);
}

SSL_CTX *tls_client_context(struct tls_client *client)
{
    return client->context;
}
