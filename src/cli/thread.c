#include "cli/thread.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "net/listen.h"
#include "json/write.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const int64_t IDLE_LOOK_NS = 20 * NS_PER_MS;

/* --- telling every thread --------------------------------------------------------------------- */

struct order {
    struct letter letter;
    struct thread *thread;
    void (*fn)(struct thread *t, const void *arg);
    const void *arg;
    sem_t *done;
};

static void run_order(struct letter *letter)
{
    struct order *o = CONTAINER_OF(letter, struct order, letter);
    o->fn(o->thread, o->arg);
    sem_post(o->done);
}

/* Runs fn on every loop, and returns when all have. */
static void tell_all(struct process *p, void (*fn)(struct thread *t, const void *arg),
                     const void *arg)
{
    sem_t done;
    sem_init(&done, 0, 0);
    for (size_t i = 0; i < p->start->threads; i++) {
        struct order order = {
            .letter.fn = run_order, .thread = &p->threads[i], .fn = fn, .arg = arg, .done = &done};
        loop_post(p->threads[i].loop, &order.letter);
        while (sem_wait(&done) != 0) {
        }
    }
    sem_destroy(&done);
}

/* --- what operators see ----------------------------------------------------------------------- */

static void tell_gauges(struct thread *t)
{
    struct metrics *m = t->metrics;
    struct http_server_stats s = http_server_stats(t->server);
    struct http_client_stats c = http_client_stats(t->gate.client);
    struct loop_stats l = loop_stats(t->loop);
    metric_set(m, GAUGE_connections, s.connections);
    metric_set(m, GAUGE_requests_in_flight, s.requests);
    metric_set(m, GAUGE_connections_total, s.accepted);
    metric_set(m, GAUGE_shed_total, s.shed);
    metric_set(m, GAUGE_bad_requests_total, s.bad_requests);
    metric_set(m, GAUGE_timeouts_total, s.timeouts);
    metric_set(m, GAUGE_upstream_connections_idle, c.idle);
    metric_set(m, GAUGE_upstream_connections_busy, c.busy);
    metric_set(m, GAUGE_upstream_connections_opened_total, c.opened);
    metric_set(m, GAUGE_upstream_connections_reused_total, c.reused);
    metric_set(m, GAUGE_upstream_connections_failed_total, c.failed);
    metric_set(m, GAUGE_upstream_connections_stale_total, c.stale);
    metric_set(m, GAUGE_fibers, l.fibers);
    metric_set(m, GAUGE_fibers_peak, l.fibers_peak);
    metric_set(m, GAUGE_fiber_stacks, l.stacks);
    metric_set(m, GAUGE_fibers_refused_total, l.refused);
    metric_set(m, GAUGE_loop_slow_rounds_total, l.slow_rounds);
    metric_set(m, GAUGE_buffer_bytes, buffers_in_use());
}

/* Asks every other loop for its gauges; the fiber that asks waits for the last of them. */
struct survey {
    _Atomic size_t left;
    struct letter back;
    struct loop *loop;
    struct fiber *fiber;
    bool is_done;
};

struct question {
    struct letter letter;
    struct thread *thread;
    struct survey *survey;
};

static void on_survey_done(struct letter *letter)
{
    struct survey *s = CONTAINER_OF(letter, struct survey, back);
    s->is_done = true;
    fiber_wake(s->fiber);
}

static void answer_survey(struct letter *letter)
{
    struct question *q = CONTAINER_OF(letter, struct question, letter);
    struct survey *s = q->survey;
    tell_gauges(q->thread);
    if (atomic_fetch_sub(&s->left, 1) == 1)
        loop_post(s->loop, &s->back);
}

/* Neither the survey nor the wait can be given up: the letters lie here. It is over in a round of
 * the slowest loop. */
