#include "base/sys.h"
#include "fiber/fiber.h"
#include "fiber/io.h"
#include "fiber/loop.h"
#include "net/dns.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

/* --- a DNS server in a fiber (RFC 1035, 4) ---------------------------------------------------- */

enum { TYPE_A = 1, TYPE_AAAA = 28, NO_ERROR = 0, SERVFAIL = 2, NXDOMAIN = 3 };

static struct {
    int fd;
    struct io io;
    uint16_t port;
    struct fiber *fiber;
    bool is_silent, is_failing;
    int questions; /* all that were heard */
    uint32_t ttl_s;
    int addresses; /* of each family */
    int64_t pause_ns;
} server;

/* The name of the question as text; where it ends. */
static size_t read_name(const unsigned char *p, size_t n, char *name)
{
    size_t at = 12, out = 0;
    while (at < n && p[at] && at + p[at] < n && out + p[at] < 250) {
        memcpy(name + out, p + at + 1, p[at]);
        out += p[at];
        name[out++] = '.';
        at += p[at] + 1u;
    }
    name[out ? out - 1 : 0] = '\0';
    return at + 1;
}

static size_t add_answer(unsigned char *p, size_t n, int type, int number)
{
    size_t size = type == TYPE_A ? 4 : 16;
    const unsigned char head[12] = {0xc0,
                                    12, /* the question's name */
                                    0,
                                    (unsigned char)type,
                                    0,
                                    1,
                                    (unsigned char)(server.ttl_s >> 24),
                                    (unsigned char)(server.ttl_s >> 16),
                                    (unsigned char)(server.ttl_s >> 8),
                                    (unsigned char)server.ttl_s,
                                    0,
                                    (unsigned char)size};
    memcpy(p + n, head, sizeof head);
    n += sizeof head;
    memset(p + n, 0, size);
    p[n] = type == TYPE_A ? 10 : 0xfd;
    p[n + size - 1] = (unsigned char)number;
    return n + size;
}

static size_t answer(unsigned char *p, size_t n)
{
    char name[256];
    size_t end = read_name(p, n, name);
    if (end + 4 > n)
        return 0;
    int type = p[end] << 8 | p[end + 1];
    int code = server.is_failing ? SERVFAIL : strstr(name, "missing") != NULL ? NXDOMAIN : NO_ERROR;
    bool only_a = strstr(name, "four") != NULL, nothing = strstr(name, "nothing") != NULL;
    int count = code != NO_ERROR || nothing || (type == TYPE_AAAA && only_a) ? 0 : server.addresses;
    p[2] = 0x81, p[3] = (unsigned char)(0x80 | code); /* an answer, recursion done */
    memset(p + 6, 0, 6);
    p[7] = (unsigned char)count;
    n = end + 4;
    for (int i = 0; i < count; i++)
        n = add_answer(p, n, type, i + 1);
    return n;
}

static void serve_dns(void *arg)
{
    (void)arg;
    unsigned char packet[1500];
    struct sockaddr_in from;
    while (io_wait(&server.io, IO_READ, FIBER_FOREVER) == ERR_OK) {
        socklen_t from_n = sizeof from;
        ssize_t n = recvfrom(server.fd, packet, 512, 0, (struct sockaddr *)&from, &from_n);
        if (n < 0) {
            server.io.is_readable = false;
            continue;
        }
        server.questions++;
        if (server.is_silent)
            continue;
        if (server.pause_ns)
            (void)!fiber_sleep(loop_now() + server.pause_ns);
        size_t size = answer(packet, (size_t)n);
        (void)!sendto(server.fd, packet, size, 0, (struct sockaddr *)&from, from_n);
    }
    io_close(&server.io);
}

static void start_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    memset(&server, 0, sizeof server);
    server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (bind(server.fd, (struct sockaddr *)&address, n) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&address, &n) != 0 ||
        io_open(&server.io, server.fd, NULL) != ERR_OK)
        exit(1);
    server.port = ntohs(address.sin_port);
    server.ttl_s = 20;
    server.addresses = 2;
    server.fiber = fiber_spawn(serve_dns, NULL, "dns server");
}

/* --- a scene: a loop, a server, a resolver, and a fiber that plays ---------------------------- */

static struct resolver *resolver;
static int64_t jumped_ns; /* the clock is this much ahead */
static int64_t (*real_clock)(void);

static int64_t jumping_clock(void)
{
    return real_clock() + jumped_ns;
}

/* The loop's own time follows the clock with its next round. */
static void jump(int64_t ns)
{
    jumped_ns += ns;
    (void)!fiber_yield();
}

static void scene(void *arg)
{
    char servers[32];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", server.port);
    resolver = resolver_new(span_of_cstr(servers));
    if (EXPECT(resolver != NULL))
        (*(void (**)(void))arg)();
    fiber_cancel(server.fiber, CANCEL_OWNER);
    (void)!fiber_yield();
    loop_stop(loop_self());
}

