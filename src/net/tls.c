/* Sessions of TLS: OpenSSL above, the loop's io below, nothing that waits in between.
 *
 * Going out, OpenSSL writes its records into `outbox`, a buffer that all sessions of a thread share
 * because it is empty again before the call ends: what was written in one call leaves in one
 * writev, and what the socket has no room for moves to the session's own `rest`. So OpenSSL never
 * sees a full socket. Bytes whose records wait in `rest` are not reported as written yet (`ahead`):
 * the caller comes with them again, as with any short write, and they are not encrypted twice.
 */
#include "net/tls_impl.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

enum {
    RECORD_MAX = 16 * 1024,
    RECORD_EXTRA = 256, /* header, tag, padding */
    BATCH = 4 * RECORD_MAX,
    OUTBOX_MAX = BATCH + 4 * RECORD_EXTRA + 4096,
    REST_MAX = 2 * OUTBOX_MAX, /* only a peer that asks for answers and never reads gets there */
};

static _Thread_local char outbox[OUTBOX_MAX];
static _Thread_local size_t outbox_n;
static _Thread_local char gathered[RECORD_MAX]; /* small parts, on their way into one record */

static BIO_METHOD *bio_method;

/* --- what OpenSSL takes for a socket ---------------------------------------------------------- */

static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *written)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (n > OUTBOX_MAX - outbox_n) {
        t->io_error = ERR_TOO_LARGE; /* no call of ours makes that much: the peer made it */
        return 0;
    }
    memcpy(outbox + outbox_n, bytes, n);
    outbox_n += n;
    *written = n;
    return 1;
}

static int bio_read(BIO *bio, char *buffer, size_t n, size_t *got)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    enum err e = t->io->is_readable ? io_try_read(t->io, buffer, n, got) : ERR_AGAIN;
    if (e == ERR_OK)
        return 1;
    if (e == ERR_AGAIN)
        BIO_set_retry_read(bio);
    else
        t->io_error = e;
    return 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    (void)bio, (void)number, (void)arg;
    return command == BIO_CTRL_FLUSH; /* we flush when the call is over */
}

static void make_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "loop");
    if (bio_method && (BIO_meth_set_write_ex(bio_method, bio_write) != 1 ||
                       BIO_meth_set_read_ex(bio_method, bio_read) != 1 ||
                       BIO_meth_set_ctrl(bio_method, bio_ctrl) != 1)) {
        BIO_meth_free(bio_method);
        bio_method = NULL;
    }
}

static BIO *new_bio(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = bio_method ? BIO_new(bio_method) : NULL;
    if (bio) {
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* --- what goes out ---------------------------------------------------------------------------- */

/* Keeps what is left of `rest` and the outbox, in this order, for later. */
static enum err keep(struct tls *t, size_t sent)
{
    size_t from_rest = MIN(sent, t->rest_n - t->rest_at);
    t->rest_at += from_rest;
    size_t from_outbox = sent - from_rest;
    size_t left = t->rest_n - t->rest_at, more = outbox_n - from_outbox;
    if (more == 0)
        return ERR_OK;
    char *grown = left + more <= REST_MAX ? mem_alloc(left + more) : NULL;
    if (!grown)
        return left + more <= REST_MAX ? ERR_NO_MEMORY : ERR_TOO_LARGE;
    if (left)
        memcpy(grown, t->rest + t->rest_at, left);
    memcpy(grown + left, outbox + from_outbox, more);
    mem_free(t->rest);
    t->rest = grown;
    t->rest_at = 0;
    t->rest_n = left + more;
    return ERR_OK;
}

static bool has_rest(const struct tls *t)
{
    return t->rest != NULL;
}

/* Sends what the socket takes. ERR_OK also when something is left: see has_rest. The outbox is
 * empty afterwards, whatever happened. */
static enum err flush(struct tls *t)
{
    if (!t->rest && outbox_n == 0)
        return ERR_OK;
    struct iovec both[2] = {{t->rest ? t->rest + t->rest_at : NULL, t->rest_n - t->rest_at},
                            {outbox, outbox_n}};
    struct iovec *parts = both;
    size_t sent = 0;
    enum err e = ERR_OK;
    int count = iovec_advance(&parts, 2, 0);
    while (count > 0 && e == ERR_OK) {
        size_t done = 0;
        e = io_try_write(t->io, parts, count, &done);
        sent += e == ERR_OK ? done : 0;
        count = e == ERR_OK ? iovec_advance(&parts, count, done) : count;
    }
    if (e == ERR_AGAIN)
        e = keep(t, sent);
    else {
        mem_free(t->rest);
        t->rest = NULL;
        t->rest_at = t->rest_n = 0;
    }
    outbox_n = 0;
    return e;
}

/* --- what a call of OpenSSL meant ------------------------------------------------------------- */

/* To be asked right after the call: the error queue is the thread's, not the session's. */
static enum err judge(struct tls *t, int result)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_NONE:
        return ERR_OK;
    case SSL_ERROR_WANT_READ:
        t->wants = IO_READ;
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return t->ended = ERR_CLOSED;
    default:
        break;
    }
    if (t->io_error == ERR_CLOSED)
        t->trouble = "the peer closed the connection without ending TLS";
    else if (t->io_error != ERR_OK)
        t->trouble = err_info(t->io_error)->text;
    else
        t->trouble = tls_trouble_of_queue();
    /* An end that the peer's key did not sign may be an attacker's: never a clean one. */
    bool is_tls = t->io_error == ERR_OK || t->io_error == ERR_CLOSED;
    return t->ended = is_tls ? ERR_TLS : t->io_error;
}

