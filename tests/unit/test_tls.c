#include "tests/tls_ends.h"

/* --- big transfers, both ways at once --------------------------------------------------------- */

enum { TRANSFER = 3 * 1024 * 1024 + 17 };

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
    report_census();
    return TESTS_DONE();
}
