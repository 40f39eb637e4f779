#include "cli/cli.h"

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"
#include "mock/mock.h"
#include "net/listen.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/un.h>

enum { FIBERS_MAX = 100000, STOP_CHECKS_MAX = 300 };
static const int64_t STOP_CHECK_NS = 10 * NS_PER_MS;

struct options {
    struct span listen;
    struct mock_options mock;
    uint64_t workers;
};

struct worker {
    pthread_t thread;
    struct letter stop;
    struct timer timer; /* while it stops */
    unsigned checks;
    int fd;
    struct mock *mock;
    struct loop *loop;
    struct http_server *server;
    sem_t *is_ready;
    bool has_failed;
};

static void print_help(void)
{
    struct builder text;
    builder_init(&text, 64 * 1024);
    builder_add_cstr(
        &text,
        "usage: penstock mock [OPTIONS]\n"
        "The mock provider: answers any model, the same request with the same bytes.\n"
        "\n"
        "  --listen ADDR        where (default 127.0.0.1:8081); unix:/path too\n"
        "  --script FILE        lines \"MODEL SCRIPT\" for models of other names; '*' in MODEL\n"
        "  --workers N          threads (default 1)\n"
        "  --calls N            calls that GET /mock/calls remembers (default 1000)\n"
        "  --call-body BYTES    bytes that it remembers of a body (default 16384)\n"
        "  --help               this text\n"
        "\n"
        "A model's name scripts the answer: \"mock-\" and words, joined by '+'.\n"
        "\n");
    mock_script_help(&text);
    if (builder_check(&text) == ERR_OK)
        printf("%.*s", SPAN_ARG(builder_span(&text)));
    builder_deinit(&text);
}

/* --- a worker --------------------------------------------------------------------------------- */

static const struct http_server_settings SETTINGS = {
    .body_max = 256 * 1024 * 1024,
    .connections_max = FIBERS_MAX,
    .requests_max = FIBERS_MAX,
    .header_timeout_ns = 60 * NS_PER_S,
    .body_timeout_ns = 300 * NS_PER_S,
    .write_timeout_ns = 300 * NS_PER_S,
    .keepalive_timeout_ns = 600 * NS_PER_S,
    .half_close = HALF_CLOSE_ABORT,
};

/* Aborted requests end in the next rounds; then the loop can stop. */
static void check_stopped(struct timer *t)
{
    struct worker *w = CONTAINER_OF(t, struct worker, timer);
    if (http_server_stats(w->server).connections == 0 || ++w->checks == STOP_CHECKS_MAX)
        loop_stop(w->loop);
    else
        loop_set_timer(t, loop_now() + STOP_CHECK_NS);
}

static void begin_stop(struct letter *letter)
{
    struct worker *w = CONTAINER_OF(letter, struct worker, stop);
    http_server_unlisten(w->server, w->fd);
    http_server_abort(w->server);
    timer_init(&w->timer, check_stopped);
    check_stopped(&w->timer);
}

static bool start_worker(struct worker *w)
{
    w->loop = loop_new(FIBERS_MAX);
    if (!w->loop)
        return false;
    w->server = http_server_new(&SETTINGS, mock_handler, w->mock);
    return w->server && http_server_listen(w->server, w->fd, NULL, 0) == ERR_OK;
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    w->has_failed = !start_worker(w);
    const bool runs = !w->has_failed;
    sem_post(w->is_ready);
    if (runs)
        loop_run(w->loop);
    /* What would not end is left to the end of the process. */
    if (w->server && http_server_stats(w->server).connections == 0) {
        http_server_free(w->server);
        loop_free(w->loop);
    } else if (w->loop && !w->server) {
        loop_free(w->loop);
    }
    return NULL;
}

/* --- listening -------------------------------------------------------------------------------- */

/* The address that a socket really has: its port may have been 0. */
static struct listen_address address_of(int fd, struct listen_address asked)
{
    struct listen_address a = {.size = sizeof a.socket_address};
    if (getsockname(fd, (struct sockaddr *)&a.socket_address, &a.size) != 0)
        return asked;
    return a;
}

static void print_address(struct span asked, const struct listen_address *a)
{
    char host[INET6_ADDRSTRLEN];
    const void *const any = &a->socket_address;
    const struct sockaddr_in *const v4 = any;
    const struct sockaddr_in6 *const v6 = any;
    if (a->socket_address.ss_family == AF_INET &&
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host))
        printf("the mock provider listens on http://%s:%u\n", host, ntohs(v4->sin_port));
    else if (a->socket_address.ss_family == AF_INET6 &&
             inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host))
        printf("the mock provider listens on http://[%s]:%u\n", host, ntohs(v6->sin6_port));
    else
        printf("the mock provider listens on %.*s\n", SPAN_ARG(asked));
    fflush(stdout);
}