static SUSPENDS void survey_gauges(struct thread *t)
{
    struct process *p = t->process;
    struct question *questions = mem_calloc(p->start->threads, sizeof *questions);
    if (!questions)
        return;
    struct survey s = {.left = p->start->threads,
                       .back.fn = on_survey_done,
                       .loop = t->loop,
                       .fiber = fiber_self()};
    for (size_t i = 0; i < p->start->threads; i++) {
        questions[i] = (struct question){{.fn = answer_survey}, &p->threads[i], &s};
        loop_post(p->threads[i].loop, &questions[i].letter);
    }
    while (!s.is_done)
        fiber_wait_uncancelled("the gauges of all workers");
    mem_free(questions);
}

static const char *not_ready(void *self)
{
    struct thread *t = self;
    return atomic_load(&t->process->is_draining) ? "draining" : NULL;
}

static SUSPENDS void write_metrics(void *self, struct builder *out)
{
    struct thread *t = self;
    struct process *p = t->process;
    survey_gauges(t);
    struct metrics_process all = {
        .log_dropped = access_log_dropped(p->log),
        .generation = p->generation,
        .reloads_failed = atomic_load(&p->reloads_failed),
        .restarts = p->start->restarts,
        .started_wall_ns = p->started_wall_ns,
    };
    metrics_render(out, p->shards, p->start->threads, &all);
}

static void write_status(void *self, struct builder *out)
{
    struct thread *t = self;
    struct process *p = t->process;
    struct json_writer w;
    char time[TIME_TEXT_BYTES];
    time_text(p->started_wall_ns, time);
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_MEMBER(&w, "version", string, SPAN(PENSTOCK_VERSION));
    JSON_MEMBER(&w, "status", string,
                atomic_load(&p->is_draining) ? SPAN("draining") : SPAN("ready"));
    JSON_MEMBER(&w, "worker_pid", i64, getpid());
    JSON_MEMBER(&w, "master_pid", i64, getppid());
    JSON_MEMBER(&w, "workers", u64, p->start->threads);
    JSON_MEMBER(&w, "started", string, span(time, sizeof time));
    JSON_MEMBER(&w, "worker_restarts", u64, p->start->restarts);
    JSON_MEMBER(&w, "configuration", string, span_of_cstr(p->start->file));
    JSON_MEMBER(&w, "generation", u64, p->generation);
    JSON_MEMBER(&w, "models", u64, t->gate.policy->model_count);
    JSON_MEMBER(&w, "providers", u64, t->gate.policy->provider_count);
    JSON_MEMBER(&w, "keys", u64, t->gate.policy->key_count);
    json_write_object_end(&w);
    (void)!json_writer_end(&w);
    builder_add_char(out, '\n');
}

/* Nobody answers once the worker stops. */
static bool file_wish(struct process *p, struct wish *wish)
{
    pthread_mutex_lock(&p->lock);
    bool is_filed = !p->takes_no_wishes;
    if (is_filed)
        list_append(&p->wishes, &wish->link);
    pthread_mutex_unlock(&p->lock);
    return is_filed;
}

static SUSPENDS bool reload(void *self, struct builder *said)
{
    struct thread *t = self;
    struct process *p = t->process;
    struct wish wish = {.loop = t->loop, .fiber = fiber_self(), .said = said};
    if (!file_wish(p, &wish))
        return false;
    /* Where the master is gone, threads_stop answers. */
    control_send(p->start->control_fd, CONTROL_ASK_RELOAD, 0, (struct span){0}, NULL, 0);
    while (!wish.is_done)
        fiber_wait_uncancelled("the configuration to be read");
    return wish.was_done;
}

static void on_answer(struct letter *letter)
{
    struct wish *wish = CONTAINER_OF(letter, struct wish, letter);
    wish->is_done = true;
    fiber_wake(wish->fiber);
}

/* False: nobody waits. */
static bool answer_wish(struct process *p, bool was_done, struct span said)
{
    pthread_mutex_lock(&p->lock);
    struct wish *wish = LIST_FIRST(&p->wishes, struct wish, link);
    if (wish)
        list_remove(&wish->link);
    pthread_mutex_unlock(&p->lock);
    if (!wish)
        return false;
    builder_add(wish->said, said); /* its fiber does not look before the letter */
    wish->was_done = was_done;
    wish->letter.fn = on_answer;
    loop_post(wish->loop, &wish->letter);
    return true;
}

