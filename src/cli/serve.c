/* penstock serve: the master process. It owns the listening sockets, the last good configuration
 * and the worker's life, and touches no byte of any caller.
 *
 *   HUP   reload: the text is checked here, served by the worker, kept for the next worker
 *   TERM  drain: the worker finishes what is under way, then both end
 *   QUIT  end now (INT too)
 *   USR2  upgrade: the binary is started anew with the same sockets; when it serves, we drain
 */
#include "cli/serve.h"

#include "base/encode.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "net/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT_MAX = 64 * 1024 };

/* --- the configuration ------------------------------------------------------------------------ */

/* Reads and checks the file; `text` is empty when it is not good. */
static struct config *read_config(struct master *m, struct builder *text, struct builder *report)
{
    const char *file = m->is_demo ? NULL : m->file;
    bool is_demo;
    builder_init(text, CONFIG_BYTES_MAX + 1);
    if (!cli_load_text(&file, text, &is_demo)) {
        builder_printf(report, "%s: cannot be read\n", m->file);
        return NULL;
    }
    return config_parse(builder_span(text), file, cli_env, report);
}

static uint32_t thread_count(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = c->workers ? c->workers : (uint32_t)MAX(cores, 1L);
    return MIN(count, (uint32_t)CONTROL_FDS_MAX);
}

/* Every connection needs a descriptor, and every call another one. */
static void raise_file_limit(const struct config *c, uint32_t threads)
{
    struct rlimit limit;
    uint64_t wanted = (uint64_t)threads * (c->connections_max + c->requests_max) + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted)
        log_info("%llu files may be open: that is enough for about %llu calls at once, and the "
                 "limits in the configuration allow more (ulimit -n, LimitNOFILE=)",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_cur / 2);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static struct listener_sockets *find_sockets(struct master *m, struct span address)
{
    for (size_t i = 0; i < m->listener_count; i++)
        if (span_eq(span_of_cstr(m->listeners[i].address), address))
            return &m->listeners[i];
    return NULL;
}

static void close_sockets(struct listener_sockets *s)
{
    for (size_t k = 0; k < s->fd_count; k++)
        close(s->fds[k]);
    s->fd_count = 0;
}

static bool open_sockets(struct master *m, struct span address, struct listener_sockets *s,
                         struct builder *report)
{
    struct listen_address where;
    struct failure why = {0};
    const char *bad = NULL;
    *s = (struct listener_sockets){.fd_count = 0};
    if (address.n >= sizeof s->address || listen_parse(address, &where, &bad) != ERR_OK) {
        builder_printf(report, "%s: cannot listen on %.*s: %s\n", m->file, SPAN_ARG(address),
                       bad ? bad : "the address is too long");
        return false;
    }
    snprintf(s->address, sizeof s->address, "%.*s", SPAN_ARG(address));
    size_t count = where.socket_address.ss_family == AF_UNIX ? 1 : m->threads;
    while (s->fd_count < count) {
        if (listen_open(&where, &s->fds[s->fd_count], &why) != ERR_OK) {
            builder_printf(report, "%s: %s: %s\n", m->file, s->address, why.text);
            close_sockets(s);
            return false;
        }
        s->fd_count++;
    }
    return true;
}

/* The sockets of a configuration: those that are open stay, the others are opened. `next` has room
 * for LISTENERS_MAX. False: nothing was changed. */
static bool next_sockets(struct master *m, const struct config *c, struct listener_sockets *next,
                         size_t *count, struct builder *report)
{
    size_t total = c->listen_count + (c->admin_listen.address.n > 0);
    for (*count = 0; *count < total; ++*count) {
        const struct config_listen *l =
            *count < c->listen_count ? &c->listen[*count] : &c->admin_listen;
        const struct listener_sockets *known = find_sockets(m, l->address);
        if (known)
            next[*count] = *known;
        else if (!open_sockets(m, l->address, &next[*count], report))
            break;
    }
    if (*count == total)
        return true;
    for (size_t i = 0; i < *count; i++)
        if (!find_sockets(m, span_of_cstr(next[i].address)))
            close_sockets(&next[i]);
    return false;
}

/* Another gateway on the same address would get a share of the callers, in silence. Asked once, at
 * the start: later the one who listens there is us. */
static bool all_are_free(const struct master *m, const struct config *c, struct builder *report)
{
    size_t total = c->listen_count + (c->admin_listen.address.n > 0);
    for (size_t i = 0; i < total && !m->predecessor; i++) {
        const struct config_listen *l = i < c->listen_count ? &c->listen[i] : &c->admin_listen;
        struct listen_address where;
        const char *bad;
        if (listen_parse(l->address, &where, &bad) != ERR_OK || !listen_is_taken(&where))
            continue;
        builder_printf(report, "%s: %.*s: cannot listen: Address already in use\n", m->file,
                       SPAN_ARG(l->address));
        return false;
    }
    return true;
}

