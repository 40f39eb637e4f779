/* load.c -- a load generator that believes nothing.
 *
 * One thread, one epoll instance, non-blocking sockets. Closed loop: every connection sends its
 * next request when the answer before it is complete. Open loop (--rate): requests fall due at
 * fixed times and their latency counts from then, so that a server that stalls cannot hide the
 * requests that it kept from being sent (coordinated omission). In both, every byte of every
 * payload is compared with the reference; see answer.h. */
#include "answer.h"
#include "histogram.h"
#include "options.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 256 * 1024,
    EVENTS_MAX = 256,
    ERRORS_MAX = 100, /* enough to know: a dead peer must not be asked a million times */
    FIRST_ERROR_MAX = 256,
};

struct conn {
    int fd; /* -1: closed */
    uint32_t index;
    bool is_busy;     /* a request is under way */
    bool has_payload; /* its first byte came */
    bool was_used;    /* an answer came on this socket before */
    size_t sent;
    int64_t due_ns; /* when its request was sent or should have been */
    struct answer answer;
};

struct load {
    struct options o;
    struct reference reference;
    int epoll, timer;
    bool has_told;    /* that all streams are open */
    bool has_to_stop; /* leave the loop at once */

    struct conn *conns;
    struct conn **ready; /* a stack of those without a request */
    size_t ready_count, introduced, busy_count;

    int64_t start_ns, end_ns, progress_ns;
    uint64_t started, requests, chunks, bytes, reconnects, opened, errors;
    uint64_t errors_status, errors_socket, errors_body, errors_unfinished;
    char first_error[FIRST_ERROR_MAX];
    struct histogram latency, first_byte;
    char buffer[BUFFER_BYTES];
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

/* --- connections --------------------------------------------------------------------------------
 */

static void conn_close(struct conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->was_used = false;
}

/* The request under way failed; the connection is spent. */
static void conn_fail(struct load *l, struct conn *c, uint64_t *counter, const char *what)
{
    if (!l->errors)
        (void)snprintf(l->first_error, sizeof(l->first_error), "%s", what);
    (*counter)++;
    if (++l->errors >= ERRORS_MAX)
        l->has_to_stop = true;
    conn_close(c);
    if (c->is_busy) {
        c->is_busy = false;
        l->busy_count--;
        l->ready[l->ready_count++] = c;
    }
}

static void conn_fail_errno(struct load *l, struct conn *c, const char *call)
{
    char what[128];
    (void)snprintf(what, sizeof(what), "%s: %s%s", call, strerror(errno),
                   c->was_used ? " (on a connection that had answered before)" : "");
    conn_fail(l, c, &l->errors_socket, what);
}

static int bind_source(const struct load *l, const struct conn *c, int fd)
{
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(c->index % l->o.sources));
    /* The port is chosen at connect, when the whole four-tuple is known. */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return bind(fd, (struct sockaddr *)&from, sizeof(from));
}

static bool conn_open(struct load *l, struct conn *c)
{
    int on = 1, family = l->o.address.ss_family;
    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        conn_fail_errno(l, c, "socket");
        return false;
    }
    if (family != AF_UNIX)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (l->o.sources && family == AF_INET && bind_source(l, c, c->fd) != 0) {
        conn_fail_errno(l, c, "bind");
        return false;
    }
    if (connect(c->fd, (struct sockaddr *)&l->o.address, l->o.address_n) != 0 &&
        errno != EINPROGRESS) {
        conn_fail_errno(l, c, "connect");
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        conn_fail_errno(l, c, "epoll_ctl");
        return false;
    }
    l->reconnects++;
    return true;
}