static void run_scene(void (*body)(void))
{
    jumped_ns = 0;
    struct loop *l = loop_new(1200);
    start_server();
    if (!fiber_spawn(scene, &body, "scene"))
        exit(1);
    loop_run(l);
    resolver_free(resolver);
    loop_free(l);
}

struct found {
    struct address addresses[DNS_ADDRESSES_MAX];
    size_t count;
    enum err result;
    struct failure why;
};

static void find_within(const char *name, int64_t timeout_ms, struct found *f)
{
    memset(f, 0, sizeof *f);
    f->result = dns_resolve(resolver, span_of_cstr(name), 443, loop_now() + timeout_ms * NS_PER_MS,
                            f->addresses, &f->count, &f->why);
}

static void find(const char *name, struct found *f)
{
    find_within(name, 5000, f);
}

static const char *text_of(const struct address *a)
{
    static char text[INET6_ADDRSTRLEN];
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->socket_address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->socket_address;
    inet_ntop(v4->sin_family,
              v4->sin_family == AF_INET ? (const void *)&v4->sin_addr
                                        : (const void *)&v6->sin6_addr,
              text, sizeof text);
    return text;
}

static bool has(const struct found *f, const char *address)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(text_of(&f->addresses[i]), address) == 0)
            return true;
    return false;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void both_families(void)
{
    struct found f;
    find("both.example", &f);
    CHECK(f.result == ERR_OK);
    CHECK(f.count == 4);
    CHECK(has(&f, "10.0.0.1") && has(&f, "10.0.0.2"));
    CHECK(has(&f, "fd00::1") && has(&f, "fd00::2"));
    CHECK(((struct sockaddr_in *)&f.addresses[0].socket_address)->sin_port == htons(443));
    CHECK(server.questions == 2);
    find("four.example", &f);
    CHECK(f.result == ERR_OK);
    CHECK(f.count == 2);
}

TEST(a_name_has_addresses_of_both_families)
{
    run_scene(both_families);
}

static void literals(void)
{
    struct found f;
    find("10.1.2.3", &f);
    CHECK(f.result == ERR_OK && f.count == 1 && has(&f, "10.1.2.3"));
    CHECK(((struct sockaddr_in *)&f.addresses[0].socket_address)->sin_port == htons(443));
    CHECK(f.addresses[0].size == sizeof(struct sockaddr_in));
    find("::1", &f);
    CHECK(f.result == ERR_OK && f.count == 1 && has(&f, "::1"));
    CHECK(((struct sockaddr_in6 *)&f.addresses[0].socket_address)->sin6_port == htons(443));
    CHECK(f.addresses[0].size == sizeof(struct sockaddr_in6));
    find("localhost", &f);
    CHECK(f.result == ERR_OK && (has(&f, "127.0.0.1") || has(&f, "::1")));
    CHECK(server.questions == 0);
    find("", &f);
    CHECK(f.result == ERR_DNS);
    find("a b.example", &f);
    CHECK(f.result == ERR_DNS);
    CHECK(server.questions == 0);
}

TEST(literals_and_hosts_ask_nobody)
{
    run_scene(literals);
}

