#include "../../src/net/connect.c" /* the race is tested without names */
#include "base/mem.h"
#include "tests/certificates.h"
#include "tests/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/un.h>

/* --- a scene: a server that does one thing, and a fiber that connects ------------------------- */

static int (*real_connect)(int fd, const struct sockaddr *address, socklen_t n);

enum part { PART_ECHO, PART_TLS, PART_PROXY };

static struct {
    enum part part;
    const char *proxy_answer; /* NULL: none */
    bool proxy_blurts;        /* answers in one piece */
    bool proxy_stays;         /* open, after it has answered */
    struct io listener;
    struct sockaddr_storage address;
    socklen_t address_n;
    struct fiber *fiber;
    char heard[1024]; /* by the proxy: the request */
    int accepted;
} server;

static struct tls_server *tls_server;
static struct tls_client *tls_client;
static struct resolver *resolver;

static int64_t soon(void)
{
    return loop_now() + 5 * NS_PER_S;
}

static void echo(struct stream *s)
{
    char byte;
    size_t got;
    while (stream_read(s, &byte, 1, soon(), &got) == ERR_OK) {
        struct iovec part = {&byte, 1};
        if (stream_write(s, &part, 1, soon()) != ERR_OK)
            return;
    }
}

/* Hears a request's head, gives its answer. */
static bool be_proxy(struct stream *s)
{
    size_t n = 0, got = 0;
    while (!strstr(server.heard, "\r\n\r\n")) {
        if (n == sizeof server.heard - 1 ||
            stream_read(s, server.heard + n, sizeof server.heard - 1 - n, soon(), &got) != ERR_OK)
            return false;
        n += got;
        server.heard[n] = '\0';
    }
    if (!server.proxy_answer)
        return echo(s), false; /* hangs until we give up */
    if (server.proxy_blurts) {
        struct iovec whole = {(char *)(uintptr_t)server.proxy_answer, strlen(server.proxy_answer)};
        return stream_write(s, &whole, 1, soon()) == ERR_OK && server.proxy_stays;
    }
    /* Byte by byte: an answer may be cut anywhere. */
    for (const char *p = server.proxy_answer; *p; p++) {
        struct iovec part = {(char[]){*p}, 1};
        if (stream_write(s, &part, 1, soon()) != ERR_OK)
            return false;
        (void)!fiber_yield();
    }
    return server.proxy_stays;
}

static void serve_one(void *arg)
{
    struct stream s;
    struct failure why = {0};
    server.accepted++;
    if (stream_open(&s, (int)(intptr_t)arg, NULL) != ERR_OK)
        return;
    bool goes_on = server.part != PART_PROXY || be_proxy(&s);
    if (goes_on && server.part != PART_ECHO && tls_server)
        goes_on = tls_accept(&s, tls_server, soon(), &why) == ERR_OK;
    if (goes_on)
        echo(&s);
    stream_close(&s);
}

static void serve(void *arg)
{
    struct group g;
    (void)arg;
    group_init(&g);
    while (io_wait(&server.listener, IO_READ, FIBER_FOREVER) == ERR_OK) {
        int fd = accept4(server.listener.fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            server.listener.is_readable = false;
        else if (!group_spawn(&g, serve_one, (void *)(intptr_t)fd, "served"))
            close(fd);
    }
    group_leave(&g, CANCEL_OWNER);
    io_close(&server.listener);
}

static void listen_at(const struct sockaddr *address, socklen_t n)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    server.address_n = sizeof server.address;
    if (bind(fd, address, n) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&server.address, &server.address_n) != 0 ||
        io_open(&server.listener, fd, NULL) != ERR_OK)
        exit(1);
}

static uint16_t server_port(void)
{
    return ntohs(((struct sockaddr_in *)&server.address)->sin_port);
}