static void conn_write(struct load *l, struct conn *c)
{
    struct span request = l->o.request;
    while (c->sent < request.n) {
        ssize_t n = send(c->fd, request.p + c->sent, request.n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return; /* an edge will come */
        if (n < 0) {
            conn_fail_errno(l, c, "send");
            return;
        }
        c->sent += (size_t)n;
    }
}

static void conn_start(struct load *l, struct conn *c, int64_t due_ns)
{
    c->is_busy = true;
    l->busy_count++;
    l->started++;
    c->has_payload = false;
    c->sent = 0;
    c->due_ns = due_ns;
    answer_start(&c->answer, NULL);
    if (c->fd >= 0 || conn_open(l, c))
        conn_write(l, c);
}

static void conn_done(struct load *l, struct conn *c, int64_t now_ns)
{
    histogram_add(&l->latency, now_ns - c->due_ns);
    l->requests++;
    l->end_ns = now_ns;
    c->is_busy = false;
    c->was_used = true;
    l->busy_count--;
    if (c->answer.closes)
        conn_close(c);
    l->ready[l->ready_count++] = c;
}

static void note_first_byte(struct load *l, struct conn *c, int64_t now_ns)
{
    if (c->has_payload || !c->answer.at)
        return;
    c->has_payload = true;
    l->opened++;
    histogram_add(&l->first_byte, now_ns - c->due_ns);
}

static void conn_fail_verdict(struct load *l, struct conn *c, enum verdict v)
{
    char what[128];
    if (v == VERDICT_BAD_STATUS) {
        (void)snprintf(what, sizeof(what), "status %d", c->answer.status);
        conn_fail(l, c, &l->errors_status, what);
    } else if (v == VERDICT_BAD_HTTP) {
        conn_fail(l, c, &l->errors_socket, "not an HTTP/1.1 answer, or cut");
    } else {
        (void)snprintf(what, sizeof(what), "the payload differs from the reference near byte %zu",
                       c->answer.at);
        conn_fail(l, c, &l->errors_body, what);
    }
}

/* Feeds what was read. False when the connection is no longer worth reading. */
static bool conn_take(struct load *l, struct conn *c, struct span bytes, int64_t now_ns)
{
    size_t used, events = c->answer.events, at = c->answer.at;
    if (!c->is_busy) {
        conn_fail(l, c, &l->errors_body, "bytes that nobody asked for");
        return false;
    }
    enum verdict v = answer_feed(&c->answer, &l->reference, bytes, &used);
    l->chunks += c->answer.events - events;
    l->bytes += c->answer.at - at;
    note_first_byte(l, c, now_ns);
    if (v == VERDICT_DONE && used < bytes.n)
        v = VERDICT_WRONG_BODY;
    if (v == VERDICT_DONE && c->sent == l->o.request.n)
        conn_done(l, c, now_ns);
    else if (v != VERDICT_MORE)
        conn_fail_verdict(l, c, v);
    return c->fd >= 0;
}

static void conn_take_eof(struct load *l, struct conn *c, int64_t now_ns)
{
    if (!c->is_busy)
        conn_close(c); /* an idle connection may be closed at any time */
    else if (answer_closed(&c->answer, &l->reference) == VERDICT_DONE)
        conn_done(l, c, now_ns);
    else
        conn_fail(l, c, &l->errors_socket,
                  c->answer.state != ANSWER_HEAD || c->answer.head_n ? "closed within an answer"
                  : c->was_used ? "closed without an answer, on a connection that answered before"
                                : "closed without an answer");
}

/* A read that fills less than the buffer has emptied the socket: the next bytes are a new edge.
 * After a peer's FIN there will be none, so then we read on until we see it. */
static void conn_read(struct load *l, struct conn *c, bool peer_closed)
{
    for (;;) {
        ssize_t n = read(c->fd, l->buffer, sizeof(l->buffer));
        int64_t now_ns = clock_ns();
        l->progress_ns = now_ns;
        if (n < 0) {
            if (errno != EAGAIN)
                conn_fail_errno(l, c, "read");
            return;
        }
        if (n == 0) {
            conn_take_eof(l, c, now_ns);
            return;
        }
        if (!conn_take(l, c, span(l->buffer, (size_t)n), now_ns))
            return;
        if ((size_t)n < sizeof(l->buffer) && !peer_closed)
            return;
    }
}

/* --- when to send -------------------------------------------------------------------------------
 */

static bool may_start(const struct load *l, int64_t now_ns)
{
    if (stop_asked || l->has_to_stop || !l->ready_count)
        return false;
    if (l->o.count)
        return l->started < l->o.count;
    return (double)(now_ns - l->start_ns) < l->o.seconds * 1e9;
}

/* When connection `i` sends for the first time. */
static int64_t introduction_ns(const struct load *l, size_t i)
{
    double share = (double)i / (double)l->o.connections;
    return l->start_ns + (int64_t)(share * l->o.ramp_seconds * 1e9);
}

static int64_t next_due_ns(const struct load *l)
{
    if (l->o.rate > 0)
        return l->start_ns + (int64_t)((double)l->started / l->o.rate * 1e9);
    return l->introduced < l->o.connections ? introduction_ns(l, l->introduced) : INT64_MAX;
}

static void wake_at(const struct load *l, int64_t at_ns)
{
    struct itimerspec when = {.it_value = {at_ns / NS_PER_S, at_ns % NS_PER_S}};
    (void)timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void introduce(struct load *l, int64_t now_ns)
{
    while (l->introduced < l->o.connections &&
           (l->o.rate > 0 || introduction_ns(l, l->introduced) <= now_ns))
        l->ready[l->ready_count++] = &l->conns[l->introduced++];
}

/* Sends what is due and can be sent. */
static void pump(struct load *l)
{
    int64_t now_ns = clock_ns();
    introduce(l, now_ns);
    while (may_start(l, now_ns)) {
        int64_t due_ns = l->o.rate > 0 ? next_due_ns(l) : now_ns;
        if (due_ns > now_ns)
            break;
        conn_start(l, l->ready[--l->ready_count], due_ns);
    }
}

/* --- the loop -----------------------------------------------------------------------------------
 */

static void handle(struct load *l, const struct epoll_event *event)
{
    uint64_t ticks;
    if (event->data.ptr == &l->timer) {
        (void)!read(l->timer, &ticks, sizeof(ticks));
        return;
    }
    struct conn *c = event->data.ptr;
    if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn_read(l, c, event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    if ((event->events & EPOLLOUT) && c->fd >= 0 && c->is_busy && c->sent < l->o.request.n)
        conn_write(l, c);
}

/* True when the last answer that can come has come. */
static bool is_over(const struct load *l, int64_t now_ns)
{
    if (l->has_to_stop)
        return true;
    if (stop_asked && (l->o.hold || !l->busy_count))
        return true;
    if (l->o.hold || l->busy_count)
        return false;
    if (l->o.count)
        return l->started >= l->o.count;
    return (double)(now_ns - l->start_ns) >= l->o.seconds * 1e9;
}

static void give_up_when_stuck(struct load *l, int64_t now_ns)
{
    if (!l->busy_count || (double)(now_ns - l->progress_ns) < l->o.patience_seconds * 1e9)
        return;
    l->errors_unfinished += l->busy_count;
    if (!l->errors)
        (void)snprintf(l->first_error, sizeof(l->first_error), "no byte for %.0f s",
                       l->o.patience_seconds);
    l->errors += l->busy_count;
    l->has_to_stop = true;
}

static void tell_when_all_are_open(struct load *l)
{
    if (!l->o.hold || l->has_told || l->opened < l->o.connections)
        return;
    l->has_told = true;
    (void)printf("{\"open\": %zu}\n", l->busy_count);
    (void)fflush(stdout);
}

static void run(struct load *l)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t armed_ns = 0;
    l->start_ns = l->progress_ns = l->end_ns = clock_ns();
    pump(l);
    for (;;) {
        int64_t now_ns = clock_ns(), due_ns = next_due_ns(l);
        if (is_over(l, now_ns))
            return;
        if (due_ns != armed_ns && due_ns > now_ns && due_ns != INT64_MAX)
            wake_at(l, armed_ns = due_ns);
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < n; i++) {
            handle(l, &events[i]);
            pump(l);
        }
        if (n <= 0) {
            pump(l);
            give_up_when_stuck(l, clock_ns());
        }
        tell_when_all_are_open(l);
    }
}

/* --- the reference ------------------------------------------------------------------------------
 */

/* One answer, asked for and read to its end, or until save_seconds have gone by. */
static struct span fetch(struct load *l)
{
    struct builder keep;
    struct conn *c = &l->conns[0];
    builder_init(&keep, 256 * 1024 * 1024);
    enum verdict v = VERDICT_MORE;
    double patience_seconds = l->o.save_seconds > 0 ? l->o.save_seconds : l->o.patience_seconds;
    int64_t give_up_ns = clock_ns() + (int64_t)(patience_seconds * 1e9);
    conn_start(l, c, clock_ns());
    answer_start(&c->answer, &keep);
    while (v == VERDICT_MORE && !l->errors && clock_ns() < give_up_ns) {
        struct pollfd wait = {c->fd, POLLIN, 0};
        if (c->sent < l->o.request.n)
            wait.events |= POLLOUT;
        (void)poll(&wait, 1, 10);
        if (wait.revents & POLLOUT)
            conn_write(l, c);
        ssize_t n = c->fd >= 0 ? read(c->fd, l->buffer, sizeof(l->buffer)) : 0;
        size_t used;
        if (n > 0)
            v = answer_feed(&c->answer, &l->reference, span(l->buffer, (size_t)n), &used);
        else if (n == 0)
            v = answer_closed(&c->answer, &l->reference);
        if (n > 0 && !(l->o.save_seconds > 0))
            give_up_ns = clock_ns() + (int64_t)(patience_seconds * 1e9);
    }
    if (l->errors)
        die(1, "no reference: %s", l->first_error);
    if (v != VERDICT_DONE && !(v == VERDICT_MORE && l->o.save_seconds > 0))
        die(1, "no reference: status %d, answer %s", c->answer.status,
            v == VERDICT_MORE ? "incomplete" : "refused");
    if (builder_check(&keep) != ERR_OK || !builder_span(&keep).n)
        die(1, "no reference: an empty payload");
    conn_close(c);
    c->is_busy = false;
    return builder_span(&keep);
}

static int save(struct load *l)
{
    bool is_prefix = l->o.save_seconds > 0;
    struct span body = fetch(l);
    if (!is_prefix && !span_eq(body, fetch(l)))
        die(1, "no reference: the same request got two different answers");
    enum reference_kind kind = l->o.is_stream && !is_prefix ? REFERENCE_STREAM
                               : l->o.is_stream             ? REFERENCE_STREAM_PREFIX
                                                            : REFERENCE_PLAIN;
    if (reference_init(&l->reference, body, kind) != ERR_OK)
        die(1, "no reference: the stream does not end with data: [DONE]");
    FILE *f = fopen(l->o.save_file, "wb");
    if (!f || fwrite(body.p, 1, body.n, f) != body.n || fclose(f) != 0)
        die(1, "%s: %s", l->o.save_file, strerror(errno));
    (void)printf("{\"reference_bytes\": %zu, \"events\": %zu, \"request_bytes\": %zu}\n", body.n,
                 l->reference.event_count, l->o.request.n);
    return 0;
}

/* --- the report ---------------------------------------------------------------------------------
 */

static void print_times(const char *name, const struct histogram *h)
{
    (void)printf(", \"%s\": {\"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, "
                 "\"p999\": %.1f, \"max\": %.1f}",
                 name, (double)histogram_mean(h) / 1e3, (double)histogram_quantile(h, 0.5) / 1e3,
                 (double)histogram_quantile(h, 0.9) / 1e3,
                 (double)histogram_quantile(h, 0.99) / 1e3,
                 (double)histogram_quantile(h, 0.999) / 1e3, (double)h->max_ns / 1e3);
}

static void print_report(const struct load *l)
{
    (void)printf("{\"requests\": %llu, \"errors\": %llu, \"errors_status\": %llu, "
                 "\"errors_socket\": %llu, \"errors_body\": %llu, \"errors_unfinished\": %llu",
                 (unsigned long long)l->requests, (unsigned long long)l->errors,
                 (unsigned long long)l->errors_status, (unsigned long long)l->errors_socket,
                 (unsigned long long)l->errors_body, (unsigned long long)l->errors_unfinished);
    (void)printf(", \"first_error\": \"%s\"", l->first_error);
    (void)printf(", \"seconds\": %.6f, \"connects\": %llu, \"chunks\": %llu, \"bytes\": %llu",
                 (double)(l->end_ns - l->start_ns) / 1e9, (unsigned long long)l->reconnects,
                 (unsigned long long)l->chunks, (unsigned long long)l->bytes);
    if (l->o.hold)
        (void)printf(", \"held\": %zu", l->busy_count);
    print_times("latency_us", &l->latency);
    print_times("ttft_us", &l->first_byte);
    (void)printf("}\n");
}

static void set_up(struct load *l)
{
    size_t n = l->o.connections;
    l->conns = mem_calloc(n, sizeof(*l->conns));
    l->ready = mem_calloc(n, sizeof(struct conn *));
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!l->conns || !l->ready || l->epoll < 0 || l->timer < 0)
        die(1, "cannot start: %s", strerror(errno));
    for (size_t i = 0; i < n; i++) {
        l->conns[i].fd = -1;
        l->conns[i].index = (uint32_t)i;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &l->timer};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &event) != 0)
        die(1, "epoll: %s", strerror(errno));
    struct sigaction action = {.sa_handler = on_signal};
    if (sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0)
        die(1, "sigaction: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    static struct load the_load; /* lives as long as the process, and so does what it owns */
    struct load *l = &the_load;
    options_read(&l->o, argc, argv);
    set_up(l);
    if (l->o.save_file)
        return save(l);
    enum reference_kind kind = l->o.hold        ? REFERENCE_STREAM_PREFIX
                               : l->o.is_stream ? REFERENCE_STREAM
                                                : REFERENCE_PLAIN;
    if (reference_init(&l->reference, read_file(l->o.expect_file), kind) != ERR_OK)
        die(1, "%s: the stream does not end with data: [DONE]", l->o.expect_file);
    run(l);
    print_report(l);
    return l->errors ? 1 : 0;
}
