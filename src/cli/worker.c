#include "cli/worker.h"

#include "admin/admin.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/thread.h"
#include "net/listen.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { REPORT_MAX = 64 * 1024 };

/* --- configurations --------------------------------------------------------------------------- */

static struct listener_sockets *find_sockets(struct process *p, struct span address)
{
    for (size_t i = 0; i < p->listener_count; i++)
        if (span_eq(span_of_cstr(p->listeners[i].address), address))
            return &p->listeners[i];
    return NULL;
}

static enum err make_place(struct process *p, const struct config_listen *l, int tag,
                           struct plan *plan, struct failure *why)
{
    struct place *place = &plan->places[plan->place_count];
    place->sockets = find_sockets(p, l->address);
    place->tag = tag;
    place->tls = NULL;
    if (!place->sockets)
        return fail(why, ERR_INTERNAL, "no socket for %.*s", SPAN_ARG(l->address));
    if (l->certificate_file.n)
        TRY(tls_server_new(l->certificate_file, l->key_file, l->client_ca_file, &place->tls, why));
    plan->place_count++;
    return ERR_OK;
}

static void plan_deinit(struct plan *plan)
{
    for (size_t i = 0; i < plan->place_count; i++)
        if (plan->places[i].tls)
            tls_server_unref(plan->places[i].tls);
}

/* What the threads are to do, from a configuration. */
static enum err make_plan(struct process *p, const struct config *c, struct plan *plan,
                          struct failure *why)
{
    *plan = (struct plan){.config = c};
    plan->has_admin_listener = c->admin_listen.address.n > 0;
    plan->admin_key =
        c->admin_key.private_bytes.n ? c->admin_key.private_bytes : p->start->admin_key;
    for (size_t i = 0; i < c->listen_count; i++)
        TRY(make_place(p, &c->listen[i], TAG_CALLERS, plan, why));
    if (plan->has_admin_listener)
        TRY(make_place(p, &c->admin_listen, TAG_OPERATORS, plan, why));
    return ERR_OK;
}

static enum err apply(struct process *p, struct config *c, const struct plan *plan,
                      struct failure *why)
{
    enum err e = threads_apply(p, plan);
    if (e != ERR_OK)
        return fail(why, e, "cannot listen: %s", err_info(e)->text);
    config_free(p->config);
    p->config = c;
    p->generation++;
    return ERR_OK;
}

/* --- reload ----------------------------------------------------------------------------------- */

static void keep_sockets(struct process *p, const struct control *m)
{
    if (p->next_count == LISTENERS_MAX)
        return;
    struct listener_sockets *s = &p->next[p->next_count++];
    snprintf(s->address, sizeof s->address, "%.*s", (int)m->text_bytes, m->text);
    memcpy(s->fds, m->fds, m->fd_count * sizeof(int));
    s->fd_count = m->fd_count;
}

static void close_sockets(struct listener_sockets *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < s[i].fd_count; k++)
            close(s[i].fds[k]);
}

static bool read_memory_file(int fd, struct builder *text)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < 0)
        return false;
    char *room = builder_reserve(text, (size_t)st.st_size + 1);
    ssize_t n = room ? pread(fd, room, (size_t)st.st_size, 0) : -1;
    if (n != st.st_size)
        return false;
    builder_advance(text, (size_t)n);
    return true;
}

/* The master has checked the text; what can still fail here is what the files it names hold. */
static enum err load_next(struct process *p, int text_fd, struct builder *report,
                          struct failure *why)
{
    struct builder text;
    struct plan plan = {0};
    builder_init(&text, CONFIG_BYTES_MAX + 1);
    struct config *c = NULL;
    if (read_memory_file(text_fd, &text))
        c = config_parse(builder_span(&text), p->start->file, cli_env, report);
    builder_deinit(&text);
    if (!c)
        return fail(why, ERR_BAD_REQUEST, "the configuration is not valid");
    /* The new set of sockets is looked up in from here on. */
    struct listener_sockets *old = p->listeners;
    size_t old_count = p->listener_count;
    p->listeners = p->next;
    p->listener_count = p->next_count;
    enum err e = make_plan(p, c, &plan, why);
    if (e == ERR_OK && p->log)
        e = access_log_reopen(p->log, c->access_log, why);
    if (e == ERR_OK) {
        e = apply(p, c, &plan, why);
        if (e != ERR_OK && p->log) /* as it was */
            (void)!access_log_reopen(p->log, p->config->access_log, NULL);
    }
    plan_deinit(&plan);
    if (e != ERR_OK) {
        p->listeners = old;
        p->listener_count = old_count;
        config_free(c);
        return e;
    }
    close_sockets(old, old_count);
    p->next = old;
    return ERR_OK;
}

