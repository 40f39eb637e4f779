/* tls_ends.h -- certificates, and two ends of a connection in one loop: what the TLS tests share.
 */
#ifndef PENSTOCK_TESTS_TLS_ENDS_H
#define PENSTOCK_TESTS_TLS_ENDS_H

#include "base/sys.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "tests/certificates.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

/* --- the cast --------------------------------------------------------------------------------- */

static __attribute__((unused)) const char *ca_file, *other_ca_file, *empty_file;
static __attribute__((unused)) const char *good_file,
    *good_key; /* for good.example, localhost, 127.0.0.1, ::1 */
static __attribute__((unused)) const char *rsa_file,
    *rsa_key; /* the same names, RSA with 4096 bits, an intermediate */
static __attribute__((unused)) const char *expired_file, *expired_key;
static __attribute__((unused)) const char *future_file, *future_key;
static __attribute__((unused)) const char *self_file, *self_key;
static __attribute__((unused)) const char *mine_file,
    *mine_key; /* a client's, of the same authority */
static __attribute__((unused)) const char *alien_file, *alien_key;

static inline void save(const char *name, const struct certificate *c,
                        const struct certificate *chain, const char **file, const char **key)
{
    char text[32];
    snprintf(text, sizeof text, "%s.pem", name);
    *file = certificate_save(text, c, chain);
    snprintf(text, sizeof text, "%s.key", name);
    *key = certificate_save_key(text, c);
}

static inline void make_cast(void)
{
    static const char names[] = "DNS:good.example,DNS:localhost,IP:127.0.0.1,IP:::1";
    struct certificate ca = certificate_new((struct certificate_wish){.to_days = 9});
    struct certificate other = certificate_new((struct certificate_wish){.to_days = 9});
    struct certificate middle =
        certificate_new((struct certificate_wish){&ca, NULL, 0, 9, .is_rsa = true});
    struct certificate good = certificate_new((struct certificate_wish){&ca, names, 0, 9, false});
    struct certificate rsa = certificate_new((struct certificate_wish){&middle, names, 0, 9, true});
    struct certificate expired =
        certificate_new((struct certificate_wish){&ca, names, -9, -1, false});
    struct certificate future = certificate_new((struct certificate_wish){&ca, names, 1, 9, false});
    struct certificate self = certificate_new((struct certificate_wish){NULL, names, 0, 9, false});
    struct certificate mine =
        certificate_new((struct certificate_wish){&ca, "DNS:me.example", 0, 9, false});
    struct certificate alien =
        certificate_new((struct certificate_wish){&other, "DNS:me.example", 0, 9, false});
    ca_file = certificate_save("ca.pem", &ca, NULL);
    other_ca_file = certificate_save("other.pem", &other, NULL);
    empty_file = certificate_path("empty.pem");
    fclose(fopen(empty_file, "w"));
    save("good", &good, NULL, &good_file, &good_key);
    save("rsa", &rsa, &middle, &rsa_file, &rsa_key);
    save("expired", &expired, NULL, &expired_file, &expired_key);
    save("future", &future, NULL, &future_file, &future_key);
    save("self", &self, NULL, &self_file, &self_key);
    save("mine", &mine, NULL, &mine_file, &mine_key);
    save("alien", &alien, NULL, &alien_file, &alien_key);
    struct certificate *all[] = {&ca,      &other,  &middle, &good, &rsa,
                                 &expired, &future, &self,   &mine, &alien};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        certificate_free(all[i]);
}

static inline struct tls_server *new_server(const char *file, const char *key,
                                            const char *client_ca)
{
    struct tls_server *server = NULL;
    struct failure why = {0};
    if (!EXPECT(tls_server_new(span_of_cstr(file), span_of_cstr(key), span_of_cstr(client_ca),
                               &server, &why) == ERR_OK)) {
        printf("# %s\n", why.text);
        exit(1);
    }
    return server;
}

static inline struct tls_client *new_client(const char *ca, const char *file, const char *key)
{
    struct tls_client *client = NULL;
    struct failure why = {0};
    if (!EXPECT(tls_client_new(span_of_cstr(ca), span_of_cstr(file), span_of_cstr(key), &client,
                               &why) == ERR_OK)) {
        printf("# %s\n", why.text);
        exit(1);
    }
    return client;
}

/* --- two ends in one loop --------------------------------------------------------------------- */

struct play;
typedef void (*act_fn)(struct play *p, struct stream *s);

struct end {
    int fd;
    enum err result; /* of the handshake */
    struct failure why;
    bool is_h2, was_resumed;
    act_fn act; /* when the handshake succeeded; NULL: read to the end */
    enum err act_result;
    char trouble[128];
    bool keeps_quiet; /* takes no part in the handshake, waits for the other to give up */
};

struct play {
    struct tls_server *server; /* NULL: in the clear */
    struct tls_client *client;
    const char *host;
    bool offers_h2, is_tcp;
    int buffer_bytes;
    int64_t timeout_ms; /* 0: ten seconds */
    bool cancels;       /* the client, in the middle of its handshake */
    struct end at_server, at_client;
    struct fiber *client_fiber;
    int running;
    struct loop_stats stats;
};