static enum err end_with(struct tls *t, enum err e)
{
    t->trouble = err_info(e)->text;
    return t->ended = e;
}

/* --- reading and writing ---------------------------------------------------------------------- */

enum err tls_try_read(struct stream *s, void *buffer, size_t n, size_t *got)
{
    struct tls *t = s->tls;
    size_t sum = 0;
    ASSERT(n > 0);
    enum err e = t->ended;
    while (e == ERR_OK && sum < n) {
        size_t one = 0;
        ERR_clear_error();
        e = judge(t, SSL_read_ex(t->ssl, (char *)buffer + sum, n - sum, &one));
        sum += one;
        if (!t->io->is_readable && SSL_has_pending(t->ssl) == 0)
            break; /* the next call would only say so */
    }
    /* Reading may answer: with an alert, or new keys. */
    enum err sent = flush(t);
    if (sent != ERR_OK && sent != ERR_CLOSED && t->ended == ERR_OK)
        e = end_with(t, sent);
    if (sum == 0)
        return e;
    *got = sum;
    return ERR_OK;
}

/* Where the next record's bytes lie: in the parts as they are when one has enough, else gathered.
 * Moves *parts, *count and *at on. */
static struct span next_record(const struct iovec **parts, int *count, size_t *at, size_t limit)
{
    const struct iovec *p = *parts;
    size_t n = 0;
    if (p->iov_len - *at >= limit || *count == 1) {
        n = MIN(p->iov_len - *at, limit);
        struct span whole = {(const char *)p->iov_base + *at, n};
        *at += n;
        return whole;
    }
    while (*count > 0 && n < limit) {
        p = *parts;
        size_t some = MIN(p->iov_len - *at, limit - n);
        if (some)
            memcpy(gathered + n, (const char *)p->iov_base + *at, some);
        n += some;
        *at += some;
        if (*at == p->iov_len) {
            (*parts)++;
            (*count)--;
            *at = 0;
        }
    }
    return span(gathered, n);
}

/* Encrypts up to BATCH bytes from `at` in parts[0] on into the outbox; `n` is how many. */
static enum err encrypt(struct tls *t, const struct iovec *parts, int count, size_t at, size_t *n)
{
    enum err e = ERR_OK;
    *n = 0;
    while (e == ERR_OK && count > 0 && *n < BATCH) {
        if (at == parts->iov_len) {
            parts++;
            count--;
            at = 0;
            continue;
        }
        struct span record = next_record(&parts, &count, &at, RECORD_MAX);
        size_t written = 0;
        ERR_clear_error();
        e = judge(t, SSL_write_ex(t->ssl, record.p, record.n, &written));
        if (e == ERR_AGAIN) /* in the middle of a message that only reading can end */
            e = end_with(t, ERR_TLS);
        *n += written;
    }
    return e;
}

