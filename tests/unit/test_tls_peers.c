/* TLS against OpenSSL itself, the cost of tries, and system calls that fail. */
#include "tests/tls_ends.h"

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
    RUN(tls_1_2_is_spoken_and_1_1_is_refused);
    RUN(a_tls_1_2_server_that_wants_a_certificate_is_understood);
    RUN(unknown_protocols_are_refused);
    RUN(a_message_leaves_in_one_writev);
    RUN(tries_take_what_they_can);
    RUN(any_system_call_may_fail);
    report_census();
    return TESTS_DONE();
}