/* The new set is served: what is not in it any more is closed. */
static void keep_sockets(struct master *m, const struct listener_sockets *next, size_t count)
{
    for (size_t i = 0; i < m->listener_count; i++) {
        bool is_kept = false;
        for (size_t k = 0; k < count; k++)
            is_kept |= strcmp(m->listeners[i].address, next[k].address) == 0;
        if (!is_kept)
            close_sockets(&m->listeners[i]);
    }
    memcpy(m->listeners, next, count * sizeof *next);
    m->listener_count = count;
}

/* --- the worker ------------------------------------------------------------------------------- */

static NORETURN void be_worker(struct master *m, int control_fd)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGTERM, SIG_IGN); /* a terminal or a group kill reaches us too: the master tells */
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(m->signal_fd);
    struct worker_start start = {
        .control_fd = control_fd,
        .file = m->file,
        .text = builder_span(&m->text),
        .is_demo = m->is_demo,
        .listeners = m->listeners,
        .listener_count = m->listener_count,
        .threads = m->threads,
        .restarts = m->restarts,
        .admin_key = span_of_cstr(m->admin_key),
    };
    _exit(worker_run(&start));
}

static void start_worker(struct master *m)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        log_error("cannot start a worker: %s", strerror(errno));
        m->restart_at_ns = clock_ns() + NS_PER_S;
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        be_worker(m, pair[1]);
    }
    close(pair[1]);
    if (pid < 0) {
        log_error("cannot start a worker: %s", strerror(errno));
        close(pair[0]);
        m->restart_at_ns = clock_ns() + NS_PER_S;
        return;
    }
    m->worker = pid;
    m->control_fd = pair[0];
    m->worker_started_ns = clock_ns();
    m->restart_at_ns = FIBER_FOREVER;
}

/* One that lived is replaced at once; one that dies at birth is given time to be repaired. */
static void plan_restart(struct master *m)
{
    bool lived = clock_ns() - m->worker_started_ns > NS_PER_S;
    m->quick_deaths = lived ? 0 : m->quick_deaths + 1;
    int64_t pause_ms = m->quick_deaths < 4 ? 0 : MIN(10 << MIN(m->quick_deaths - 4, 7), 1000);
    m->restart_at_ns = clock_ns() + pause_ms * NS_PER_MS;
}

static void on_worker_death(struct master *m, int status)
{
    m->worker = 0;
    close(m->control_fd);
    m->control_fd = -1;
    if (m->is_ending)
        return;
    if (!m->was_ready) { /* it never served: it has said why */
        m->exit_status = EXIT_NO;
        m->is_ending = true;
        return;
    }
    if (WIFSIGNALED(status))
        log_error("the worker was killed by signal %d: starting another one", WTERMSIG(status));
    else
        log_error("the worker ended with status %d: starting another one", WEXITSTATUS(status));
    m->restarts++;
    m->reload_pending = false;
    plan_restart(m);
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->worker)
            on_worker_death(m, status);
        else if (pid == m->successor) {
            if (!m->is_ending) /* else it served, and ended before we did */
                log_error("the new binary ended before it served: going on with this one");
            m->successor = 0;
        }
    }
}

/* --- reload ----------------------------------------------------------------------------------- */

static void finish_reload(struct master *m, bool was_done, struct span said)
{
    if (was_done) {
        struct builder old = m->text;
        m->text = m->next_text;
        m->next_text = old;
        keep_sockets(m, m->next, m->next_count);
        log_info("the configuration was loaded from %s", m->file);
    } else {
        for (size_t i = 0; i < m->next_count; i++)
            if (!find_sockets(m, span_of_cstr(m->next[i].address)))
                close_sockets(&m->next[i]);
    }
    if (said.n)
        fprintf(stderr, "%.*s", SPAN_ARG(said));
    builder_deinit(&m->next_text);
    m->reload_pending = false;
    for (; m->reload_wishes > 0; m->reload_wishes--)
        control_send(m->control_fd, CONTROL_ANSWER, was_done, said, NULL, 0);
    notify(m, "READY=1");
}