/* Skips n bytes: *at of parts[0] is where the rest begins. */
static void skip(const struct iovec **parts, int *count, size_t *at, size_t n)
{
    *at += n;
    while (*count > 0 && *at >= (*parts)->iov_len) {
        *at -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
}

static enum err no_room(struct tls *t)
{
    t->wants = IO_WRITE;
    return ERR_AGAIN;
}

enum err tls_try_write(struct stream *s, const struct iovec *parts, int count, size_t *done)
{
    struct tls *t = s->tls;
    *done = 0;
    enum err e = t->ended == ERR_CLOSED ? ERR_OK : t->ended; /* they may still want to read */
    if (e == ERR_OK && has_rest(t) && (e = flush(t)) == ERR_OK && has_rest(t))
        return no_room(t);
    size_t at = 0;
    if (e == ERR_OK) {
        *done = t->ahead;
        skip(&parts, &count, &at, t->ahead);
        t->ahead = 0;
    }
    while (e == ERR_OK && count > 0) {
        size_t n = 0;
        e = encrypt(t, parts, count, at, &n);
        enum err sent = flush(t);
        e = e == ERR_OK ? sent : e;
        if (e != ERR_OK)
            break;
        if (has_rest(t)) {
            t->ahead = n;
            return *done > 0 ? ERR_OK : no_room(t);
        }
        *done += n;
        skip(&parts, &count, &at, n);
    }
    return e == ERR_OK ? ERR_OK : end_with(t, e);
}

enum io_side tls_wants(const struct tls *t)
{
    return t->wants;
}

bool tls_has_pending(const struct tls *t)
{
    return t->ended != ERR_OK || SSL_has_pending(t->ssl) == 1;
}

bool tls_is_h2(const struct tls *t)
{
    return t->is_h2;
}

bool tls_was_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}

const char *tls_trouble(const struct tls *t)
{
    return t->trouble;
}

/* --- the handshake ---------------------------------------------------------------------------- */

struct handshake {
    struct tls *tls;
    enum err result;
    struct failure *why;
};

/* On the thread's big stack: keys, chains and names go deep, and post-quantum ones deeper. */
static void handshake_step(void *arg)
{
    struct handshake *h = arg;
    ERR_clear_error();
    h->result = judge(h->tls, SSL_do_handshake(h->tls->ssl));
    if (h->result == ERR_TLS && h->tls->io_error == ERR_OK)
        h->result = tls_fail_handshake(h->tls, h->why);
}

static enum err fail_wait(struct tls *t, enum err e, struct failure *why)
{
    const char *whom = t->client ? t->host : "the client";
    if (e == ERR_TIMEOUT)
        return fail(why, e, "the TLS handshake with %s did not end in time", whom);
    if (e == ERR_CANCELLED)
        return fail(why, e, "the TLS handshake with %s was cancelled", whom);
    if (e == ERR_NO_MEMORY)
        return fail(why, e, "out of memory in the TLS handshake with %s", whom);
    return fail(why, ERR_TLS, "%s closed the connection during the TLS handshake", whom);
}

/* Until the socket has taken everything. */
static enum err flush_all(struct tls *t, int64_t deadline)
{
    enum err e = flush(t);
    while (e == ERR_OK && has_rest(t)) {
        e = io_wait(t->io, IO_WRITE, deadline);
        e = e == ERR_OK ? flush(t) : e;
    }
    return e;
}

static enum err shake_hands(struct tls *t, int64_t deadline, struct failure *why)
{
    for (;;) {
        struct handshake h = {.tls = t, .why = why};
        fiber_on_big_stack(handshake_step, &h);
        enum err e = h.result;
        if (e == ERR_OK || e == ERR_AGAIN) {
            enum err sent = flush_all(t, deadline);
            if (sent != ERR_OK)
                return fail_wait(t, sent, why);
        } else {
            (void)!flush(t); /* the alert, as far as it goes */
        }
        if (e == ERR_OK)
            return ERR_OK;
        if (e == ERR_TLS && t->io_error == ERR_OK)
            return e; /* handshake_step said why */
        if (e == ERR_AGAIN)
            e = io_wait(t->io, IO_READ, deadline);
        if (e != ERR_OK)
            return fail_wait(t, e, why);
    }
}