static void scene(void *arg)
{
    struct group g;
    group_init(&g);
    resolver = resolver_new((struct span){0});
    if (EXPECT(resolver != NULL) && EXPECT(group_spawn(&g, serve, NULL, "server") != NULL))
        (*(void (**)(void))arg)();
    group_leave(&g, CANCEL_OWNER);
    resolver_free(resolver);
    loop_stop(loop_self());
}

static void run_scene_at(void (*body)(void), enum part part, const struct sockaddr *address,
                         socklen_t n)
{
    struct loop *l = loop_new(64);
    memset(&server, 0, sizeof server);
    server.part = part;
    listen_at(address, n);
    if (!fiber_spawn(scene, &body, "scene"))
        exit(1);
    loop_run(l);
    loop_free(l);
}

static void run_scene(void (*body)(void), enum part part)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    run_scene_at(body, part, (const struct sockaddr *)&any, sizeof any);
}

static struct origin here(void)
{
    return (struct origin){
        .name = SPAN("http://here"), .host = SPAN("127.0.0.1"), .port = server_port()};
}

static struct origin here_by_proxy(void)
{
    return (struct origin){.name = SPAN("https://good.example"),
                           .host = SPAN("good.example"),
                           .port = 443,
                           .proxy_host = SPAN("127.0.0.1"),
                           .proxy_port = server_port()};
}

static enum err connect_within(struct origin o, int64_t timeout_ms, struct failure *why)
{
    struct stream s;
    memset(why, 0, sizeof *why);
    enum err e =
        connect_origin(&o, resolver, tls_client, loop_now() + timeout_ms * NS_PER_MS, &s, why);
    if (e != ERR_OK)
        return e;
    char byte = 'e';
    size_t got = 0;
    struct iovec part = {&byte, 1};
    e = stream_write(&s, &part, 1, soon());
    byte = 0;
    if (e == ERR_OK)
        e = stream_read(&s, &byte, 1, soon(), &got);
    if (e == ERR_OK && byte != 'e')
        e = ERR_PROTOCOL;
    stream_close(&s);
    return e;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static void one_address(void)
{
    struct failure why;
    CHECK(connect_within(here(), 5000, &why) == ERR_OK);
    struct origin o = here();
    o.host = SPAN("localhost"); /* ::1 may come first, and is refused */
    CHECK(connect_within(o, 5000, &why) == ERR_OK);
}

TEST(an_address_is_connected)
{
    run_scene(one_address, PART_ECHO);
}

static void nobody_listens(void)
{
    struct failure why;
    struct origin o = here();
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: refuses */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    CHECK(bind(fd, (struct sockaddr *)&a, n) == 0 &&
          getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    o.port = ntohs(a.sin_port);
    CHECK(connect_within(o, 5000, &why) == ERR_CONNECT);
    CHECK(strncmp(why.text, "cannot connect to http://here at 127.0.0.1:", 43) == 0);
    CHECK(strstr(why.text, ": Connection refused") != NULL);
    close(fd);
}

TEST(a_refusal_is_named)
{
    run_scene(nobody_listens, PART_ECHO);
}

/* What becomes of connection attempts, by the number of the attempt. */
enum fate { REFUSED, HANGS, WORKS, FAILS };
static enum fate fates[8];
static int attempts, parked_fd;

/* c-ares connects datagram sockets to sort addresses: those are not our subject. */
static int fated_connect(int fd, const struct sockaddr *address, socklen_t n)
{
    int type = 0;
    socklen_t type_n = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_n);
    if (type != SOCK_STREAM)
        return real_connect(fd, address, n);
    switch (fates[attempts++]) {
    case WORKS:
        return real_connect(fd, (struct sockaddr *)&server.address, server.address_n);
    case HANGS: { /* the backlog of this listener is full: the kernel goes on trying */
        struct sockaddr_in a;
        socklen_t a_n = sizeof a;
        getsockname(parked_fd, (struct sockaddr *)&a, &a_n);
        return real_connect(fd, (struct sockaddr *)&a, a_n);
    }
    case FAILS:
        errno = ENETUNREACH;
        return -1;
    case REFUSED:
        break;
    }
    struct sockaddr_in nobody = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return real_connect(fd, (struct sockaddr *)&nobody, sizeof nobody);
}

/* A listener that nobody can get through to. */
static int fillers[4];

static void park(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    parked_fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(parked_fd, (struct sockaddr *)&a, n) != 0 || listen(parked_fd, 0) != 0 ||
        getsockname(parked_fd, (struct sockaddr *)&a, &n) != 0)
        exit(1);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&a, n);
    }
}