static void reload(struct process *p, const struct control *m)
{
    struct builder report;
    struct failure why = {0};
    builder_init(&report, REPORT_MAX);
    enum err e = m->fd_count == 1 ? load_next(p, m->fds[0], &report, &why) : ERR_INTERNAL;
    for (size_t i = 0; i < m->fd_count; i++)
        close(m->fds[i]);
    if (e == ERR_OK) {
        control_send(p->start->control_fd, CONTROL_RELOADED, 0, builder_span(&report), NULL, 0);
    } else {
        close_sockets(p->next, p->next_count);
        builder_printf(&report, "%s: %s\n", p->start->file, why.text);
        control_send(p->start->control_fd, CONTROL_REFUSED, 0, builder_span(&report), NULL, 0);
        atomic_fetch_add(&p->reloads_failed, 1);
    }
    p->next_count = 0;
    builder_deinit(&report);
}

/* --- the life of the process ------------------------------------------------------------------ */

/* Until when it may take. */
static int64_t begin_drain(struct process *p)
{
    threads_drain(p);
    close_sockets(p->listeners, p->listener_count);
    p->listener_count = 0;
    return clock_ns() + p->config->drain_timeout_ns;
}

/* A thread has become idle; the others may not be yet, and will say so each. */
static bool are_drained(struct process *p)
{
    uint64_t count;
    ssize_t n = read(p->idle_fd, &count, sizeof count);
    (void)n;
    return threads_are_idle(p);
}

/* Reads what the master says until the process is to end. */
static void follow_master(struct process *p, struct control *m)
{
    int64_t deadline = FIBER_FOREVER;
    for (;;) {
        int64_t left_ms = deadline == FIBER_FOREVER ? -1 : (deadline - clock_ns()) / NS_PER_MS;
        /* Without a master its socket would say so for ever. */
        struct pollfd fds[2] = {
            {.fd = p->start_control_closed ? -1 : p->start->control_fd, .events = POLLIN},
            {.fd = p->idle_fd, .events = POLLIN}};
        if (deadline != FIBER_FOREVER && left_ms <= 0)
            break;
        int n = poll(fds, 2, (int)MIN(left_ms, 60 * 1000));
        if (fds[1].revents & POLLIN && are_drained(p))
            break;
        if (n <= 0 || !(fds[0].revents & (POLLIN | POLLHUP)))
            continue;
        bool is_alive = control_receive(p->start->control_fd, m);
        if (!is_alive || m->type == CONTROL_DRAIN) {
            if (!is_alive) {
                log_warn("the master is gone: draining");
                p->start_control_closed = true;
            } else if (deadline != FIBER_FOREVER) {
                break; /* asked twice: at once */
            }
            if (deadline == FIBER_FOREVER)
                deadline = begin_drain(p);
        } else if (m->type == CONTROL_STOP) {
            break;
        } else if (m->type == CONTROL_LISTENER) {
            keep_sockets(p, m);
        } else if (m->type == CONTROL_CONFIG) {
            reload(p, m);
        } else if (m->type == CONTROL_REFUSED) {
            atomic_fetch_add(&p->reloads_failed, 1);
        } else if (m->type == CONTROL_ANSWER) {
            threads_answer(p, m->number == 1, span(m->text, m->text_bytes));
        }
        if (p->start_control_closed && threads_are_idle(p))
            break;
    }
}

static bool start(struct process *p, struct failure *why)
{
    struct builder report;
    struct plan plan = {0};
    builder_init(&report, REPORT_MAX);
    struct config *c = config_parse(p->start->text, p->start->file, cli_env, &report);
    enum err e = c ? ERR_OK : fail(why, ERR_BAD_REQUEST, "%.*s", SPAN_ARG(builder_span(&report)));
    builder_deinit(&report);
    if (e == ERR_OK)
        e = access_log_open(c->access_log, p->start->threads, &p->log, why);
    if (e == ERR_OK)
        e = make_plan(p, c, &plan, why);
    if (e == ERR_OK)
        e = threads_start(p, c, why);
    if (e == ERR_OK)
        e = apply(p, c, &plan, why);
    if (e != ERR_OK)
        config_free(c);
    plan_deinit(&plan);
    return e == ERR_OK;
}

int worker_run(const struct worker_start *s)
{
    struct failure why = {0};
    struct process *p = mem_calloc(1, sizeof *p);
    struct listener_sockets *next = mem_calloc(LISTENERS_MAX, sizeof *next);
    struct control *message = mem_alloc(sizeof *message);
    if (!p || !next || !message) {
        log_error("the worker cannot start: no memory");
        return EXIT_NO;
    }
    p->start = s;
    p->listeners = s->listeners;
    p->listener_count = s->listener_count;
    p->next = next;
    p->started_wall_ns = wall_ns();
    fiber_catch_crashes();
    gate_init();
    if (!start(p, &why)) {
        log_error("the worker cannot start: %s", why.text);
        return EXIT_NO;
    }
    control_send(s->control_fd, CONTROL_READY, 0, (struct span){0}, NULL, 0);
    follow_master(p, message);
    threads_stop(p);
    access_log_close(p->log);
    config_free(p->config);
    mem_free(p->next == next ? next : p->listeners == next ? next : NULL);
    mem_free(message);
    mem_free(p);
    return EXIT_DONE;
}