static inline int64_t deadline_of(const struct play *p)
{
    return loop_now() + (p->timeout_ms ? p->timeout_ms : 10000) * NS_PER_MS;
}

static inline enum err read_to_end(struct stream *s, int64_t deadline)
{
    char buffer[64];
    size_t got;
    enum err e;
    while ((e = stream_read(s, buffer, sizeof buffer, deadline, &got)) == ERR_OK) {
    }
    return e;
}

static inline void act_on(struct play *p, struct end *end, struct stream *s)
{
    if (s->tls) {
        end->is_h2 = tls_is_h2(s->tls);
        end->was_resumed = tls_was_resumed(s->tls);
    }
    if (end->act)
        end->act(p, s);
    else
        end->act_result = read_to_end(s, deadline_of(p));
    if (s->tls)
        snprintf(end->trouble, sizeof end->trouble, "%s", tls_trouble(s->tls));
}

static inline void leave(struct play *p)
{
    if (--p->running == 0)
        loop_stop(loop_self());
}

static inline void be_server(void *arg)
{
    struct play *p = arg;
    struct end *end = &p->at_server;
    struct stream s;
    if (end->keeps_quiet) {
        if (p->cancels) {
            (void)!fiber_sleep(loop_now() + 5 * NS_PER_MS);
            fiber_cancel(p->client_fiber, CANCEL_CLIENT_GONE);
        }
        leave(p);
        return;
    }
    end->result = stream_open(&s, end->fd, NULL);
    end->fd = -1;
    if (end->result == ERR_OK) {
        if (p->server)
            end->result = tls_accept(&s, p->server, deadline_of(p), &end->why);
        if (end->result == ERR_OK)
            act_on(p, end, &s);
        stream_close(&s);
    }
    leave(p);
}

static inline void be_client(void *arg)
{
    struct play *p = arg;
    struct end *end = &p->at_client;
    struct stream s;
    end->result = stream_open(&s, end->fd, NULL);
    end->fd = -1;
    if (end->result == ERR_OK) {
        if (p->client)
            end->result = tls_connect(&s, p->client, span_of_cstr(p->host), p->offers_h2,
                                      deadline_of(p), &end->why);
        if (end->result == ERR_OK)
            act_on(p, end, &s);
        stream_close(&s);
    }
    leave(p);
}

static inline void make_tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    bool is_good = bind(listener, (struct sockaddr *)&address, n) == 0 &&
                   listen(listener, 1) == 0 &&
                   getsockname(listener, (struct sockaddr *)&address, &n) == 0 &&
                   connect(fds[1], (struct sockaddr *)&address, n) == 0;
    fds[0] = is_good ? accept(listener, NULL, NULL) : -1;
    close(listener);
    if (fds[0] < 0)
        exit(1);
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
}

static inline void open_pair(struct play *p)
{
    int fds[2];
    if (p->is_tcp)
        make_tcp_pair(fds);
    else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        exit(1);
    for (int i = 0; i < 2 && p->buffer_bytes; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &p->buffer_bytes, sizeof p->buffer_bytes);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &p->buffer_bytes, sizeof p->buffer_bytes);
    }
    p->at_server.fd = fds[0];
    p->at_client.fd = fds[1];
}

/* Runs both ends until they are done; fds that are -1 have no fiber. */
static inline void run(struct play *p)
{
    struct loop *l = loop_new(16);
    p->running = (p->at_server.fd >= 0) + (p->at_client.fd >= 0);
    if (p->at_client.fd >= 0)
        p->client_fiber = fiber_spawn(be_client, p, "client");
    if (p->at_server.fd >= 0 && !fiber_spawn(be_server, p, "server"))
        exit(1);
    loop_run(l);
    p->stats = loop_stats(l);
    loop_free(l);
    if (p->at_server.fd >= 0) /* kept quiet */
        close(p->at_server.fd);
}

static inline void play(struct play *p)
{
    open_pair(p);
    run(p);
}

static inline unsigned char byte_at(size_t i, int seed)
{
    return (unsigned char)((i * 2654435761u >> 13) + (size_t)seed);
}

static inline void say_bye(struct play *p, struct stream *s)
{
    struct iovec part = {(char[]){"x"}, 1};
    p->at_server.act_result = stream_write(s, &part, 1, deadline_of(p));
}

static inline void hang_up(struct play *p, struct stream *s)
{
    (void)p, (void)s;
}

/* How deep the stacks went; debug builds know. */
static inline void report_census(void)
{
    struct builder census;
    builder_init(&census, 4096);
    size_t deepest = fiber_census(&census);
    printf("# deepest stack: %zu bytes\n", deepest);
    if (deepest > 0)
        fwrite(builder_span(&census).p, 1, builder_span(&census).n, stderr);
    builder_deinit(&census);
}

#endif