static bool send_configuration(struct master *m)
{
    struct span text = builder_span(&m->next_text);
    int fd = memfd_create("configuration", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool sent = true;
    for (size_t i = 0; i < m->next_count && sent; i++)
        sent = control_send(m->control_fd, CONTROL_LISTENER, 0, span_of_cstr(m->next[i].address),
                            m->next[i].fds, m->next[i].fd_count);
    sent = sent && control_send(m->control_fd, CONTROL_CONFIG, 0, (struct span){0}, &fd, 1);
    close(fd);
    return sent;
}

static void reload(struct master *m)
{
    if (m->reload_pending || m->worker == 0 || m->is_ending) {
        m->reload_again = true; /* what changed since the file was read must count too */
        return;
    }
    struct builder report;
    builder_init(&report, REPORT_MAX);
    notify_reloading(m);
    m->next_count = 0;
    struct config *c = read_config(m, &m->next_text, &report);
    bool is_good = c && next_sockets(m, c, m->next, &m->next_count, &report);
    config_free(c);
    m->reload_pending = true;
    if (!is_good) {
        m->next_count = 0;
        log_error("the configuration was not loaded, the one before stays:");
        control_send(m->control_fd, CONTROL_REFUSED, 0, (struct span){0}, NULL, 0);
        finish_reload(m, false, builder_span(&report));
    } else if (!send_configuration(m)) {
        finish_reload(m, false, SPAN("the worker could not be told\n"));
    }
    builder_deinit(&report);
}

/* --- upgrade ---------------------------------------------------------------------------------- */

/* PENSTOCK_SOCKETS=MASTER_PID;ADDRESS=FD,FD,...;ADDRESS=... */
static bool describe_sockets(struct master *m, struct builder *out)
{
    builder_printf(out, "%d", (int)getpid());
    for (size_t i = 0; i < m->listener_count; i++) {
        builder_printf(out, ";%s=", m->listeners[i].address);
        for (size_t k = 0; k < m->listeners[i].fd_count; k++)
            builder_printf(out, "%s%d", k ? "," : "", m->listeners[i].fds[k]);
    }
    builder_add_char(out, '\0');
    return builder_check(out) == ERR_OK;
}

static NORETURN void become_successor(struct master *m, const char *sockets)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setenv("PENSTOCK_SOCKETS", sockets, 1);
    for (size_t i = 0; i < m->listener_count; i++)
        for (size_t k = 0; k < m->listeners[i].fd_count; k++)
            fcntl(m->listeners[i].fds[k], F_SETFD, 0);
    /* Rule Zero: this is the upgrade, and what is executed is our own path. */
    execv(m->binary, m->argv);
    _exit(EXIT_NO);
}

static void upgrade(struct master *m)
{
    struct builder sockets;
    if (m->successor || m->is_ending)
        return;
    builder_init(&sockets, 64 * 1024);
    if (describe_sockets(m, &sockets)) {
        pid_t pid = fork();
        if (pid == 0)
            become_successor(m, builder_span(&sockets).p);
        m->successor = pid > 0 ? pid : 0;
        log_info("upgrade: started %s as process %d", m->binary, (int)pid);
    }
    builder_deinit(&sockets);
}

static void adopt_numbers(struct listener_sockets *s, struct span numbers)
{
    struct span number;
    while (numbers.n && s->fd_count < CONTROL_FDS_MAX) {
        uint64_t fd;
        span_cut(numbers, ',', &number, &numbers);
        if (span_to_u64(number, &fd) == ERR_OK && fd <= 1 << 20 &&
            fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0)
            s->fds[s->fd_count++] = (int)fd;
    }
}

/* The sockets that the master before us handed down. */
static void adopt_sockets(struct master *m)
{
    const char *text = getenv("PENSTOCK_SOCKETS");
    struct span rest, entry, pid_text, address, numbers;
    uint64_t pid;
    if (!text)
        return;
    span_cut(span_of_cstr(text), ';', &pid_text, &rest);
    if (span_to_u64(pid_text, &pid) == ERR_OK && (pid_t)pid == getppid())
        m->predecessor = (pid_t)pid;
    while (m->predecessor && rest.n && m->listener_count < LISTENERS_MAX) {
        span_cut(rest, ';', &entry, &rest);
        struct listener_sockets *s = &m->listeners[m->listener_count];
        if (!span_cut(entry, '=', &address, &numbers) || address.n >= sizeof s->address)
            continue;
        *s = (struct listener_sockets){.fd_count = 0};
        memcpy(s->address, address.p, address.n);
        adopt_numbers(s, numbers);
        m->listener_count += s->fd_count > 0;
    }
    unsetenv("PENSTOCK_SOCKETS");
}

/* --- events ----------------------------------------------------------------------------------- */

static void end(struct master *m, enum control_type how)
{
    if (how == CONTROL_DRAIN && !m->is_ending)
        notify(m, "STOPPING=1");
    m->is_ending = true;
    m->restart_at_ns = FIBER_FOREVER;
    if (m->worker)
        control_send(m->control_fd, how, 0, (struct span){0}, NULL, 0);
    /* What nobody will accept must be refused, not queued. A successor has its own copies. */
    for (size_t i = 0; i < m->listener_count; i++)
        close_sockets(&m->listeners[i]);
}

