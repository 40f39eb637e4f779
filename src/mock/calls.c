#include "mock/calls.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/sys.h"
#include "fiber/fiber.h"
#include "json/write.h"

#include <pthread.h>

/* Everything of one call, copied into one piece of text: the lengths say where each part is. */
struct received {
    uint64_t number; /* 0: an empty place */
    int64_t wall_ns;
    uint64_t body_bytes; /* as it came; body_kept of them are here */
    uint32_t method_n, path_n, query_n, model_n, body_kept, field_count;
    int status;
    enum mock_outcome outcome;
    bool streams, is_http2;
    struct builder text; /* method, path, query, model, body, fields */
};

struct counter {
    uint64_t calls;
    size_t name_n;
    char name[];
};

struct mock_calls {
    pthread_mutex_t lock;
    struct received *ring;
    size_t room, body_max;
    uint64_t last; /* number of the newest */
    struct map counters;
};

static void lock(struct mock_calls *c)
{
    pthread_mutex_lock(&c->lock);
    fiber_lock_taken();
}

static void unlock(struct mock_calls *c)
{
    fiber_lock_released();
    pthread_mutex_unlock(&c->lock);
}

struct mock_calls *mock_calls_new(size_t calls_max, size_t body_max)
{
    struct mock_calls *c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->ring = mem_calloc(calls_max, sizeof *c->ring);
    if (!c->ring) {
        mem_free(c);
        return NULL;
    }
    c->room = calls_max;
    c->body_max = body_max;
    for (size_t i = 0; i < calls_max; i++)
        builder_init(&c->ring[i].text, body_max + CALL_TEXT_MAX);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void forget_counters(struct mock_calls *c)
{
    for (struct map_slot *s = NULL; (s = map_next(&c->counters, s));)
        mem_free(s->value);
    map_deinit(&c->counters);
    c->counters = (struct map){0};
}

void mock_calls_free(struct mock_calls *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->room; i++)
        builder_deinit(&c->ring[i].text);
    mem_free(c->ring);
    forget_counters(c);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

void mock_calls_clear(struct mock_calls *c)
{
    lock(c);
    for (size_t i = 0; i < c->room; i++)
        c->ring[i].number = 0;
    forget_counters(c);
    unlock(c);
}

/* --- noting ----------------------------------------------------------------------------------- */

static bool is_secret(const struct http_field *field)
{
    static const enum http_known secrets[] = {HTTP_KNOWN_AUTHORIZATION,       HTTP_KNOWN_X_API_KEY,
                                              HTTP_KNOWN_X_GOOG_API_KEY,      HTTP_KNOWN_API_KEY,
                                              HTTP_KNOWN_PROXY_AUTHORIZATION, HTTP_KNOWN_COOKIE};
    const enum http_known known = http_known_of(field->name);
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (known == secrets[i])
            return true;
    return false;
}

static size_t size_of(const struct builder *b)
{
    return builder_span(b).n;
}

/* "Bearer ***6789": the scheme and the end of a value long enough to keep the rest secret. */
static size_t add_masked(struct builder *out, struct span value)
{
    enum { SHOWN = 4, LONG_ENOUGH = 12 };
    struct span scheme, secret;
    const size_t before = size_of(out);
    if (span_cut(value, ' ', &scheme, &secret)) {
        builder_add(out, scheme);
        builder_add_char(out, ' ');
    } else {
        secret = value;
    }
    builder_add(out, SPAN("***"));
    if (secret.n >= LONG_ENOUGH)
        builder_add(out, span_from(secret, secret.n - SHOWN));
    return size_of(out) - before;
}

static size_t add_query(struct builder *out, struct span query)
{
    const size_t before = size_of(out);
    bool more = query.n > 0;
    while (more) {
        struct span part;
        more = span_cut(query, '&', &part, &query);
        if (span_starts(part, SPAN("key="))) {
            builder_add(out, SPAN("key="));
            (void)add_masked(out, span_from(part, 4));
        } else {
            builder_add(out, part);
        }
        if (more)
            builder_add_char(out, '&');
    }
    return size_of(out) - before;
}

enum { MASKED_MAX = 64 }; /* a scheme is a word */

/* name length, value length, name, value. */
static void add_field(struct builder *out, const struct http_field *field)
{
    char room[MASKED_MAX];
    struct span value = field->value;
    if (is_secret(field)) {
        struct builder masked;
        builder_init_fixed(&masked, room, sizeof room);
        (void)add_masked(&masked, value);
        value = builder_check(&masked) == ERR_OK ? builder_span(&masked) : SPAN("***");
    }
    const uint32_t lengths[2] = {(uint32_t)field->name.n, (uint32_t)value.n};
    builder_add_bytes(out, lengths, sizeof lengths);
    builder_add(out, field->name);
    builder_add(out, value);
}

static void keep(struct received *r, const struct http_head *head, struct span model,
                 struct span body, size_t body_max)
{
    struct builder *t = &r->text;
    builder_clear(t);
    r->method_n = (uint32_t)head->method_text.n;
    r->path_n = (uint32_t)head->path.n;
    r->model_n = (uint32_t)model.n;
    r->body_kept = (uint32_t)MIN(body.n, body_max);
    r->field_count = head->field_count;
    builder_add(t, head->method_text);
    builder_add(t, head->path);
    r->query_n = (uint32_t)add_query(t, head->query);
    builder_add(t, model);
    builder_add(t, span(body.p, r->body_kept));
    for (uint32_t i = 0; i < head->field_count; i++)
        add_field(t, &head->fields[i]);
}

uint64_t mock_calls_add(struct mock_calls *c, const struct http_head *head, struct span model,
                        bool streams, struct span body)
{
    const int64_t now = wall_ns();
    lock(c);
    const uint64_t number = ++c->last;
    if (c->room) {
        struct received *r = &c->ring[number % c->room];
        keep(r, head, model, body, c->body_max);
        r->number = builder_check(&r->text) == ERR_OK ? number : 0;
        r->wall_ns = now;
        r->body_bytes = body.n;
        r->streams = streams;
        r->is_http2 = head->is_http2;
        r->status = 0;
        r->outcome = MOCK_OPEN;
    }
    unlock(c);
    return number;
}

void mock_calls_end(struct mock_calls *c, uint64_t number, int status, enum mock_outcome outcome)
{
    if (!c->room || !number)
        return;
    lock(c);
    struct received *r = &c->ring[number % c->room];
    if (r->number == number) { /* else it was overwritten, or forgotten */
        r->status = status;
        r->outcome = outcome;
    }
    unlock(c);
}

/* --- listing ---------------------------------------------------------------------------------- */

struct field_walk {
    const char *at;
    uint32_t left;
    struct span name, value;
};

static bool next_field(struct field_walk *w)
{
    uint32_t lengths[2];
    if (w->left == 0)
        return false;
    w->left--;
    memcpy(lengths, w->at, sizeof lengths);
    w->name = span(w->at + sizeof lengths, lengths[0]);
    w->value = span(w->name.p + lengths[0], lengths[1]);
    w->at = w->value.p + lengths[1];
    return true;
}

/* Names in lower case; the values of a repeated field joined as RFC 9110 section 5.3 says. */
static void list_fields(struct json_writer *w, struct field_walk fields, struct builder *scratch)
{
    char name[NAME_MAX_BYTES];
    json_write_object(w);
    for (struct field_walk f = fields; next_field(&f);) {
        bool came_before = false;
        for (struct field_walk g = fields; next_field(&g) && g.name.p != f.name.p;)
            came_before |= span_eq_nocase(g.name, f.name);
        if (came_before)
            continue;
        builder_clear(scratch);
        builder_add(scratch, f.value);
        for (struct field_walk g = f; next_field(&g);)
            if (span_eq_nocase(g.name, f.name)) {
                builder_add(scratch, SPAN(", "));
                builder_add(scratch, g.value);
            }
        const size_t n = MIN(f.name.n, sizeof name);
        for (size_t i = 0; i < n; i++)
            name[i] =
                (char)(f.name.p[i] >= 'A' && f.name.p[i] <= 'Z' ? f.name.p[i] | 0x20 : f.name.p[i]);
        json_write_name(w, span(name, n));
        json_write_string(w, builder_span(scratch));
    }
    json_write_object_end(w);
}

static struct span take(const char **at, size_t n)
{
    const struct span s = span(*at, n);
    *at += n;
    return s;
}

static void list_one(struct json_writer *w, const struct received *r, struct builder *scratch)
{
    static const struct span outcomes[] = {
        [MOCK_OPEN] = SPAN_INIT("open"),
        [MOCK_ANSWERED] = SPAN_INIT("answered"),
        [MOCK_BROKEN] = SPAN_INIT("broken"),
        [MOCK_GONE] = SPAN_INIT("gone"),
    };
    char time[TIME_TEXT_BYTES];
    time_text(r->wall_ns, time);
    const char *at = builder_span(&r->text).p;
    json_write_object(w);
    JSON_MEMBER(w, "number", u64, r->number);
    JSON_MEMBER(w, "time", string, span(time, sizeof time));
    JSON_MEMBER(w, "method", string, take(&at, r->method_n));
    JSON_MEMBER(w, "path", string, take(&at, r->path_n));
    JSON_MEMBER(w, "query", string, take(&at, r->query_n));
    JSON_MEMBER(w, "http", string, r->is_http2 ? SPAN("2") : SPAN("1.1"));
    JSON_MEMBER(w, "model", string, take(&at, r->model_n));
    JSON_MEMBER(w, "stream", bool, r->streams);
    JSON_MEMBER(w, "status", i64, r->status);
    JSON_MEMBER(w, "outcome", string, outcomes[r->outcome]);
    JSON_MEMBER(w, "body_bytes", u64, r->body_bytes);
    JSON_MEMBER(w, "body", string, take(&at, r->body_kept));
    JSON_NAME(w, "headers");
    list_fields(w, (struct field_walk){.at = at, .left = r->field_count}, scratch);
    json_write_object_end(w);
}

enum err mock_calls_list(struct mock_calls *c, struct builder *out)
{
    struct json_writer w;
    struct builder scratch;
    builder_init(&scratch, CALL_TEXT_MAX);
    json_writer_init(&w, out);
    json_write_array(&w);
    lock(c);
    for (size_t i = 1; i <= c->room; i++) {
        const struct received *r = &c->ring[(c->last + i) % c->room];
        if (r->number)
            list_one(&w, r, &scratch);
    }
    unlock(c);
    json_write_array_end(&w);
    enum err e = builder_check(&scratch);
    builder_deinit(&scratch);
    enum err written = json_writer_end(&w);
    return written != ERR_OK ? written : e;
}

/* --- counters --------------------------------------------------------------------------------- */

static enum err find_counter(struct mock_calls *c, struct span name, struct counter **counter)
{
    *counter = map_get(&c->counters, name);
    if (*counter)
        return ERR_OK;
    if (c->counters.count >= COUNTERS_MAX)
        forget_counters(c);
    struct counter *n = mem_alloc(sizeof *n + name.n);
    TRY_ALLOC(n);
    *n = (struct counter){.name_n = name.n};
    memcpy(n->name, name.p, name.n);
    enum err e = map_put(&c->counters, span(n->name, n->name_n), n);
    if (e != ERR_OK) {
        mem_free(n);
        return e;
    }
    *counter = n;
    return ERR_OK;
}

enum err mock_calls_count(struct mock_calls *c, struct span model, struct span key,
                          uint64_t *before)
{
    struct builder name;
    struct counter *counter;
    builder_init(&name, CALL_TEXT_MAX);
    builder_add(&name, model);
    builder_add_char(&name, '\0');
    builder_add(&name, key);
    enum err e = builder_check(&name);
    if (e == ERR_OK) {
        lock(c);
        e = find_counter(c, builder_span(&name), &counter);
        if (e == ERR_OK)
            *before = counter->calls++;
        unlock(c);
    }
    builder_deinit(&name);
    return e;
}
