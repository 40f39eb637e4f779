#include "tests/fault/gateway.h"

#include "cli/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };
enum { PLAIN, SAFE, SOCKETS };

static struct {
    struct listener_sockets sockets[SOCKETS];   /* the master's */
    struct listener_sockets own[LISTENERS_MAX]; /* the worker's, who closes them */
    int ports[SOCKETS];
    struct gateway_files files;
    char text[8192];
    int generation;
    int control_fd; /* the master's end */
    struct worker_start start;
    pthread_t thread;
    int status;
    bool serves;
} gateway;

/* The gateway is its own provider: so both ends of each kind of connection are under the doors. */
static const char template[] = "listen:\n"
                               "  - 127.0.0.1:%d\n"
                               "  - {address: \"127.0.0.1:%d\", tls: {certificate: %s, key: %s}}\n"
                               "admin: {key: %s}\n"
                               "access_log: /dev/null\n"
                               "workers: 1\n"
                               "providers:\n"
                               "  mock: {}\n"
                               "  plain: {dialect: openai, base_url: \"http://127.0.0.1:%d/v1\","
                               " api_key: %s}\n"
                               "  two: {dialect: openai, base_url: \"http://127.0.0.1:%d/v1\","
                               " api_key: %s, http: 2}\n"
                               "  safe: {dialect: openai, base_url: \"https://127.0.0.1:%d/v1\","
                               " api_key: %s, ca_file: %s}\n"
                               "models:\n"
                               "  \"mock-*\": \"mock/mock-*\"\n"
                               "  \"plain-*\": \"plain/mock-*\"\n"
                               "  \"two-*\": \"two/mock-*\"\n"
                               "  \"safe-*\": \"safe/mock-*\"\n"
                               "  second: {targets: [mock/mock-status-500, mock/mock-ok]}\n"
                               "  generation-%d: mock/mock-ok\n"
                               "keys:\n"
                               "  - {name: test, key: %s}\n";

/* The test's own needs: without them there is nothing to test. */
static void need(bool is_good, const char *what)
{
    if (is_good)
        return;
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

static void write_text(void)
{
    const int *p = gateway.ports;
    gateway.generation++;
    int n = snprintf(gateway.text, sizeof gateway.text, template, p[PLAIN], p[SAFE],
                     gateway.files.certificate, gateway.files.key, GATEWAY_ADMIN_KEY, p[PLAIN],
                     GATEWAY_KEY, p[PLAIN], GATEWAY_KEY, p[SAFE], GATEWAY_KEY,
                     gateway.files.authority, gateway.generation, GATEWAY_KEY);
    gateway.start.text = span(gateway.text, (size_t)n);
}

static void open_socket(int which)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct listener_sockets *s = &gateway.sockets[which];
    s->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->fd_count = 1;
    need(bind(s->fds[0], (struct sockaddr *)&address, size) == 0 && listen(s->fds[0], 128) == 0 &&
             getsockname(s->fds[0], (struct sockaddr *)&address, &size) == 0,
         "a socket");
    gateway.ports[which] = ntohs(address.sin_port);
    snprintf(s->address, sizeof s->address, "127.0.0.1:%d", gateway.ports[which]);
}

void gateway_prepare(const struct gateway_files *files)
{
    gateway.files = *files;
    open_socket(PLAIN);
    open_socket(SAFE);
    write_text();
}

int gateway_port(void)
{
    return gateway.ports[PLAIN];
}

static void *run_worker(void *unused)
{
    (void)unused;
    gateway.status = worker_run(&gateway.start);
    close(gateway.start.control_fd);
    return NULL;
}

/* The next message of this kind, or false when the worker ended or keeps silent. */
static bool await(enum control_type wanted, enum control_type other, enum control_type *got)
{
    static struct control m;
    struct pollfd p = {.fd = gateway.control_fd, .events = POLLIN};
    while (poll(&p, 1, PATIENCE_MS) > 0 && control_receive(gateway.control_fd, &m)) {
        *got = m.type;
        if (m.type == wanted || m.type == other)
            return true;
    }
    return false;
}

bool gateway_start(void)
{
    int pair[2];
    enum control_type got;
    need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "a pair");
    gateway.control_fd = pair[0];
    gateway.status = -1;
    gateway.start.control_fd = pair[1];
    gateway.start.file = "fault.yaml";
    gateway.start.listeners = gateway.own;
    for (int i = 0; i < SOCKETS; i++) {
        gateway.own[i] = gateway.sockets[i];
        gateway.own[i].fds[0] = dup(gateway.sockets[i].fds[0]);
    }
    gateway.start.listener_count = SOCKETS;
    gateway.start.threads = 1;
    gateway.start.admin_key = SPAN(GATEWAY_ADMIN_KEY);
    need(pthread_create(&gateway.thread, NULL, run_worker, NULL) == 0, "a thread");
    gateway.serves = await(CONTROL_READY, CONTROL_READY, &got);
    return gateway.serves;
}

bool gateway_reload(void)
{
    enum control_type got = CONTROL_REFUSED;
    write_text();
    int fd = memfd_create("configuration", MFD_CLOEXEC);
    need(write(fd, gateway.text, gateway.start.text.n) == (ssize_t)gateway.start.text.n,
         "a memory file");
    for (int i = 0; i < SOCKETS; i++)
        control_send(gateway.control_fd, CONTROL_LISTENER, 0,
                     span_of_cstr(gateway.sockets[i].address), gateway.sockets[i].fds, 1);
    control_send(gateway.control_fd, CONTROL_CONFIG, 0, (struct span){0}, &fd, 1);
    close(fd);
    return await(CONTROL_RELOADED, CONTROL_REFUSED, &got) && got == CONTROL_RELOADED;
}

bool gateway_serves(void)
{
    return gateway.serves;
}

int gateway_end(void)
{
    struct timespec until;
    gateway.serves = false;
    control_send(gateway.control_fd, CONTROL_STOP, 0, (struct span){0}, NULL, 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    if (pthread_timedjoin_np(gateway.thread, NULL, &until) != 0)
        return -1;
    close(gateway.control_fd);
    return gateway.status;
}