void threads_answer(struct process *p, bool was_done, struct span said)
{
    (void)answer_wish(p, was_done, said);
}

static void refuse_wishes(struct process *p)
{
    pthread_mutex_lock(&p->lock);
    p->takes_no_wishes = true;
    pthread_mutex_unlock(&p->lock);
    while (answer_wish(p, false, SPAN("the gateway is going down\n"))) {
    }
}

static void ask_drain(void *self)
{
    struct thread *t = self;
    control_send(t->process->start->control_fd, CONTROL_ASK_DRAIN, 0, (struct span){0}, NULL, 0);
}

/* --- requests --------------------------------------------------------------------------------- */

static SUSPENDS void handle(struct http_request *rq, void *context)
{
    struct thread *t = context;
    bool for_operators = rq->listener_tag == TAG_OPERATORS || !t->has_admin_listener;
    if (for_operators && admin_serve(&t->host, rq))
        return;
    gate_serve(&t->gate, rq);
}

/* --- a configuration, on one thread ----------------------------------------------------------- */

static struct http_server_settings settings_of(const struct config *c)
{
    return (struct http_server_settings){
        .body_max = c->body_max,
        .connections_max = c->connections_max,
        .requests_max = c->requests_max,
        .header_timeout_ns = c->header_timeout_ns,
        .body_timeout_ns = c->body_timeout_ns,
        .write_timeout_ns = c->write_timeout_ns,
        .keepalive_timeout_ns = c->keepalive_timeout_ns,
        .half_close = c->half_close,
    };
}

/* Beside what is served already: the sockets may be the same ones, under other numbers. */
static enum err listen_to(struct thread *t, const struct plan *plan)
{
    for (size_t i = 0; i < plan->place_count; i++) {
        const struct place *place = &plan->places[i];
        size_t threads = t->process->start->threads, count = place->sockets->fd_count;
        for (size_t k = count == 1 ? 0 : t->index; k < count; k += count == 1 ? 1 : threads) {
            int fd = place->sockets->fds[k];
            TRY(http_server_listen(t->server, fd, place->tls, place->tag));
            t->next[t->next_count++] = fd;
        }
    }
    return ERR_OK;
}

static void unlisten(struct thread *t, const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        http_server_unlisten(t->server, fds[i]);
}

/* All that can fail; nothing of what is served changes yet. */
static void prepare_plan(struct thread *t, const void *arg)
{
    const struct plan *plan = arg;
    t->next_count = 0;
    t->next_key = mem_dup(plan->admin_key.p, plan->admin_key.n);
    t->prepared = t->next_key ? listen_to(t, plan) : ERR_NO_MEMORY;
}

static void forget_plan(struct thread *t, const void *arg)
{
    (void)arg;
    unlisten(t, t->next, t->next_count);
    mem_free(t->next_key);
    t->next_key = NULL;
}

static void take_plan(struct thread *t, const void *arg)
{
    const struct plan *plan = arg;
    const struct config *c = plan->config;
    struct http_server_settings settings = settings_of(c);
    int *old = t->served;
    unlisten(t, old, t->served_count);
    t->served = t->next;
    t->served_count = t->next_count;
    t->next = old;
    mem_free(t->admin_key);
    t->admin_key = t->next_key;
    t->next_key = NULL;
    t->host.admin_key = span(t->admin_key, plan->admin_key.n);
    http_server_set(t->server, &settings);
    buffers_set_max(c->memory_max ? (size_t)c->memory_max / t->process->start->threads : SIZE_MAX);
    t->has_admin_listener = plan->has_admin_listener;
    gate_set_policy(&t->gate, policy_ref(c->policy));
}

enum err threads_apply(struct process *p, const struct plan *plan)
{
    enum err e = ERR_OK;
    tell_all(p, prepare_plan, plan);
    for (size_t i = 0; i < p->start->threads && e == ERR_OK; i++)
        e = p->threads[i].prepared;
    tell_all(p, e == ERR_OK ? take_plan : forget_plan, plan);
    return e;
}

/* --- draining --------------------------------------------------------------------------------- */