static void on_ready(struct master *m)
{
    bool is_first = !m->was_ready;
    m->was_ready = true;
    if (m->predecessor && is_first)
        kill(m->predecessor, SIGTERM);
    if (is_first) {
        notify(m, "READY=1");
        serve_greet(m);
    }
}

static void on_message(struct master *m, struct control *message)
{
    struct span said = span(message->text, message->text_bytes);
    switch (message->type) {
    case CONTROL_READY:
        on_ready(m);
        break;
    case CONTROL_RELOADED:
    case CONTROL_REFUSED:
        if (m->reload_pending)
            finish_reload(m, message->type == CONTROL_RELOADED, said);
        break;
    case CONTROL_ASK_RELOAD:
        m->reload_wishes++;
        reload(m);
        break;
    case CONTROL_ASK_DRAIN:
        end(m, CONTROL_DRAIN);
        break;
    case CONTROL_LISTENER:
    case CONTROL_CONFIG:
    case CONTROL_DRAIN:
    case CONTROL_STOP:
    case CONTROL_ANSWER:
        break; /* ours to send */
    }
}

static void on_signal(struct master *m)
{
    struct signalfd_siginfo info;
    while (read(m->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch ((int)info.ssi_signo) {
        case SIGHUP:
            reload(m);
            break;
        case SIGTERM:
            if (m->successor && m->successor == (pid_t)info.ssi_pid)
                notify_successor(m);
            end(m, CONTROL_DRAIN);
            break;
        case SIGUSR2:
            upgrade(m);
            break;
        case SIGCHLD:
            break; /* reap() comes next anyway */
        default:
            end(m, CONTROL_STOP);
        }
    }
}

static int wait_ms(const struct master *m)
{
    if (m->restart_at_ns == FIBER_FOREVER)
        return -1;
    int64_t left = m->restart_at_ns - clock_ns();
    return left <= 0 ? 0 : (int)(left / NS_PER_MS + 1);
}

static void run(struct master *m, struct control *message)
{
    while (!(m->is_ending && m->worker == 0)) {
        struct pollfd fds[2] = {{.fd = m->signal_fd, .events = POLLIN},
                                {.fd = m->control_fd, .events = POLLIN}};
        poll(fds, m->control_fd >= 0 ? 2 : 1, wait_ms(m));
        if (m->control_fd >= 0 && fds[1].revents & POLLIN &&
            control_receive(m->control_fd, message))
            on_message(m, message);
        if (fds[0].revents & POLLIN)
            on_signal(m);
        reap(m);
        if (m->reload_again && !m->reload_pending && m->worker) {
            m->reload_again = false;
            reload(m);
        }
        if (m->worker == 0 && !m->is_ending && clock_ns() >= m->restart_at_ns)
            start_worker(m);
    }
}

static bool catch_signals(struct master *m)
{
    sigset_t set;
    sigemptyset(&set);
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaddset(&set, numbers[i]);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    m->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return m->signal_fd >= 0;
}

static bool prepare(struct master *m)
{
    struct builder report;
    builder_init(&report, REPORT_MAX);
    adopt_sockets(m);
    struct config *c = read_config(m, &m->text, &report);
    bool is_good = c != NULL;
    if (c) {
        c->is_demo = m->is_demo;
        m->threads = thread_count(c);
        raise_file_limit(c, m->threads);
        is_good = all_are_free(m, c, &report) && serve_admin_key(m, c) &&
                  next_sockets(m, c, m->next, &m->next_count, &report);
    }
    if (is_good)
        keep_sockets(m, m->next, m->next_count);
    struct span said = builder_span(&report);
    fprintf(stderr, "%.*s", SPAN_ARG(said));
    config_free(c);
    builder_deinit(&report);
    return is_good;
}

int cli_serve(int argc, char **argv)
{
    const char *file;
    int status;
    static const char help[] =
        "usage: penstock serve [-c FILE]\n"
        "Starts the gateway. Without -c: ./penstock.yaml, /etc/penstock/penstock.yaml, else the\n"
        "built-in demo. Signals: HUP reload, TERM drain then stop, QUIT stop now, USR2 upgrade.\n";
    if (!cli_read_options(argc, argv, help, &file, &status))
        return status;
    struct master *m = mem_calloc(1, sizeof *m);
    struct control *message = mem_alloc(sizeof *message);
    if (!m || !message || !serve_init(m, argv, file) || !catch_signals(m) || !prepare(m)) {
        if (m)
            builder_deinit(&m->text);
        mem_free(m);
        mem_free(message);
        return EXIT_NO;
    }
    start_worker(m);
    run(m, message);
    status = m->exit_status;
    for (size_t i = 0; i < m->listener_count; i++)
        close_sockets(&m->listeners[i]);
    builder_deinit(&m->text);
    mem_free(message);
    mem_free(m);
    return status;
}