static void unpark(void)
{
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(parked_fd);
}

static size_t addresses = 2;

static enum err race(enum fate first, enum fate second, int64_t timeout_ms, struct failure *why)
{
    struct stream s;
    struct address all[3];
    for (int i = 0; i < 3; i++)
        all[i] = (struct address){server.address, server.address_n};
    fates[0] = first, fates[1] = second, fates[2] = WORKS, attempts = 0;
    memset(why, 0, sizeof *why);
    enum err e =
        connect_any(all, addresses, SPAN("here"), loop_now() + timeout_ms * NS_PER_MS, &s, why);
    if (e == ERR_OK)
        stream_close(&s);
    return e;
}

static void races(void)
{
    struct failure why;
    int64_t start = clock_ns();
    CHECK(race(REFUSED, WORKS, 5000, &why) == ERR_OK && attempts == 2);
    CHECK(race(FAILS, WORKS, 5000, &why) == ERR_OK && attempts == 2);
    CHECK(race(WORKS, WORKS, 5000, &why) == ERR_OK && attempts == 1);
    CHECK(clock_ns() - start < 240 * NS_PER_MS); /* a failure starts the next at once */

    start = clock_ns();
    CHECK(race(HANGS, WORKS, 5000, &why) == ERR_OK && attempts == 2);
    CHECK(clock_ns() - start >= 248 * NS_PER_MS);
    CHECK(race(HANGS, REFUSED, 300, &why) == ERR_TIMEOUT && attempts == 2);
    CHECK(strcmp(why.text, "cannot connect to here in time") == 0);
    CHECK(race(HANGS, HANGS, 10, &why) == ERR_TIMEOUT && attempts == 1);
    CHECK(race(FAILS, REFUSED, 5000, &why) == ERR_CONNECT);
    CHECK(strstr(why.text, "(nor at its other addresses): Connection refused") != NULL);
    CHECK(race(REFUSED, FAILS, 5000, &why) == ERR_CONNECT);

    start = clock_ns();
    addresses = 3; /* the first still tries when the second fails: the third starts at once */
    CHECK(race(HANGS, REFUSED, 5000, &why) == ERR_OK && attempts == 3);
    addresses = 2;
    CHECK(clock_ns() - start < 450 * NS_PER_MS);
}

TEST(addresses_race)
{
    park();
    real_connect = sys.connect;
    sys.connect = fated_connect;
    run_scene(races, PART_ECHO);
    sys.connect = real_connect;
    unpark();
}

static struct failure cancelled_why;
static enum err cancelled_result;

static void connect_nowhere(void *arg)
{
    (void)arg;
    cancelled_result = race(HANGS, HANGS, 5000, &cancelled_why);
}

static void cancel_race(void)
{
    struct group g;
    group_init(&g);
    struct fiber *f = group_spawn(&g, connect_nowhere, NULL, "connecting");
    (void)!fiber_yield();
    fiber_cancel(f, CANCEL_CLIENT_GONE);
    group_leave(&g, CANCEL_OWNER);
    CHECK(cancelled_result == ERR_CANCELLED);
}

TEST(a_race_can_be_cancelled)
{
    park();
    real_connect = sys.connect;
    sys.connect = fated_connect;
    run_scene(cancel_race, PART_ECHO);
    sys.connect = real_connect;
    unpark();
}