static void look_whether_idle(struct timer *timer)
{
    struct thread *t = CONTAINER_OF(timer, struct thread, idle_timer);
    uint64_t one = 1;
    if (http_server_stats(t->server).connections == 0) {
        ssize_t n = write(t->process->idle_fd, &one, sizeof one);
        (void)n;
    } else {
        loop_set_timer(timer, loop_now() + IDLE_LOOK_NS);
    }
}

static void drain(struct thread *t, const void *arg)
{
    (void)arg;
    http_server_drain(t->server);
    t->served_count = 0;
    timer_init(&t->idle_timer, look_whether_idle);
    loop_set_timer(&t->idle_timer, loop_now() + IDLE_LOOK_NS);
}

void threads_drain(struct process *p)
{
    atomic_store(&p->is_draining, true);
    tell_all(p, drain, NULL);
}

static void count_connections(struct thread *t, const void *arg)
{
    size_t *sum = *(size_t *const *)arg;
    *sum += http_server_stats(t->server).connections;
}

bool threads_are_idle(struct process *p)
{
    size_t connections = 0, *sum = &connections;
    tell_all(p, count_connections, &sum);
    return connections == 0;
}

/* --- the mock provider of the demo ------------------------------------------------------------ */

static enum err start_mock(struct thread *t)
{
    struct listen_address address;
    const char *why;
    struct http_server_settings settings = settings_of(t->process->config);
    /* Each thread has a provider of its own: what one asks never waits for another. */
    snprintf(t->mock_address, sizeof t->mock_address, "unix:@penstock-mock-%d-%zu-%08llx",
             (int)getpid(), t->index, (unsigned long long)(random_u64() & 0xffffffff));
    struct span text = span_of_cstr(t->mock_address);
    TRY(listen_parse(text, &address, &why));
    TRY(listen_open(&address, &t->mock_fd, NULL));
    t->mock_server = http_server_new(&settings, mock_handler, t->process->mock);
    TRY_ALLOC(t->mock_server);
    TRY(http_server_listen(t->mock_server, t->mock_fd, NULL, TAG_MOCK));
    t->gate.mock_origin = (struct origin){.name = SPAN_INIT("mock"),
                                          .id = text,
                                          .unix_path = span_from(text, 5),
                                          .authority = SPAN_INIT("mock")};
    return ERR_OK;
}

/* --- threads ---------------------------------------------------------------------------------- */

static enum err set_up(struct thread *t)
{
    const struct config *c = t->process->config;
    struct http_server_settings settings = settings_of(c);
    t->loop = loop_new(c->requests_max * 2 + 64);
    TRY_ALLOC(t->loop);
    t->gate.client = http_client_new((struct span){0});
    TRY_ALLOC(t->gate.client);
    t->server = http_server_new(&settings, handle, t);
    TRY_ALLOC(t->server);
    return start_mock(t);
}

static void tear_down(struct thread *t)
{
    if (t->server)
        http_server_free(t->server);
    if (t->mock_server)
        http_server_free(t->mock_server);
    if (t->mock_fd >= 0)
        sys.close(t->mock_fd);
    if (t->gate.client)
        http_client_free(t->gate.client);
    if (t->gate.policy)
        policy_unref(t->gate.policy);
    buffers_trim(true);
    if (t->loop)
        loop_free(t->loop);
    mem_free(t->admin_key);
}

struct launch {
    struct thread *thread;
    sem_t ready;
    enum err result;
};

static void *run_thread(void *arg)
{
    struct launch *launch = arg;
    struct thread *t = launch->thread;
    enum err e = set_up(t);
    launch->result = e;
    sem_post(&launch->ready); /* `launch` is gone from here on */
    if (e == ERR_OK)
        loop_run(t->loop);
    tear_down(t);
    return NULL;
}

static enum err launch_thread(struct thread *t)
{
    struct launch launch = {.thread = t};
    sigset_t all, old;
    sem_init(&launch.ready, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&t->id, NULL, run_thread, &launch) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (started && sem_wait(&launch.ready) != 0) {
    }
    sem_destroy(&launch.ready);
    if (started && launch.result != ERR_OK)
        pthread_join(t->id, NULL);
    t->has_started = started && launch.result == ERR_OK;
    return started ? launch.result : ERR_NO_MEMORY;
}