static void time_to_live(void)
{
    struct found f;
    find("cached.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 2);
    jump(19 * NS_PER_S);
    find("CACHED.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 2);
    jump(2 * NS_PER_S);
    find("cached.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 4);
    server.ttl_s = 0; /* is lifted to a second */
    find("brief.example", &f);
    find("brief.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 6);
    server.ttl_s = 86400; /* is cut to five minutes */
    find("long.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 8);
    jump(301 * NS_PER_S);
    find("long.example", &f);
    CHECK(f.result == ERR_OK && server.questions == 10);
}

TEST(answers_live_as_long_as_they_say_within_bounds)
{
    run_scene(time_to_live);
}

static void rotation(void)
{
    struct found f;
    bool was_first[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        find("four.example", &f);
        CHECK(f.result == ERR_OK);
        was_first[strcmp(text_of(&f.addresses[0]), "10.0.0.2") == 0] = true;
    }
    CHECK(was_first[0] && was_first[1]);
}

TEST(equal_addresses_take_turns)
{
    run_scene(rotation);
}

static void failures(void)
{
    struct found f;
    find("missing.example", &f);
    CHECK(f.result == ERR_DNS);
    CHECK(strcmp(f.why.text, "cannot resolve missing.example: there is no such name") == 0);
    int asked = server.questions;
    find("missing.example", &f);
    CHECK(f.result == ERR_DNS && server.questions == asked); /* remembered */
    jump(1100 * NS_PER_MS);
    find("missing.example", &f);
    CHECK(f.result == ERR_DNS && server.questions > asked); /* for a second */
    find("nothing.example", &f);
    CHECK(f.result == ERR_DNS);
    CHECK(strcmp(f.why.text, "cannot resolve nothing.example: the name has no address") == 0);
}

TEST(failures_are_told_and_remembered_for_a_second)
{
    run_scene(failures);
}

static void silence(void)
{
    struct found f;
    server.is_silent = true;
    find_within("silent.example", 30, &f);
    CHECK(f.result == ERR_TIMEOUT);
    CHECK(strcmp(f.why.text, "cannot resolve silent.example: no answer from DNS in time") == 0);
    CHECK(server.questions == 2);
}

TEST(a_silent_server_costs_no_more_than_the_deadline)
{
    run_scene(silence);
}

static void stale(void)
{
    struct found f;
    find("stale.example", &f);
    CHECK(f.result == ERR_OK);
    jump(21 * NS_PER_S);
    server.is_failing = true;
    find("stale.example", &f);
    CHECK(f.result == ERR_OK && f.count == 4);
    server.is_failing = false;
    server.is_silent = true;
    jump(2 * NS_PER_S);
    int64_t start = clock_ns();
    find("stale.example", &f); /* half a second of patience */
    CHECK(f.result == ERR_OK && f.count == 4);
    CHECK(clock_ns() - start < 1500 * NS_PER_MS);
    server.is_silent = false;
    server.is_failing = true;
    jump(60 * NS_PER_S);
    find("stale.example", &f);
    CHECK(f.result == ERR_DNS);
    server.is_failing = false;
    jump(2 * NS_PER_S);
    find("stale.example", &f);
    CHECK(f.result == ERR_OK);
}

TEST(an_old_answer_is_used_while_the_servers_fail)
{
    run_scene(stale);
}

static int together_ok, together_gone;

static void ask_together(void *arg)
{
    struct found f;
    find_within("together.example", arg ? 5 : 5000, &f);
    together_ok += f.result == ERR_OK;
    together_gone += f.result == ERR_TIMEOUT || f.result == ERR_CANCELLED;
}

static void together(void)
{
    struct group g;
    static int impatient;
    struct fiber *first = NULL;
    server.pause_ns = 20 * NS_PER_MS;
    together_ok = together_gone = 0;
    group_init(&g);
    for (int i = 0; i < 100; i++) {
        struct fiber *f = group_spawn(&g, ask_together, i % 10 == 9 ? &impatient : NULL, "asker");
        CHECK(f != NULL);
        first = first ? first : f;
    }
    (void)!fiber_yield();
    fiber_cancel(first, CANCEL_CLIENT_GONE); /* the one that asked */
    CHECK(group_join(&g, FIBER_FOREVER) == ERR_OK);
    CHECK(server.questions == 2); /* A and AAAA, once */
    CHECK(together_ok == 89);
    CHECK(together_gone == 11);
}

TEST(many_fibers_share_one_question)
{
    run_scene(together);
}

static void many_names(void)
{
    struct found f;
    char name[32];
    for (int i = 0; i < DNS_CACHE_MAX + 50; i++) {
        snprintf(name, sizeof name, "four%d.example", i);
        find(name, &f);
        CHECK(f.result == ERR_OK);
        find("four0.example", &f); /* old, but in use */
    }
    int asked = server.questions;
    CHECK(asked == 2 * (DNS_CACHE_MAX + 50)); /* none twice */
    find(name, &f);
    find("four0.example", &f);
    CHECK(server.questions == asked);
    find("four1.example", &f); /* the one that was not used for the longest time */
    CHECK(server.questions == asked + 2);
}

TEST(the_cache_is_bounded)
{
    run_scene(many_names);
}

/* A question is open when the resolver goes. */
static void leave_early(void)
{
    struct found f;
    server.is_silent = true;
    find_within("open.example", 1, &f);
    CHECK(f.result == ERR_TIMEOUT);
}

TEST(a_resolver_may_go_while_a_question_is_open)
{
    run_scene(leave_early);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    real_clock = sys.monotonic_ns;
    sys.monotonic_ns = jumping_clock;
    RUN(a_name_has_addresses_of_both_families);
    RUN(literals_and_hosts_ask_nobody);
    RUN(answers_live_as_long_as_they_say_within_bounds);
    RUN(equal_addresses_take_turns);
    RUN(failures_are_told_and_remembered_for_a_second);
    RUN(a_silent_server_costs_no_more_than_the_deadline);
    RUN(an_old_answer_is_used_while_the_servers_fail);
    RUN(many_fibers_share_one_question);
    RUN(the_cache_is_bounded);
    RUN(a_resolver_may_go_while_a_question_is_open);
    return TESTS_DONE();
}