/* --- unix sockets ----------------------------------------------------------------------------- */

static const char *unix_path;

static void by_path(void)
{
    struct failure why;
    struct origin o = {.name = SPAN("unix"), .unix_path = span_of_cstr(unix_path)};
    CHECK(connect_within(o, 5000, &why) == ERR_OK);
    o.unix_path = SPAN("/no/such/socket");
    CHECK(connect_within(o, 5000, &why) == ERR_CONNECT);
    CHECK(strcmp(why.text, "cannot connect to the unix socket /no/such/socket: "
                           "No such file or directory") == 0);
    char longest[200];
    memset(longest, 'x', sizeof longest);
    o.unix_path = span(longest, sizeof longest);
    CHECK(connect_within(o, 5000, &why) == ERR_CONNECT);
}

TEST(unix_sockets_are_connected)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    unix_path = certificate_path("socket");
    strcpy(a.sun_path, unix_path);
    run_scene_at(by_path, PART_ECHO, (struct sockaddr *)&a, sizeof a);
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    char name[64];
    int n = snprintf(name, sizeof name, "@penstock-test-%d", (int)getpid());
    memcpy(abstract.sun_path + 1, name + 1, (size_t)n - 1);
    unix_path = name;
    run_scene_at(by_path, PART_ECHO, (struct sockaddr *)&abstract,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n));
}

/* --- the egress proxy ------------------------------------------------------------------------- */

static void tunnel(void)
{
    struct failure why;
    struct origin o = here_by_proxy();
    server.proxy_answer = "HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n";
    server.proxy_stays = true;
    CHECK(connect_within(o, 5000, &why) == ERR_OK);
    CHECK(strcmp(server.heard,
                 "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n") == 0);
    memset(server.heard, 0, sizeof server.heard);
    o.proxy_authorization = SPAN("Basic dTpw");
    o.host = SPAN("::1");
    server.proxy_answer = "HTTP/1.0 103 Early\r\n\r\nHTTP/1.1 204\r\n\r\n";
    CHECK(connect_within(o, 5000, &why) == ERR_OK);
    CHECK(strcmp(server.heard, "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
                               "Proxy-Authorization: Basic dTpw\r\n\r\n") == 0);
}

TEST(a_proxy_gives_a_tunnel)
{
    run_scene(tunnel, PART_PROXY);
}

static void tls_in_tunnel(void)
{
    struct failure why;
    struct origin o = here_by_proxy();
    o.tls = true;
    server.proxy_answer = "HTTP/1.1 200 OK\r\n\r\n";
    server.proxy_stays = true;
    CHECK(connect_within(o, 5000, &why) == ERR_OK);
    o.host = SPAN("evil.example");
    memset(server.heard, 0, sizeof server.heard);
    CHECK(connect_within(o, 5000, &why) == ERR_TLS);
    CHECK(strcmp(why.text, "the certificate is for good.example, 127.0.0.1, "
                           "not for evil.example") == 0);
}

TEST(tls_goes_through_the_tunnel)
{
    run_scene(tls_in_tunnel, PART_PROXY);
}

