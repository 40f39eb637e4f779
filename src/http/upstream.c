#include "http/upstream.h"

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/offload.h"

#include <pthread.h>
#include <sys/stat.h>

static const int64_t UPSTREAM_IDLE_NS = 60 * NS_PER_S;

/* --- TLS contexts: made off the loop, shared by all loops of the process ---------------------- */

struct tls_entry {
    struct tls_entry *next;
    char *files; /* the three names and their times, as text */
    struct tls_client *client;
};

static struct {
    pthread_mutex_t lock;
    struct tls_entry *first;
} tls_registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct tls_job {
    const struct origin *origin;
    struct arena *arena;
    struct tls_client *client;
    struct failure why;
    enum err result;
};

/* A file that was replaced makes another context. */
static char *describe_file(struct arena *a, struct span file)
{
    struct stat st = {.st_size = 0};
    char *name = arena_cstr(a, file);
    if (!name)
        return NULL;
    if (file.n)
        (void)!stat(name, &st);
    return arena_printf(a, "%s@%lld.%09ld", name, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static enum err find_or_make_tls(struct tls_job *job)
{
    const struct origin *o = job->origin;
    const char *ca = describe_file(job->arena, o->ca_file);
    const char *certificate = describe_file(job->arena, o->certificate_file);
    const char *key = describe_file(job->arena, o->key_file);
    if (!ca || !certificate || !key)
        return ERR_NO_MEMORY;
    char *files = arena_printf(job->arena, "%s|%s|%s", ca, certificate, key);
    TRY_ALLOC(files);
    for (struct tls_entry *e = tls_registry.first; e; e = e->next)
        if (strcmp(e->files, files) == 0) {
            job->client = tls_client_ref(e->client);
            return ERR_OK;
        }
    struct tls_entry *entry = mem_alloc(sizeof *entry);
    char *own = mem_dup(files, strlen(files) + 1);
    enum err e = entry && own ? tls_client_new(o->ca_file, o->certificate_file, o->key_file,
                                               &entry->client, &job->why)
                              : ERR_NO_MEMORY;
    if (e != ERR_OK) {
        mem_free(entry);
        mem_free(own);
        return e;
    }
    entry->files = own;
    entry->next = tls_registry.first;
    tls_registry.first = entry;
    job->client = tls_client_ref(entry->client);
    return ERR_OK;
}

static void run_tls_job(void *arg)
{
    struct tls_job *job = arg;
    pthread_mutex_lock(&tls_registry.lock); /* on an offload thread: nobody's loop waits */
    job->result = find_or_make_tls(job);
    pthread_mutex_unlock(&tls_registry.lock);
}

static SUSPENDS enum err need_tls(struct upstream_pool *p, struct failure *why)
{
    if (!p->origin.tls || p->tls)
        return ERR_OK;
    struct arena scratch;
    arena_init(&scratch, 64 * 1024, NULL, 0);
    struct tls_job job = {.origin = &p->origin, .arena = &scratch};
    enum err e = offload_call(run_tls_job, &job);
    if (e == ERR_OK)
        e = job.result;
    arena_deinit(&scratch);
    if (e != ERR_OK)
        return fail(why, e, "%s", job.why.code ? job.why.text : err_info(e)->text);
    if (p->tls) /* another fiber was faster */
        tls_client_unref(job.client);
    else
        p->tls = job.client;
    return ERR_OK;
}

/* --- states ----------------------------------------------------------------------------------- */

static void set_state(struct upstream_connection *u, enum upstream_state state)
{
    struct upstream_pool *p = u->pool;
    list_remove(&u->link);
    p->counts[u->state]--;
    u->state = state;
    list_push(&p->states[state], &u->link);
    p->counts[state]++;
}

static void release(struct grave *g)
{
    mem_free(CONTAINER_OF(g, struct upstream_connection, grave));
}

static void wake_waiters(struct upstream_pool *p);

void upstream_close(struct upstream_connection *u)
{
    struct http_client_stats *stats = &u->pool->client->stats;
    stats->idle -= u->state == UPSTREAM_IDLE;
    stats->busy -= u->state == UPSTREAM_BUSY;
    list_remove(&u->link);
    u->pool->counts[u->state]--;
    timer_stop(&u->timer);
    if (u->session)
        h2_session_close(u->session);
    else if (stream_is_open(&u->stream))
        stream_close(&u->stream);
    wake_waiters(u->pool);
    u->grave.release = release;
    loop_bury(&u->grave);
}

/* Nothing is expected on an idle connection: whatever happens ends it. */
static void on_event(struct io *io)
{
    struct upstream_connection *u = CONTAINER_OF(io, struct upstream_connection, stream.io);
    if (u->state == UPSTREAM_IDLE && (io->is_readable || io->is_hung_up))
        upstream_close(u);
}

static void on_timer(struct timer *t)
{
    struct upstream_connection *u = CONTAINER_OF(t, struct upstream_connection, timer);
    if (u->state != UPSTREAM_IDLE || (u->session && h2_session_calls(u->session) > 0))
        return;
    if (u->idle_deadline_ns <= loop_now())
        upstream_close(u);
    else
        loop_set_timer(t, u->idle_deadline_ns);
}

/* --- pools ------------------------------------------------------------------------------------ */

static bool own_text(struct arena *a, struct span *s)
{
    return arena_dup(a, *s, s);
}

static bool own_origin(struct upstream_pool *p, const struct origin *origin)
{
    struct origin *o = &p->origin;
    *o = *origin;
    return own_text(&p->arena, &o->name) && own_text(&p->arena, &o->id) &&
           own_text(&p->arena, &o->host) && own_text(&p->arena, &o->unix_path) &&
           own_text(&p->arena, &o->authority) && own_text(&p->arena, &o->ca_file) &&
           own_text(&p->arena, &o->certificate_file) && own_text(&p->arena, &o->key_file) &&
           own_text(&p->arena, &o->proxy_host) && own_text(&p->arena, &o->proxy_authorization);
}

static struct upstream_pool *new_pool(struct http_client *c, const struct origin *origin)
{
    struct upstream_pool *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->client = c;
    arena_init(&p->arena, 64 * 1024, NULL, 0);
    list_init(&p->waiters);
    for (size_t i = 0; i < UPSTREAM_STATES; i++)
        list_init(&p->states[i]);
    if (own_origin(p, origin) && map_put(&c->pools, p->origin.id, p) == ERR_OK)
        return p;
    arena_deinit(&p->arena);
    mem_free(p);
    return NULL;
}

/* --- connections that calls share ------------------------------------------------------------- */

struct waiter {
    struct list link;
    struct fiber *fiber;
};

static void wake_waiters(struct upstream_pool *p)
{
    LIST_EACH(&p->waiters, struct waiter, link, w)
        fiber_wake(w->fiber);
}

static void move_between(struct upstream_connection *u, enum upstream_state state)
{
    struct http_client_stats *stats = &u->pool->client->stats;
    if (u->state == state)
        return;
    stats->idle += state == UPSTREAM_IDLE;
    stats->idle -= u->state == UPSTREAM_IDLE;
    stats->busy += state == UPSTREAM_BUSY;
    stats->busy -= u->state == UPSTREAM_BUSY;
    set_state(u, state);
}

static void on_session_changed(struct h2_session *session, void *context)
{
    struct upstream_connection *u = context;
    if (h2_session_is_going(session)) {
        upstream_close(u);
        return;
    }
    move_between(u, h2_session_can_take(session) ? UPSTREAM_IDLE : UPSTREAM_BUSY);
    wake_waiters(u->pool);
    u->idle_deadline_ns = loop_now() + UPSTREAM_IDLE_NS;
    if (!timer_is_set(&u->timer))
        loop_set_timer(&u->timer, u->idle_deadline_ns);
}

/* The connection turned out to speak HTTP/2. */
static enum err become_session(struct upstream_connection *u)
{
    u->session = h2_session_new(&u->stream, on_session_changed, u);
    if (!u->session) {
        u->stream.io.fd = -1;
        upstream_close(u);
        return ERR_NO_MEMORY;
    }
    u->pool->speaks_h2 = true;
    move_between(u, UPSTREAM_IDLE);
    wake_waiters(u->pool);
    return ERR_OK;
}

/* While one is being opened that many calls can share, the others wait for it. */
static SUSPENDS enum err wait_for_session(struct upstream_pool *p, int64_t deadline)
{
    struct waiter w = {.fiber = fiber_self()};
    list_append(&p->waiters, &w.link);
    enum err e = fiber_park("a connection to share", deadline);
    list_remove(&w.link);
    return e;
}

static struct upstream_connection *find_idle(struct upstream_pool *p)
{
    LIST_EACH(&p->states[UPSTREAM_IDLE], struct upstream_connection, link, u) {
        if (u->session && h2_session_can_take(u->session))
            return u;
        if (u->session)
            continue;
        if (!u->stream.io.is_hung_up && !u->stream.io.is_readable)
            return u;
        upstream_close(u);
    }
    return NULL;
}

static SUSPENDS enum err open_connection(struct upstream_pool *p, int64_t deadline,
                                         struct upstream_connection **out, struct failure *why)
{
    TRY(need_tls(p, why));
    struct upstream_connection *u = mem_calloc(1, sizeof *u);
    TRY_ALLOC(u);
    u->pool = p;
    u->stream.io.fd = -1;
    timer_init(&u->timer, on_timer);
    u->state = UPSTREAM_CONNECTING;
    list_push(&p->states[u->state], &u->link);
    p->counts[u->state]++;
    enum err e = connect_origin(&p->origin, p->client->resolver, p->tls, deadline, &u->stream, why);
    if (e != ERR_OK) {
        p->client->stats.failed++;
        u->stream.io.fd = -1;
        upstream_close(u);
        return e;
    }
    u->stream.io.on_event = on_event;
    p->client->stats.opened++;
    p->client->stats.busy++;
    set_state(u, UPSTREAM_BUSY);
    bool is_h2 = u->stream.tls ? tls_is_h2(u->stream.tls) : p->origin.version == HTTP_VERSION_2;
    if (is_h2)
        TRY(become_session(u));
    else
        wake_waiters(p);
    *out = u;
    return ERR_OK;
}

enum err upstream_take(struct http_client *c, const struct origin *origin, bool must_be_fresh,
                       int64_t deadline, struct upstream_connection **out, struct failure *why)
{
    if (c->is_draining && must_be_fresh)
        return fail(why, ERR_OVERLOADED, "the gateway is going down");
    struct upstream_pool *p = map_get(&c->pools, origin->id);
    if (!p)
        p = new_pool(c, origin);
    if (!p)
        return fail(why, ERR_NO_MEMORY, "no memory for a connection");
    struct upstream_connection *u = must_be_fresh ? NULL : find_idle(p);
    while (!u && !must_be_fresh && p->speaks_h2 && p->counts[UPSTREAM_CONNECTING] > 0) {
        TRY(wait_for_session(p, deadline));
        u = find_idle(p);
    }
    if (!u)
        return open_connection(p, deadline, out, why);
    if (!u->session)
        move_between(u, UPSTREAM_BUSY);
    c->stats.reused++;
    *out = u;
    return ERR_OK;
}

/* Bytes that nobody asked for make the next answer somebody else's: such a connection is closed. */
static bool is_quiet(struct upstream_connection *u)
{
    char stray;
    size_t got;
    if (u->stream.io.is_hung_up)
        return false;
    return !stream_is_readable(&u->stream) ||
           stream_try_read(&u->stream, &stray, 1, &got) == ERR_AGAIN;
}

void upstream_put(struct upstream_connection *u)
{
    struct upstream_pool *p = u->pool;
    ASSERT(u->session == NULL);
    u->calls++;
    if (p->client->is_draining || p->counts[UPSTREAM_IDLE] >= UPSTREAM_IDLE_MAX || !is_quiet(u)) {
        upstream_close(u);
        return;
    }
    move_between(u, UPSTREAM_IDLE);
    u->idle_deadline_ns = loop_now() + UPSTREAM_IDLE_NS;
    if (!timer_is_set(&u->timer))
        loop_set_timer(&u->timer, u->idle_deadline_ns);
}

void upstreams_drain(struct http_client *c)
{
    c->is_draining = true;
    for (struct map_slot *s = NULL; (s = map_next(&c->pools, s)) != NULL;) {
        struct upstream_pool *p = s->value;
        LIST_EACH(&p->states[UPSTREAM_IDLE], struct upstream_connection, link, u)
            upstream_close(u);
    }
}

/* --- the client ------------------------------------------------------------------------------- */

struct http_client *http_client_new(struct span dns_servers)
{
    struct http_client *c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->resolver = resolver_new(dns_servers);
    if (!c->resolver) {
        mem_free(c);
        return NULL;
    }
    return c;
}

void http_client_drain(struct http_client *c)
{
    upstreams_drain(c);
}

void http_client_free(struct http_client *c)
{
    upstreams_drain(c);
    for (struct map_slot *s = NULL; (s = map_next(&c->pools, s)) != NULL;) {
        struct upstream_pool *p = s->value;
        ASSERT(list_is_empty(&p->waiters));
        ASSERT(p->counts[UPSTREAM_BUSY] == 0);
        ASSERT(p->counts[UPSTREAM_CONNECTING] == 0);
        if (p->tls)
            tls_client_unref(p->tls);
        arena_deinit(&p->arena);
        mem_free(p);
    }
    map_deinit(&c->pools);
    resolver_free(c->resolver);
    mem_free(c);
}

struct http_client_stats http_client_stats(const struct http_client *c)
{
    return c->stats;
}
