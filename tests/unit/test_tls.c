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

static const char *ca_file, *other_ca_file, *empty_file;
static const char *good_file, *good_key; /* for good.example, localhost, 127.0.0.1, ::1 */
static const char *rsa_file, *rsa_key;   /* the same names, RSA with 4096 bits, an intermediate */
static const char *expired_file, *expired_key;
static const char *future_file, *future_key;
static const char *self_file, *self_key;
static const char *mine_file, *mine_key; /* a client's, of the same authority */
static const char *alien_file, *alien_key;

static void save(const char *name, const struct certificate *c, const struct certificate *chain,
                 const char **file, const char **key)
{
    char text[32];
    snprintf(text, sizeof text, "%s.pem", name);
    *file = certificate_save(text, c, chain);
    snprintf(text, sizeof text, "%s.key", name);
    *key = certificate_save_key(text, c);
}

static void make_cast(void)
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

static struct tls_server *new_server(const char *file, const char *key, const char *client_ca)
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

static struct tls_client *new_client(const char *ca, const char *file, const char *key)
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

static int64_t deadline_of(const struct play *p)
{
    return loop_now() + (p->timeout_ms ? p->timeout_ms : 10000) * NS_PER_MS;
}

static enum err read_to_end(struct stream *s, int64_t deadline)
{
    char buffer[64];
    size_t got;
    enum err e;
    while ((e = stream_read(s, buffer, sizeof buffer, deadline, &got)) == ERR_OK) {
    }
    return e;
}

static void act_on(struct play *p, struct end *end, struct stream *s)
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

static void leave(struct play *p)
{
    if (--p->running == 0)
        loop_stop(loop_self());
}

static void be_server(void *arg)
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

static void be_client(void *arg)
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

static void make_tcp_pair(int fds[2])
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

static void open_pair(struct play *p)
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
static void run(struct play *p)
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

static void play(struct play *p)
{
    open_pair(p);
    run(p);
}

/* --- big transfers, both ways at once --------------------------------------------------------- */

enum { TRANSFER = 3 * 1024 * 1024 + 17 };

static unsigned char byte_at(size_t i, int seed)
{
    return (unsigned char)((i * 2654435761u >> 13) + (size_t)seed);
}

struct half {
    struct stream *stream;
    int seed;
    int64_t deadline;
    enum err result;
};

/* In parts of every size: empty, tiny, a record, more than all buffers. */
static void write_half(void *arg)
{
    struct half *h = arg;
    static const size_t sizes[] = {1, 0, 7, 300, 16384, 16383, 5, 200000, 16385, 65536, 2, 40000};
    unsigned char *bytes = malloc(TRANSFER);
    for (size_t i = 0; i < TRANSFER; i++)
        bytes[i] = byte_at(i, h->seed);
    size_t at = 0, turn = (size_t)h->seed;
    while (at < TRANSFER && h->result == ERR_OK) {
        struct iovec parts[5];
        int count = 0;
        while (count < 5) {
            size_t size = sizes[turn++ % ARRAY_LEN(sizes)], n = MIN(size, TRANSFER - at);
            parts[count++] = (struct iovec){bytes + at, n};
            at += n;
        }
        h->result = stream_write(h->stream, parts, count, h->deadline);
    }
    free(bytes);
}

static void read_half(void *arg)
{
    struct half *h = arg;
    static unsigned char buffers[2][50000];
    unsigned char *buffer = buffers[h->seed & 1];
    size_t at = 0, turn = 0, got = 0;
    while (at < TRANSFER && h->result == ERR_OK) {
        size_t size = turn++ * 7919 % 50000 + 1, want = MIN(size, TRANSFER - at);
        h->result = stream_read(h->stream, buffer, want, h->deadline, &got);
        for (size_t i = 0; i < got && h->result == ERR_OK; i++)
            if (buffer[i] != byte_at(at + i, h->seed))
                h->result = ERR_PROTOCOL;
        at += got;
    }
}