static void refusals(void)
{
    static const struct {
        const char *answer;
        enum err result;
        const char *words; /* behind "the proxy 127.0.0.1:PORT " */
    } cases[] = {
        {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
         ERR_CONNECT,
         "refused to connect to good.example: 407 Proxy Authentication Required: "
         "it asks for credentials"},
        {"HTTP/1.1 403 Not\x1b here\r\n\r\n", ERR_CONNECT,
         "refused to connect to good.example: 403 Not? here"},
        {"HTTP/1.1 301 Moved\r\n\r\n", ERR_CONNECT,
         "refused to connect to good.example: 301 Moved"},
        {"SSH-2.0-OpenSSH\r\n\r\n", ERR_CONNECT, "does not speak HTTP"},
        {"HTTP/1.1 20 OK\r\n\r\n", ERR_CONNECT, "answered CONNECT with what is not HTTP"},
        {"HTTP/1.1 2000 OK\r\n\r\n", ERR_CONNECT, "answered CONNECT with what is not HTTP"},
        {"HTTP/1.1 101 Switch\r\n\r\n", ERR_CONNECT, "answered CONNECT with what is not HTTP"},
        {"HTTP/1.1 200 OK\r\nX: y\r\n", ERR_CONNECT,
         "closed the connection before it answered CONNECT"},
        {"", ERR_CONNECT, "closed the connection before it answered CONNECT"},
        {NULL, ERR_TIMEOUT, "did not answer CONNECT in time"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct failure why;
        memset(server.heard, 0, sizeof server.heard);
        server.proxy_answer = cases[i].answer;
        CHECK(connect_within(here_by_proxy(), cases[i].answer ? 5000 : 30, &why) ==
              cases[i].result);
        char words[200];
        snprintf(words, sizeof words, "the proxy 127.0.0.1:%u %s", server_port(), cases[i].words);
        if (strcmp(why.text, words) != 0)
            printf("# got: %s\n", why.text);
        CHECK(strcmp(why.text, words) == 0);
    }
}

TEST(a_proxy_that_does_not_help_is_named)
{
    run_scene(refusals, PART_PROXY);
}

static void blurts(void)
{
    struct failure why;
    server.proxy_blurts = server.proxy_stays = true;
    server.proxy_answer = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 not yours";
    CHECK(connect_within(here_by_proxy(), 5000, &why) == ERR_CONNECT);
    CHECK(strstr(why.text, "sent bytes behind its answer to CONNECT") != NULL);
}

TEST(a_proxy_cannot_speak_for_the_origin)
{
    run_scene(blurts, PART_PROXY);
}

static char *long_answer;

static void floods(void)
{
    struct failure why;
    server.proxy_answer = long_answer;
    CHECK(connect_within(here_by_proxy(), 5000, &why) == ERR_CONNECT);
    CHECK(strstr(why.text, "sent more than 8192 bytes of header") != NULL);
}

TEST(a_proxy_cannot_send_without_end)
{
    long_answer = malloc(10001);
    memset(long_answer, 'a', 10000);
    long_answer[10000] = '\0';
    memcpy(long_answer, "HTTP/1.1 200 OK\r\n", 17);
    run_scene(floods, PART_PROXY);
    free(long_answer);
}

/* --- everything at once, and each system call failing in turn --------------------------------- */

static struct sys_door door;
static int calls_until_fault, fault_error, faults_made;

static bool is_fault(void)
{
    if (--calls_until_fault != 0)
        return false;
    faults_made++;
    errno = fault_error;
    return true;
}

static ssize_t faulty_read(int fd, void *buffer, size_t n)
{
    return is_fault() ? -1 : door.read(fd, buffer, n);
}

static ssize_t faulty_writev(int fd, const struct iovec *parts, int count)
{
    return is_fault() ? -1 : door.writev(fd, parts, count);
}

static int faulty_socket(int family, int type, int protocol)
{
    return is_fault() ? -1 : door.socket(family, type, protocol);
}

static int faulty_connect(int fd, const struct sockaddr *address, socklen_t n)
{
    return is_fault() ? -1 : door.connect(fd, address, n);
}

static int faulty_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return is_fault() ? -1 : door.epoll_ctl(epoll, operation, fd, event);
}

