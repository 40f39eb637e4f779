#include "mock/mock.h"

#include "base/mem.h"
#include "mock/call.h"

static const struct mock_dialect *const DIALECTS[] = {&mock_openai};

struct mock {
    struct mock_rules *rules;
    struct mock_calls *calls;
};

enum err mock_new(const struct mock_options *options, struct mock **mock, struct failure *why)
{
    struct mock *m = mem_calloc(1, sizeof *m);
    TRY_ALLOC(m);
    enum err e = ERR_OK;
    if (options->script_file)
        e = mock_rules_load(options->script_file, &m->rules, why);
    if (e == ERR_OK) {
        m->calls = mock_calls_new(options->calls_max, options->call_body_max);
        e = m->calls ? ERR_OK : fail(why, ERR_NO_MEMORY, "no memory for the list of calls");
    }
    if (e != ERR_OK) {
        mock_free(m);
        return e;
    }
    for (size_t i = 0; i < ARRAY_LEN(DIALECTS); i++)
        DIALECTS[i]->init();
    *mock = m;
    return ERR_OK;
}

void mock_free(struct mock *m)
{
    if (!m)
        return;
    mock_rules_free(m->rules);
    mock_calls_free(m->calls);
    mem_free(m);
}

struct mock_calls *mock_calls_of(struct mock *m)
{
    return m->calls;
}

enum err mock_script_of(const struct mock *m, struct span model, struct mock_script *script,
                        struct failure *why)
{
    struct span text = SPAN("ok");
    if (!mock_rules_find(m->rules, model, &text) && span_starts(model, SPAN("mock-")))
        text = model;
    return mock_script_parse(text, script, why);
}

struct span mock_key_of(const struct http_head *head)
{
    static const enum http_known fields[] = {HTTP_KNOWN_AUTHORIZATION, HTTP_KNOWN_X_API_KEY,
                                             HTTP_KNOWN_X_GOOG_API_KEY, HTTP_KNOWN_API_KEY};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (http_has(head, fields[i]))
            return http_get(head, fields[i]);
    return (struct span){0};
}

/* --- the list of calls ------------------------------------------------------------------------ */

static SUSPENDS enum err serve_calls(struct mock_call *c)
{
    struct builder *list = mock_builder(c, 4096);
    TRY_ALLOC(list);
    TRY(mock_calls_list(c->mock->calls, list));
    return mock_reply_json(c, builder_span(list));
}

static SUSPENDS enum err clear_calls(struct mock_call *c)
{
    mock_calls_clear(c->mock->calls);
    return mock_reply_json(c, SPAN("{\"cleared\":true}"));
}

static const struct mock_endpoint OWN_ENDPOINTS[] = {
    {.method = HTTP_GET, .path = SPAN_INIT("/mock/calls"), .serve = serve_calls},
    {.method = HTTP_DELETE, .path = SPAN_INIT("/mock/calls"), .serve = clear_calls},
};

/* --- routing ---------------------------------------------------------------------------------- */

static bool is_path(const struct mock_endpoint *e, struct span path)
{
    return e->takes_more ? span_starts(path, e->path) && path.n > e->path.n
                         : span_eq(path, e->path);
}

/* NULL: nothing at this path, or not by this method. */
static const struct mock_endpoint *find_in(const struct mock_endpoint *list, size_t count,
                                           const struct http_head *head, bool *path_is_known)
{
    const enum http_method method = head->method == HTTP_HEAD ? HTTP_GET : head->method;
    for (size_t i = 0; i < count; i++) {
        if (!is_path(&list[i], head->path))
            continue;
        *path_is_known = true;
        if (list[i].method == method)
            return &list[i];
    }
    return NULL;
}

static const struct mock_endpoint *find(struct mock_call *c, bool *path_is_known)
{
    const struct http_head *head = &c->rq->head;
    c->dialect = DIALECTS[0];
    const struct mock_endpoint *e =
        find_in(OWN_ENDPOINTS, ARRAY_LEN(OWN_ENDPOINTS), head, path_is_known);
    for (size_t i = 0; !e && !*path_is_known && i < ARRAY_LEN(DIALECTS); i++) {
        const struct mock_dialect *d = DIALECTS[i];
        e = find_in(d->endpoints, d->endpoint_count, head, path_is_known);
        if (*path_is_known)
            c->dialect = d;
    }
    return e;
}

/* A request that no endpoint can be asked about. */
static SUSPENDS enum err refuse(struct mock_call *c, int status, struct span code,
                                struct span message)
{
    const struct mock_error error = {
        .status = status,
        .type = SPAN("invalid_request_error"),
        .code = code,
        .message = message,
    };
    c->number = mock_calls_add(c->mock->calls, &c->rq->head, c->model, false, c->body);
    return mock_reply_error(c, &error, -1);
}

static SUSPENDS enum err serve(struct mock_call *c)
{
    struct http_request *rq = c->rq;
    bool path_is_known = false;
    const struct mock_endpoint *e = find(c, &path_is_known);
    const enum err read = http_read_body(rq, &c->body);
    if (read != ERR_OK && rq->failure.code == ERR_OK)
        return read; /* the caller is gone */
    if (read != ERR_OK)
        return refuse(c, err_info(read)->status, span_of_cstr(err_info(read)->code),
                      span_of_cstr(rq->failure.text));
    if (!e && path_is_known)
        return refuse(c, 405, SPAN("method_not_allowed"), SPAN("Not allowed to do that here."));
    if (!e)
        return refuse(c, 404, SPAN("unknown_url"), SPAN("Unknown request URL."));
    c->rest = span_from(rq->head.path, e->path.n);
    return e->serve(c);
}

void mock_handler(struct http_request *rq, void *mock)
{
    struct mock_call c = {.mock = mock, .rq = rq, .outcome = MOCK_OPEN};
    enum err e = serve(&c);
    if (e == ERR_NO_MEMORY && rq->status == 0) {
        const struct mock_error error = mock_error_of_status(503);
        e = mock_reply_error(&c, &error, -1);
    }
    if (c.outcome == MOCK_OPEN)
        c.outcome = e == ERR_OK ? MOCK_ANSWERED : MOCK_GONE;
    mock_calls_end(c.mock->calls, c.number, rq->status, c.outcome);
}