static void transfer(struct play *p, struct stream *s, int my_seed, int other_seed, struct end *end)
{
    struct group g;
    struct half out = {s, my_seed, deadline_of(p), ERR_OK};
    struct half in = {s, other_seed, deadline_of(p), ERR_OK};
    group_init(&g);
    if (!group_spawn(&g, write_half, &out, "write half") ||
        !group_spawn(&g, read_half, &in, "read half"))
        exit(1);
    end->act_result = group_join(&g, deadline_of(p));
    group_leave(&g, CANCEL_OWNER);
    if (end->act_result == ERR_OK)
        end->act_result = out.result != ERR_OK ? out.result : in.result;
}

static void transfer_at_server(struct play *p, struct stream *s)
{
    transfer(p, s, 2, 1, &p->at_server);
}

static void transfer_at_client(struct play *p, struct stream *s)
{
    transfer(p, s, 1, 2, &p->at_client);
}

static void check_transfer(struct play *p)
{
    p->at_server.act = transfer_at_server;
    p->at_client.act = transfer_at_client;
    p->timeout_ms = 60000;
    play(p);
    CHECK(p->at_server.result == ERR_OK);
    CHECK(p->at_client.result == ERR_OK);
    CHECK(p->at_server.act_result == ERR_OK);
    CHECK(p->at_client.act_result == ERR_OK);
}

TEST(bytes_arrive_in_the_clear)
{
    struct play p = {.buffer_bytes = 4096};
    check_transfer(&p);
    struct play tcp = {.buffer_bytes = 30000,
                       .is_tcp = true}; /* less is a matter of kernel timers */
    check_transfer(&tcp);
}