/* A socket a worker; a unix socket cannot be opened twice and is shared. */
static enum err open_sockets(const struct options *o, struct worker *workers,
                             struct listen_address *address, struct failure *why)
{
    const char *wrong = NULL;
    enum err e = listen_parse(o->listen, address, &wrong);
    if (e != ERR_OK)
        return fail(why, e, "%.*s: %s", SPAN_ARG(o->listen), wrong);
    if (listen_is_taken(address))
        return fail(why, ERR_IO, "%.*s: cannot listen: Address already in use",
                    SPAN_ARG(o->listen));
    for (uint64_t i = 0; i < o->workers; i++) {
        if (i > 0 && address->socket_address.ss_family == AF_UNIX) {
            workers[i].fd = workers[0].fd;
            continue;
        }
        TRY(listen_open(address, &workers[i].fd, why));
        if (i == 0)
            *address = address_of(workers[0].fd, *address);
    }
    return ERR_OK;
}

static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- the process ------------------------------------------------------------------------------ */

static bool start_all(struct worker *workers, uint64_t count, struct mock *mock, sem_t *is_ready)
{
    for (uint64_t i = 0; i < count; i++) {
        struct worker *w = &workers[i];
        w->mock = mock;
        w->is_ready = is_ready;
        w->stop.fn = begin_stop;
        if (pthread_create(&w->thread, NULL, run_worker, w) != 0)
            return false;
        while (sem_wait(is_ready) != 0)
            continue;
        if (w->has_failed)
            return false;
    }
    return true;
}

static int serve_until_signal(const struct options *o, struct worker *workers, struct mock *mock)
{
    struct listen_address address;
    struct failure why = {0};
    sigset_t signals;
    sem_t is_ready;
    int signal_number;
    if (open_sockets(o, workers, &address, &why) != ERR_OK) {
        fprintf(stderr, "penstock mock: %s\n", why.text);
        return 1;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    sem_init(&is_ready, 0, 0);
    if (!start_all(workers, o->workers, mock, &is_ready)) {
        fprintf(stderr, "penstock mock: a worker could not start\n");
        return 1;
    }
    print_address(o->listen, &address);
    sigwait(&signals, &signal_number);
    for (uint64_t i = 0; i < o->workers; i++)
        loop_post(workers[i].loop, &workers[i].stop);
    for (uint64_t i = 0; i < o->workers; i++)
        pthread_join(workers[i].thread, NULL);
    if (address.socket_address.ss_family == AF_UNIX)
        remove(((struct sockaddr_un *)(void *)&address.socket_address)->sun_path);
    return 0;
}

static bool read_number(const char *name, const char *text, uint64_t min, uint64_t max,
                        uint64_t *value)
{
    if (span_to_u64(span_of_cstr(text), value) == ERR_OK && *value >= min && *value <= max)
        return true;
    fprintf(stderr, "penstock mock: --%s takes a number from %llu to %llu, not \"%s\"\n", name,
            (unsigned long long)min, (unsigned long long)max, text);
    return false;
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"script", required_argument, NULL, 's'},
        {"workers", required_argument, NULL, 'w'},
        {"calls", required_argument, NULL, 'c'},
        {"call-body", required_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static char name[] = "penstock mock"; /* what getopt complains as */
    uint64_t number = 0;
    argv[0] = name;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        bool is_right = true;
        switch (c) {
        case 'l':
            o->listen = span_of_cstr(optarg);
            break;
        case 's':
            o->mock.script_file = optarg;
            break;
        case 'w':
            is_right = read_number("workers", optarg, 1, WORKERS_MAX, &o->workers);
            break;
        case 'c':
            is_right = read_number("calls", optarg, 0, 1000000, &number);
            o->mock.calls_max = number;
            break;
        case 'b':
            is_right = read_number("call-body", optarg, 0, 64 * 1024 * 1024, &number);
            o->mock.call_body_max = number;
            break;
        case 'h':
            print_help();
            return 0;
        default: /* getopt has said what is wrong */
            fputs("`penstock mock --help` tells what there is\n", stderr);
            is_right = false;
        }
        if (!is_right)
            return 2;
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "penstock mock: unexpected \"%s\"; see --help\n", argv[optind]);
    return 2;
}

int cli_mock(int argc, char **argv)
{
    struct options o = {
        .listen = SPAN("127.0.0.1:8081"),
        .mock = {.calls_max = 1000, .call_body_max = 16384},
        .workers = 1,
    };
    struct failure why = {0};
    struct mock *mock;
    const int status = read_options(argc, argv, &o);
    if (status >= 0)
        return status;
    if (mock_new(&o.mock, &mock, &why) != ERR_OK) {
        fprintf(stderr, "penstock mock: %s\n", why.text);
        return 1;
    }
    struct worker *workers = mem_calloc(o.workers, sizeof *workers);
    if (!workers) {
        mock_free(mock);
        return 1;
    }
    raise_open_files();
    const int result = serve_until_signal(&o, workers, mock);
    if (result == 0)
        mock_free(mock);
    mem_free(workers);
    return result;
}