static void free_tls(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    tls_client_unref(t->client);
    mem_free(t->rest);
    mem_free(t);
}

static struct tls *new_tls(struct stream *s, SSL_CTX *context)
{
    ASSERT(s->tls == NULL);
    struct tls *t = mem_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->io = &s->io;
    t->trouble = "";
    t->ssl = SSL_new(context);
    BIO *bio = t->ssl ? new_bio(t) : NULL;
    if (!bio || SSL_set_app_data(t->ssl, t) != 1) {
        BIO_free(bio);
        free_tls(t);
        return NULL;
    }
    SSL_set_bio(t->ssl, bio, bio);
    return t;
}

static enum err finish(struct stream *s, struct tls *t, int64_t deadline, struct failure *why)
{
    enum err e = shake_hands(t, deadline, why);
    if (e != ERR_OK) {
        free_tls(t);
        return e;
    }
    const unsigned char *protocol = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &protocol, &n);
    t->is_h2 = n == 2 && memcmp(protocol, "h2", 2) == 0;
    t->is_established = true;
    s->tls = t;
    return ERR_OK;
}

enum err tls_accept(struct stream *s, struct tls_server *server, int64_t deadline,
                    struct failure *why)
{
    fiber_may_suspend();
    struct tls *t = new_tls(s, tls_server_context(server));
    if (!t)
        return fail(why, ERR_NO_MEMORY, "out of memory for TLS");
    SSL_set_accept_state(t->ssl);
    return finish(s, t, deadline, why);
}

/* Whose certificate we want to see. An address is looked for among the certificate's addresses,
 * and is not sent as a name (RFC 6066, 3). */
static bool set_name(struct tls *t)
{
    unsigned char address[16];
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (inet_pton(AF_INET, t->host, address) == 1 || inet_pton(AF_INET6, t->host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, t->host) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, t->host, 0) == 1 &&
           SSL_set_tlsext_host_name(t->ssl, t->host) == 1;
}

static bool prepare_client(struct tls *t, bool offer_h2)
{
    static const unsigned char protocols[] = "\x02h2\x08http/1.1";
    size_t from = offer_h2 ? 0 : 3;
    SSL_set_connect_state(t->ssl);
    if (!set_name(t) ||
        SSL_set_alpn_protos(t->ssl, protocols + from, (unsigned)(sizeof protocols - 1 - from)) != 0)
        return false;
    SSL_SESSION *session = tls_client_take_session(t->client, t->host);
    bool is_set = !session || SSL_set_session(t->ssl, session) == 1;
    SSL_SESSION_free(session);
    return is_set;
}

enum err tls_connect(struct stream *s, struct tls_client *client, struct span host, bool offer_h2,
                     int64_t deadline, struct failure *why)
{
    fiber_may_suspend();
    if (span_ends(host, SPAN(".")))
        host.n--; /* the root's dot is not part of a certificate's name */
    if (host.n == 0 || host.n > TLS_HOST_MAX || span_find(host, '\0') < host.n)
        return fail(why, ERR_TLS, "TLS needs a host's name of 1 to %d bytes", TLS_HOST_MAX);
    struct tls *t = new_tls(s, tls_client_context(client));
    if (!t)
        return fail(why, ERR_NO_MEMORY, "out of memory for TLS");
    t->client = tls_client_ref(client);
    memcpy(t->host, host.p, host.n);
    ERR_clear_error();
    if (prepare_client(t, offer_h2))
        return finish(s, t, deadline, why);
    free_tls(t);
    return fail(why, ERR_NO_MEMORY, "out of memory for TLS");
}

void tls_moved(struct stream *s)
{
    s->tls->io = &s->io;
}

void tls_close(struct stream *s)
{
    struct tls *t = s->tls;
    s->tls = NULL;
    bool is_sound = t->ended == ERR_OK || t->ended == ERR_CLOSED;
    if (is_sound && !has_rest(t)) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl); /* our close_notify; theirs is not waited for */
        (void)!flush(t);
    }
    /* A connection that was merely dropped does not spoil the session for the next one. */
    if (is_sound)
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    free_tls(t);
    ERR_clear_error();
}