TEST(bytes_arrive_through_tls)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    for (int i = 0; i < 3; i++) {
        struct play p = {.server = server,
                         .client = client,
                         .host = "good.example",
                         .buffer_bytes = i == 0   ? 2048
                                         : i == 1 ? 30000
                                                  : 0,
                         .is_tcp = i > 0};
        check_transfer(&p);
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

/* --- handshakes that must fail, and how they say it ------------------------------------------- */

static void refuse(const char *file, const char *key, const char *ca, const char *host,
                   const char *words)
{
    struct tls_server *server = new_server(file, key, "");
    struct tls_client *client = new_client(ca, "", "");
    struct play p = {.server = server, .client = client, .host = host};
    play(&p);
    if (p.at_client.result != ERR_TLS || strcmp(p.at_client.why.text, words) != 0)
        printf("# got: %s\n", p.at_client.why.text);
    EXPECT(p.at_client.result == ERR_TLS);
    EXPECT(strcmp(p.at_client.why.text, words) == 0);
    EXPECT(p.at_server.result == ERR_TLS || p.at_server.act_result == ERR_TLS);
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(certificates_are_verified)
{
    refuse(good_file, good_key, ca_file, "evil.example",
           "the certificate is for good.example, localhost, 127.0.0.1, 0:0:0:0:0:0:0:1, "
           "not for evil.example");
    refuse(good_file, good_key, ca_file, "127.0.0.2",
           "the certificate is for good.example, localhost, 127.0.0.1, 0:0:0:0:0:0:0:1, "
           "not for 127.0.0.2");
    refuse(expired_file, expired_key, ca_file, "good.example",
           "the certificate of good.example has expired");
    refuse(future_file, future_key, ca_file, "good.example",
           "the certificate of good.example is not valid yet");
    refuse(good_file, good_key, other_ca_file, "good.example",
           "the certificate of good.example is signed by an unknown authority");
    refuse(self_file, self_key, ca_file, "good.example",
           "the certificate of good.example is self-signed and not trusted");
}

static void say_bye(struct play *p, struct stream *s)
{
    struct iovec part = {(char[]){"x"}, 1};
    p->at_server.act_result = stream_write(s, &part, 1, deadline_of(p));
}

static void hang_up(struct play *p, struct stream *s)
{
    (void)p, (void)s;
}

TEST(names_and_addresses_match)
{
    static const char *const hosts[] = {"good.example", "GOOD.example", "good.example.",
                                        "localhost",    "127.0.0.1",    "::1"};
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct play p = {.server = server, .client = client, .host = hosts[i]};
        p.at_server.act = say_bye;
        play(&p);
        CHECK(p.at_client.result == ERR_OK);
        CHECK(p.at_server.result == ERR_OK);
        CHECK(p.at_client.act_result == ERR_CLOSED);
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(a_long_rsa_chain_is_verified)
{
    struct tls_server *server = new_server(rsa_file, rsa_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    struct play p = {.server = server, .client = client, .host = "good.example"};
    p.at_server.act = say_bye;
    play(&p);
    CHECK(p.at_client.result == ERR_OK);
    CHECK(p.at_client.act_result == ERR_CLOSED);
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(the_system_trust_store_is_used)
{
    setenv("SSL_CERT_FILE", ca_file, 1);
    struct tls_client *client = new_client("", "", "");
    unsetenv("SSL_CERT_FILE");
    struct tls_server *server = new_server(good_file, good_key, "");
    struct play p = {.server = server, .client = client, .host = "good.example"};
    p.at_server.act = say_bye;
    play(&p);
    CHECK(p.at_client.result == ERR_OK);
    tls_client_unref(client);
    tls_server_unref(server);
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0) {
        struct tls_client *one = new_client("", "", ""), *two = new_client("", "", "");
        tls_client_unref(one);
        tls_client_unref(two);
    }
    refuse(self_file, self_key, other_ca_file, "good.example",
           "the certificate of good.example is self-signed and not trusted");
}

static void refuse_files(const char *file, const char *key, const char *ca, const char *words)
{
    struct tls_client *client = NULL;
    struct failure why = {0};
    EXPECT(tls_client_new(span_of_cstr(ca), span_of_cstr(file), span_of_cstr(key), &client, &why) ==
           ERR_TLS);
    if (!EXPECT(strstr(why.text, words) != NULL))
        printf("# got: %s\n", why.text);
}

TEST(bad_files_are_named)
{
    refuse_files("", "", "/does/not/exist.pem",
                 "cannot read the CA file /does/not/exist.pem: No such file or directory");
    refuse_files("", "", empty_file, "it is empty or not PEM");
    refuse_files("", "", good_key, "it is empty or not PEM");
    refuse_files("/no/such.pem", good_key, ca_file,
                 "cannot read the certificate file /no/such.pem: No such file or directory");
    refuse_files(good_file, "/no/such.key", ca_file,
                 "cannot read the key file /no/such.key: No such file or directory");
    refuse_files(good_file, mine_key, ca_file, "does not belong to the certificate file");
    struct tls_server *server = NULL;
    struct failure why = {0};
    CHECK(tls_server_new(span_of_cstr(good_file), span_of_cstr(good_key), span_of_cstr(empty_file),
                         &server, &why) == ERR_TLS);
    CHECK(strstr(why.text, "client CA file") != NULL);
}

/* --- client certificates ---------------------------------------------------------------------- */

/* What a server that asks for a certificate of `ca_file` makes of the client. */
static void meet_checker(struct tls_client *client, struct play *p)
{
    struct tls_server *server = new_server(good_file, good_key, ca_file);
    p->server = server;
    p->client = client;
    p->host = "good.example";
    play(p);
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(a_client_certificate_is_accepted)
{
    struct play p = {.at_server.act = say_bye};
    meet_checker(new_client(ca_file, mine_file, mine_key), &p);
    CHECK(p.at_client.result == ERR_OK);
    CHECK(p.at_server.result == ERR_OK);
}

/* Under TLS 1.3 the client has done its part before the server looks at the certificate: it learns
 * of the refusal when it reads. */
TEST(a_strange_client_certificate_is_refused)
{
    struct play p = {.timeout_ms = 0};
    meet_checker(new_client(ca_file, alien_file, alien_key), &p);
    CHECK(p.at_server.result == ERR_TLS);
    CHECK(strcmp(p.at_server.why.text,
                 "the certificate of the client is signed by an unknown authority") == 0);
    CHECK(p.at_client.act_result == ERR_TLS);
    CHECK(strcmp(p.at_client.trouble, "the peer does not know who signed our certificate") == 0);
}

TEST(a_missing_client_certificate_is_refused)
{
    struct play p = {.timeout_ms = 0};
    meet_checker(new_client(ca_file, "", ""), &p);
    CHECK(p.at_server.result == ERR_TLS);
    CHECK(strcmp(p.at_server.why.text,
                 "TLS with the client failed: the client showed no certificate") == 0);
    CHECK(p.at_client.act_result == ERR_TLS);
    CHECK(strcmp(p.at_client.trouble, "the peer asks for a client certificate") == 0);
}

/* --- ALPN, resumption ------------------------------------------------------------------------- */

TEST(alpn_chooses_what_both_speak)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    for (int i = 0; i < 2; i++) {
        struct play p = {
            .server = server, .client = client, .host = "good.example", .offers_h2 = i == 1};
        p.at_server.act = say_bye;
        play(&p);
        CHECK(p.at_client.result == ERR_OK);
        CHECK(p.at_client.is_h2 == (i == 1));
        CHECK(p.at_server.is_h2 == (i == 1));
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(sessions_are_resumed_with_the_same_host_only)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    static const struct {
        const char *host;
        bool resumes;
    } turns[] = {{"good.example", false},
                 {"good.example", true},
                 {"localhost", false},
                 {"good.example", true},
                 {"localhost", true}};
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        struct play p = {.server = server, .client = client, .host = turns[i].host};
        p.at_server.act = say_bye;
        play(&p);
        CHECK(p.at_client.result == ERR_OK);
        CHECK(p.at_client.act_result == ERR_CLOSED);
        CHECK(p.at_client.was_resumed == turns[i].resumes);
        CHECK(p.at_server.was_resumed == turns[i].resumes);
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(resumption_works_with_client_certificates)
{
    struct tls_server *server = new_server(good_file, good_key, ca_file);
    struct tls_client *client = new_client(ca_file, mine_file, mine_key);
    for (int i = 0; i < 2; i++) {
        struct play p = {.server = server, .client = client, .host = "good.example"};
        p.at_server.act = say_bye;
        play(&p);
        CHECK(p.at_server.result == ERR_OK);
        CHECK(p.at_client.was_resumed == (i == 1));
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

/* --- ends ------------------------------------------------------------------------------------- */

/* Closes the socket behind TLS's back. */
static void cut(struct play *p, struct stream *s)
{
    say_bye(p, s);
    shutdown(s->io.fd, SHUT_RDWR);
}

TEST(a_cut_connection_is_not_a_clean_end)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    struct play clean = {.server = server, .client = client, .host = "good.example"};
    clean.at_server.act = say_bye;
    play(&clean);
    CHECK(clean.at_client.act_result == ERR_CLOSED);
    struct play dirty = {.server = server, .client = client, .host = "good.example"};
    dirty.at_server.act = cut;
    play(&dirty);
    CHECK(dirty.at_client.act_result == ERR_TLS);
    CHECK(strcmp(dirty.at_client.trouble, "the peer closed the connection without ending TLS") ==
          0);
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(a_silent_peer_costs_no_more_than_the_deadline)
{
    struct tls_client *client = new_client(ca_file, "", "");
    struct play p = {.client = client, .host = "good.example", .timeout_ms = 20};
    p.at_server.keeps_quiet = true;
    play(&p);
    CHECK(p.at_client.result == ERR_TIMEOUT);
    CHECK(strcmp(p.at_client.why.text, "the TLS handshake with good.example did not end in time") ==
          0);
    struct play q = {.client = client, .host = "good.example", .cancels = true};
    q.at_server.keeps_quiet = true;
    play(&q);
    CHECK(q.at_client.result == ERR_CANCELLED);
    tls_client_unref(client);
}

static void talk_http(void *arg)
{
    struct play *p = arg;
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    CHECK(write(p->at_server.fd, text, sizeof text - 1) == sizeof text - 1);
    leave(p);
}

TEST(a_peer_without_tls_is_told_apart)
{
    struct tls_client *client = new_client(ca_file, "", "");
    struct play p = {.client = client, .host = "good.example"};
    open_pair(&p);
    struct loop *l = loop_new(4);
    p.running = 2;
    CHECK(fiber_spawn(talk_http, &p, "http") && fiber_spawn(be_client, &p, "client"));
    loop_run(l);
    loop_free(l);
    close(p.at_server.fd);
    CHECK(p.at_client.result == ERR_TLS);
    CHECK(strcmp(p.at_client.why.text,
                 "TLS with good.example failed: the peer does not speak TLS") == 0);
    tls_client_unref(client);
}

/* --- against OpenSSL itself, on a thread of its own ------------------------------------------- */

struct stranger {
    int fd;
    bool is_server;
    int version; /* the only one that it speaks */
    bool wants_certificate;
    const char *alpn; /* a client's, NULL: none */
    bool said_hello;  /* the handshake succeeded */
    int status;       /* of reading one byte afterwards */
};

static void *be_stranger(void *arg)
{
    struct stranger *x = arg;
    SSL_CTX *c = SSL_CTX_new(x->is_server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_cipher_list(c, "ALL:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(c, x->version);
    SSL_CTX_set_max_proto_version(c, x->version);
    if (x->is_server) {
        SSL_CTX_use_certificate_chain_file(c, good_file);
        SSL_CTX_use_PrivateKey_file(c, good_key, SSL_FILETYPE_PEM);
        SSL_CTX_load_verify_file(c, ca_file);
    }
    if (x->wants_certificate)
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL *ssl = SSL_new(c);
    if (x->alpn)
        SSL_set_alpn_protos(ssl, (const unsigned char *)x->alpn, (unsigned)strlen(x->alpn));
    fcntl(x->fd, F_SETFL, 0);
    SSL_set_fd(ssl, x->fd);
    x->said_hello = (x->is_server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1;
    char byte = 'y';
    if (x->said_hello && x->is_server)
        SSL_write(ssl, &byte, 1);
    if (x->said_hello)
        x->status = SSL_read(ssl, &byte, 1);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    SSL_CTX_free(c);
    close(x->fd);
    return NULL;
}

/* Our end of `p` meets the stranger. */
static void meet(struct play *p, struct stranger *x)
{
    pthread_t thread;
    open_pair(p);
    int *theirs = x->is_server ? &p->at_server.fd : &p->at_client.fd;
    x->fd = *theirs;
    *theirs = -1;
    if (pthread_create(&thread, NULL, be_stranger, x) != 0)
        exit(1);
    run(p);
    pthread_join(thread, NULL);
}

TEST(tls_1_2_is_spoken_and_1_1_is_refused)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    for (int i = 0; i < 2; i++) {
        struct stranger x = {.version = i == 0 ? TLS1_2_VERSION : TLS1_1_VERSION};
        struct play p = {.server = server};
        p.at_server.act = say_bye;
        meet(&p, &x);
        CHECK(x.said_hello == (i == 0));
        CHECK(p.at_server.result == (i == 0 ? ERR_OK : ERR_TLS));
        if (i == 1)
            CHECK(strcmp(p.at_server.why.text, "TLS with the client failed: the peer speaks no TLS "
                                               "version from 1.2 on") == 0);

        struct stranger y = {.is_server = true, .version = x.version};
        struct play q = {.client = client, .host = "good.example"};
        q.at_client.act = hang_up;
        meet(&q, &y);
        CHECK(y.said_hello == (i == 0));
        CHECK(q.at_client.result == (i == 0 ? ERR_OK : ERR_TLS));
        if (i == 1)
            CHECK(strcmp(q.at_client.why.text, "TLS with good.example failed: the peer speaks no "
                                               "TLS version from 1.2 on") == 0);
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

TEST(a_tls_1_2_server_that_wants_a_certificate_is_understood)
{
    struct tls_client *none = new_client(ca_file, "", "");
    struct stranger x = {.is_server = true, .version = TLS1_2_VERSION, .wants_certificate = true};
    struct play p = {.client = none, .host = "good.example"};
    meet(&p, &x);
    CHECK(p.at_client.result == ERR_TLS);
    CHECK(strcmp(p.at_client.why.text,
                 "good.example asks for a client certificate, and none is configured") == 0);
    tls_client_unref(none);
    struct tls_client *mine = new_client(ca_file, mine_file, mine_key);
    struct stranger y = {.is_server = true, .version = TLS1_2_VERSION, .wants_certificate = true};
    struct play q = {.client = mine, .host = "good.example"};
    q.at_client.act = hang_up;
    meet(&q, &y);
    CHECK(q.at_client.result == ERR_OK);
    CHECK(y.said_hello);
    tls_client_unref(mine);
}

TEST(unknown_protocols_are_refused)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct stranger x = {.version = TLS1_3_VERSION, .alpn = "\x04smtp"};
    struct play p = {.server = server};
    meet(&p, &x);
    CHECK(!x.said_hello);
    CHECK(p.at_server.result == ERR_TLS);
    CHECK(strstr(p.at_server.why.text, "ALPN") != NULL);
    tls_server_unref(server);
}

/* --- tries, and what they cost ---------------------------------------------------------------- */

static ssize_t (*real_read)(int fd, void *buffer, size_t n);
static ssize_t (*real_writev)(int fd, const struct iovec *parts, int count);
static int writes;

static ssize_t count_writev(int fd, const struct iovec *parts, int count)
{
    writes++;
    return real_writev(fd, parts, count);
}

static void write_message(struct play *p, struct stream *s)
{
    static char body[60000];
    struct iovec parts[] = {{(char[]){"head"}, 4}, {(char[]){"more"}, 4}, {body, sizeof body}};
    writes = 0;
    p->at_server.act_result = stream_write(s, parts, 3, deadline_of(p));
    writes += 1000; /* the close_notify does not count */
}

static void stop_counting_at_close(struct play *p, struct stream *s)
{
    write_message(p, s);
    sys.writev = real_writev;
}

TEST(a_message_leaves_in_one_writev)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    struct play p = {
        .server = server, .client = client, .host = "good.example", .buffer_bytes = 1 << 20};
    p.at_server.act = stop_counting_at_close;
    real_writev = sys.writev;
    sys.writev = count_writev;
    play(&p);
    CHECK(p.at_server.act_result == ERR_OK);
    CHECK(p.at_client.act_result == ERR_CLOSED);
    CHECK(writes == 1001);
    tls_server_unref(server);
    tls_client_unref(client);
}

/* Writes without waiting until nothing goes, then with waiting what is left. */
static void try_writes(struct play *p, struct stream *s)
{
    static char bytes[400000];
    size_t at = 0, done = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)byte_at(i, 5);
    while (at < sizeof bytes && e == ERR_OK) {
        struct iovec part = {bytes + at, sizeof bytes - at};
        e = stream_try_write(s, &part, 1, &done);
        at += e == ERR_OK ? done : 0;
    }
    EXPECT(e == ERR_AGAIN);
    EXPECT(at < sizeof bytes);
    struct iovec rest = {bytes + at, sizeof bytes - at};
    p->at_server.act_result = stream_write(s, &rest, 1, deadline_of(p));
}

static void try_reads(struct play *p, struct stream *s)
{
    char buffer[1000];
    size_t at = 0, got = 0;
    enum err e = stream_try_read(s, buffer, sizeof buffer, &got);
    EXPECT(e == ERR_AGAIN);
    (void)!fiber_sleep(loop_now() + 5 * NS_PER_MS); /* the other side fills all buffers */
    for (;;) {
        e = stream_try_read(s, buffer, sizeof buffer, &got);
        if (e == ERR_AGAIN)
            e = io_wait(&s->io, s->tls ? tls_wants(s->tls) : IO_READ, deadline_of(p)) == ERR_OK
                    ? ERR_AGAIN
                    : ERR_TIMEOUT;
        else if (e == ERR_OK)
            for (size_t i = 0; i < got; i++)
                EXPECT((unsigned char)buffer[i] == byte_at(at + i, 5));
        if (e != ERR_OK && e != ERR_AGAIN)
            break;
        at += e == ERR_OK ? got : 0;
    }
    p->at_client.act_result = e;
    EXPECT(at == 400000);
}

TEST(tries_take_what_they_can)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    for (int i = 0; i < 2; i++) {
        struct play p = {.host = "good.example", .buffer_bytes = 10000};
        p.server = i ? server : NULL;
        p.client = i ? client : NULL;
        p.at_server.act = try_writes;
        p.at_client.act = try_reads;
        play(&p);
        CHECK(p.at_server.act_result == ERR_OK);
        CHECK(p.at_client.act_result == ERR_CLOSED);
    }
    tls_server_unref(server);
    tls_client_unref(client);
}

/* --- the n-th system call fails --------------------------------------------------------------- */

static int calls_until_fault, fault_kind;

static bool is_fault(void)
{
    return --calls_until_fault == 0;
}

static ssize_t faulty_read(int fd, void *buffer, size_t n)
{
    if (!is_fault())
        return real_read(fd, buffer, n);
    /* A read is never cut short: less than asked for means that there is no more, and the loop
     * relies on it as epoll(7) allows. */
    if (fault_kind == 2)
        return real_read(fd, buffer, n);
    if (fault_kind == 3)
        return 0;
    errno = fault_kind == 0 ? ECONNRESET : EINTR;
    return -1;
}

static ssize_t faulty_writev(int fd, const struct iovec *parts, int count)
{
    if (!is_fault())
        return real_writev(fd, parts, count);
    if (fault_kind == 2) {
        struct iovec one = {parts[0].iov_base, 1};
        return real_writev(fd, &one, 1);
    }
    errno = fault_kind == 1 ? EINTR : fault_kind == 3 ? ENOBUFS : EPIPE;
    return -1;
}

static int (*real_epoll_ctl)(int epoll, int operation, int fd, struct epoll_event *event);

static int faulty_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (!is_fault() || fault_kind == 1 || fault_kind == 2)
        return real_epoll_ctl(epoll, operation, fd, event);
    errno = ENOSPC;
    return -1;
}

TEST(any_system_call_may_fail)
{
    struct tls_server *server = new_server(good_file, good_key, "");
    struct tls_client *client = new_client(ca_file, "", "");
    struct sys_door door = sys;
    real_read = sys.read;
    real_writev = sys.writev;
    real_epoll_ctl = sys.epoll_ctl;
    for (fault_kind = 0; fault_kind < 4; fault_kind++) {
        bool passed = false;
        for (int n = 2; !passed; n++) { /* the loop's own registration is not our subject */
            struct play p = {
                .server = server, .client = client, .host = "good.example", .timeout_ms = 2000};
            p.at_server.act = say_bye;
            calls_until_fault = n;
            sys.read = faulty_read;
            sys.writev = faulty_writev;
            sys.epoll_ctl = faulty_epoll_ctl;
            play(&p);
            sys = door;
            passed = calls_until_fault > 0;
            CHECK(n < 100);
            /* What is interrupted or cut short is done again: nobody notices. */
            if (passed || fault_kind == 1 || fault_kind == 2)
                CHECK(p.at_client.result == ERR_OK && p.at_client.act_result == ERR_CLOSED);
        }
    }
    struct play p = {.server = server, .client = client, .host = "good.example"};
    p.at_server.act = say_bye;
    play(&p);
    CHECK(p.at_client.act_result == ERR_CLOSED);
    tls_server_unref(server);
    tls_client_unref(client);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    make_cast();
    RUN(bytes_arrive_in_the_clear);
    RUN(bytes_arrive_through_tls);
    RUN(certificates_are_verified);
    RUN(names_and_addresses_match);
    RUN(a_long_rsa_chain_is_verified);
    RUN(the_system_trust_store_is_used);
    RUN(bad_files_are_named);
    RUN(a_client_certificate_is_accepted);
    RUN(a_strange_client_certificate_is_refused);
    RUN(a_missing_client_certificate_is_refused);
    RUN(alpn_chooses_what_both_speak);
    RUN(sessions_are_resumed_with_the_same_host_only);
    RUN(resumption_works_with_client_certificates);
    RUN(a_cut_connection_is_not_a_clean_end);
    RUN(a_silent_peer_costs_no_more_than_the_deadline);
    RUN(a_peer_without_tls_is_told_apart);
    RUN(tls_1_2_is_spoken_and_1_1_is_refused);
    RUN(a_tls_1_2_server_that_wants_a_certificate_is_understood);
    RUN(unknown_protocols_are_refused);
    RUN(a_message_leaves_in_one_writev);
    RUN(tries_take_what_they_can);
    RUN(any_system_call_may_fail);
    struct builder census;
    builder_init(&census, 4096);
    size_t deepest = fiber_census(&census);
    printf("# deepest stack: %zu bytes\n", deepest);
    if (deepest > 0)
        fwrite(builder_span(&census).p, 1, builder_span(&census).n, stderr);
    builder_deinit(&census);
    return TESTS_DONE();
}