static enum err prepare_thread(struct process *p, size_t i)
{
    struct thread *t = &p->threads[i];
    *t = (struct thread){.process = p, .index = i, .mock_fd = -1};
    timer_init(&t->idle_timer, NULL);
    t->metrics = mem_calloc(1, sizeof *t->metrics);
    TRY_ALLOC(t->metrics);
    p->shards[i] = t->metrics;
    t->served = mem_calloc((size_t)LISTENERS_MAX * CONTROL_FDS_MAX, sizeof *t->served);
    t->next = mem_calloc((size_t)LISTENERS_MAX * CONTROL_FDS_MAX, sizeof *t->next);
    if (!t->served || !t->next)
        return ERR_NO_MEMORY;
    t->gate.worker = i;
    t->gate.log = p->log;
    t->gate.metrics = t->metrics;
    t->host = (struct admin_host){.self = t,
                                  .not_ready = not_ready,
                                  .write_metrics = write_metrics,
                                  .write_status = write_status,
                                  .reload = reload,
                                  .drain = ask_drain};
    return ERR_OK;
}

enum err threads_start(struct process *p, const struct config *c, struct failure *why)
{
    static const struct mock_options mock_options = {.calls_max = 0};
    size_t count = p->start->threads;
    p->config = (struct config *)(uintptr_t)c; /* set_up reads it; apply makes it ours */
    pthread_mutex_init(&p->lock, NULL);
    list_init(&p->wishes);
    p->idle_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->threads = mem_calloc(count, sizeof *p->threads);
    p->shards = mem_calloc(count, sizeof *p->shards);
    enum err e = p->threads && p->shards && p->idle_fd >= 0 ? mock_new(&mock_options, &p->mock, why)
                                                            : ERR_NO_MEMORY;
    for (size_t i = 0; i < count && e == ERR_OK; i++)
        e = prepare_thread(p, i);
    for (size_t i = 0; i < count && e == ERR_OK; i++)
        e = launch_thread(&p->threads[i]);
    p->config = NULL;
    return e == ERR_OK ? e : fail(why, e, "%s", err_info(e)->text);
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool is_empty(const struct thread *t)
{
    return http_server_stats(t->server).connections == 0 &&
           http_server_stats(t->mock_server).connections == 0 && loop_stats(t->loop).fibers == 0;
}

/* One that is empty stays so. Its loop goes on until all are: a fiber of another thread may ask
 * this one for its gauges up to its end. */
static void stop_when_empty(struct timer *timer)
{
    struct thread *t = CONTAINER_OF(timer, struct thread, idle_timer);
    if (!t->was_empty && is_empty(t)) {
        t->was_empty = true;
        atomic_fetch_add(&t->process->empty, 1);
    }
    if (atomic_load(&t->process->empty) == t->process->start->threads) {
        loop_stop(t->loop);
        return;
    }
    http_server_abort(t->server);
    http_server_abort(t->mock_server);
    loop_set_timer(timer, loop_now() + NS_PER_MS);
}

static void begin_stop(struct thread *t, const void *arg)
{
    (void)arg;
    http_server_drain(t->server);
    http_server_drain(t->mock_server);
    http_client_drain(t->gate.client);
    if (timer_is_set(&t->idle_timer))
        timer_stop(&t->idle_timer);
    timer_init(&t->idle_timer, stop_when_empty);
    loop_set_timer(&t->idle_timer, loop_now());
}

void threads_stop(struct process *p)
{
    refuse_wishes(p);
    tell_all(p, begin_stop, NULL);
    for (size_t i = 0; i < p->start->threads; i++)
        pthread_join(p->threads[i].id, NULL);
    for (size_t i = 0; i < p->start->threads; i++) {
        mem_free(p->threads[i].metrics);
        mem_free(p->threads[i].served);
        mem_free(p->threads[i].next);
    }
    mock_free(p->mock);
    mem_free(p->threads);
    mem_free(p->shards);
    close(p->idle_fd);
    pthread_mutex_destroy(&p->lock);
}