static void fail_each_call(void)
{
    struct failure why;
    struct origin o = here_by_proxy();
    static const int errors[] = {ENOMEM, ECONNRESET, ENOSPC};
    o.tls = true;
    server.proxy_answer = "HTTP/1.1 200 OK\r\n\r\n";
    server.proxy_stays = true;
    door = sys;
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        bool passed = false;
        for (int n = 1; !passed; n++) {
            CHECK(n < 500);
            fault_error = errors[i];
            calls_until_fault = n;
            memset(server.heard, 0, sizeof server.heard);
            sys.read = faulty_read;
            sys.writev = faulty_writev;
            sys.socket = faulty_socket;
            sys.connect = faulty_connect;
            sys.epoll_ctl = faulty_epoll_ctl;
            enum err e = connect_within(o, 200, &why);
            passed = calls_until_fault > 0;
            sys = door;
            CHECK(!passed || e == ERR_OK);
            CHECK(e == ERR_OK || e == ERR_CONNECT || e == ERR_TLS || e == ERR_TIMEOUT ||
                  e == ERR_NO_MEMORY || e == ERR_IO || e == ERR_CLOSED);
        }
        memset(server.heard, 0, sizeof server.heard);
        CHECK(connect_within(o, 5000, &why) == ERR_OK); /* the next one works */
    }
    CHECK(faults_made > 30);
}

TEST(any_system_call_may_fail)
{
    run_scene(fail_each_call, PART_PROXY);
}

static void *(*real_realloc)(void *old, size_t n);
static int allocations_until_fault;

static void *faulty_realloc(void *old, size_t n)
{
    return --allocations_until_fault == 0 ? NULL : real_realloc(old, n);
}

static void fail_each_allocation(void)
{
    struct failure why;
    struct origin o = here_by_proxy();
    o.tls = true;
    o.proxy_host = SPAN("localhost");
    server.proxy_answer = "HTTP/1.1 200 OK\r\n\r\n";
    server.proxy_stays = true;
    real_realloc = mem_door.realloc;
    bool passed = false;
    for (int n = 1; !passed; n++) {
        CHECK(n < 1000);
        memset(server.heard, 0, sizeof server.heard);
        struct resolver *whole = resolver;
        allocations_until_fault = n;
        mem_door.realloc = faulty_realloc;
        resolver = resolver_new((struct span){0});
        enum err e = resolver ? connect_within(o, 1000, &why) : ERR_NO_MEMORY;
        passed = allocations_until_fault > 0;
        mem_door.realloc = real_realloc;
        resolver_free(resolver);
        resolver = whole;
        CHECK(!passed || e == ERR_OK);
    }
}

TEST(any_allocation_may_fail)
{
    run_scene(fail_each_allocation, PART_PROXY);
}

static void make_tls(void)
{
    struct certificate ca = certificate_new((struct certificate_wish){.to_days = 9});
    struct certificate good = certificate_new(
        (struct certificate_wish){&ca, "DNS:good.example,IP:127.0.0.1", 0, 9, false});
    const char *ca_file = certificate_save("ca.pem", &ca, NULL);
    const char *file = certificate_save("good.pem", &good, NULL);
    const char *key = certificate_save_key("good.key", &good);
    struct failure why = {0};
    if (tls_server_new(span_of_cstr(file), span_of_cstr(key), (struct span){0}, &tls_server,
                       &why) != ERR_OK ||
        tls_client_new(span_of_cstr(ca_file), (struct span){0}, (struct span){0}, &tls_client,
                       &why) != ERR_OK)
        certificate_need(false, why.text);
    certificate_free(&ca);
    certificate_free(&good);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    RUN(an_address_is_connected);
    RUN(a_refusal_is_named);
    RUN(addresses_race);
    RUN(a_race_can_be_cancelled);
    RUN(unix_sockets_are_connected);
    RUN(a_proxy_gives_a_tunnel);
    RUN(a_proxy_that_does_not_help_is_named);
    RUN(a_proxy_cannot_speak_for_the_origin);
    RUN(a_proxy_cannot_send_without_end);
    make_tls(); /* from here on the server speaks it */
    RUN(tls_goes_through_the_tunnel);
    RUN(any_system_call_may_fail);
    RUN(any_allocation_may_fail);
    tls_server_unref(tls_server);
    tls_client_unref(tls_client);
    return TESTS_DONE();
}
