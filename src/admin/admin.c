#include "admin/admin.h"

#include "fiber/fiber.h"
#include "json/write.h"

enum { TEXT_MAX = 4 * 1024 * 1024 };

static const struct span json_type = SPAN_INIT("application/json");

static SUSPENDS void reply(struct http_request *rq, int status, struct span type,
                           const struct builder *body)
{
    struct http_field fields[] = {{SPAN("content-type"), type},
                                  {SPAN("cache-control"), SPAN("no-store")}};
    struct http_reply_head head = {
        .status = status, .fields = fields, .field_count = ARRAY_LEN(fields)};
    struct span bytes = builder_span(body);
    if (builder_check(body) == ERR_OK)
        (void)!http_reply(rq, &head, &bytes, 1);
}

/* {"status": WORD, "message": TEXT} or an error object. */
static SUSPENDS void reply_word(struct http_request *rq, int status, struct span name,
                                struct span word, struct span message)
{
    struct builder out;
    struct json_writer w;
    builder_init(&out, TEXT_MAX);
    json_writer_init(&w, &out);
    json_write_object(&w);
    json_write_name(&w, name);
    json_write_string(&w, word);
    if (message.n)
        JSON_MEMBER(&w, "message", string, message);
    json_write_object_end(&w);
    (void)!json_writer_end(&w);
    builder_add_char(&out, '\n');
    reply(rq, status, json_type, &out);
    builder_deinit(&out);
}

static SUSPENDS void refuse(struct http_request *rq, enum err code, const char *message)
{
    struct builder out;
    struct json_writer w;
    const struct err_info *info = err_info(code);
    builder_init(&out, TEXT_MAX);
    json_writer_init(&w, &out);
    json_write_object(&w);
    JSON_NAME(&w, "error");
    json_write_object(&w);
    JSON_MEMBER(&w, "message", string, span_of_cstr(message ? message : info->text));
    JSON_MEMBER(&w, "type", string, span_of_cstr(info->type));
    JSON_MEMBER(&w, "code", string, span_of_cstr(info->code));
    json_write_object_end(&w);
    json_write_object_end(&w);
    (void)!json_writer_end(&w);
    builder_add_char(&out, '\n');
    reply(rq, info->status, json_type, &out);
    builder_deinit(&out);
}

/* --- the paths -------------------------------------------------------------------------------- */

static SUSPENDS void healthz(const struct admin_host *host, struct http_request *rq)
{
    (void)host;
    reply_word(rq, 200, SPAN("status"), SPAN("ok"), (struct span){0});
}

static SUSPENDS void readyz(const struct admin_host *host, struct http_request *rq)
{
    const char *why = host->not_ready(host->self);
    if (why)
        reply_word(rq, 503, SPAN("status"), SPAN("not ready"), span_of_cstr(why));
    else
        reply_word(rq, 200, SPAN("status"), SPAN("ready"), (struct span){0});
}

static SUSPENDS void metrics(const struct admin_host *host, struct http_request *rq)
{
    struct builder out;
    builder_init(&out, TEXT_MAX);
    host->write_metrics(host->self, &out);
    reply(rq, 200, SPAN("text/plain; version=0.0.4; charset=utf-8"), &out);
    builder_deinit(&out);
}

static SUSPENDS void status(const struct admin_host *host, struct http_request *rq)
{
    struct builder out;
    builder_init(&out, TEXT_MAX);
    host->write_status(host->self, &out);
    reply(rq, 200, json_type, &out);
    builder_deinit(&out);
}

static SUSPENDS void fibers(const struct admin_host *host, struct http_request *rq)
{
    struct builder out;
    (void)host;
    builder_init(&out, TEXT_MAX);
    fiber_report(&out);
    reply(rq, 200, SPAN("text/plain; charset=utf-8"), &out);
    builder_deinit(&out);
}

static SUSPENDS void reload(const struct admin_host *host, struct http_request *rq)
{
    struct builder said;
    builder_init(&said, TEXT_MAX);
    bool done = host->reload(host->self, &said);
    reply_word(rq, done ? 200 : 422, done ? SPAN("status") : SPAN("error"),
               done ? SPAN("reloaded") : SPAN("the configuration was refused"),
               builder_span(&said));
    builder_deinit(&said);
}

static SUSPENDS void drain(const struct admin_host *host, struct http_request *rq)
{
    host->drain(host->self);
    reply_word(rq, 202, SPAN("status"), SPAN("draining"), (struct span){0});
}

/* None of the paths takes a body; one that comes is read all the same, so that its framing is
 * judged and the next request on the connection is found. */
static SUSPENDS bool pass_over_body(struct http_request *rq)
{
    struct span body;
    enum err e = http_read_body(rq, &body);
    if (e != ERR_OK)
        refuse(rq, e, rq->failure.code ? rq->failure.text : NULL);
    return e == ERR_OK;
}

static const struct {
    struct span path;
    enum http_method method;
    bool needs_key;
    SUSPENDS void (*serve)(const struct admin_host *host, struct http_request *rq);
} paths[] = {
    {SPAN_INIT("/healthz"), HTTP_GET, false, healthz},
    {SPAN_INIT("/readyz"), HTTP_GET, false, readyz},
    {SPAN_INIT("/metrics"), HTTP_GET, false, metrics},
    {SPAN_INIT("/debug/fibers"), HTTP_GET, true, fibers},
    {SPAN_INIT("/admin/v1/status"), HTTP_GET, true, status},
    {SPAN_INIT("/admin/v1/reload"), HTTP_POST, true, reload},
    {SPAN_INIT("/admin/v1/drain"), HTTP_POST, true, drain},
};

static bool has_key(const struct admin_host *host, const struct http_request *rq)
{
    struct span value = http_get(&rq->head, HTTP_KNOWN_AUTHORIZATION);
    ASSERT(host->admin_key.n > 0);
    return value.n > 7 && span_eq_nocase(span(value.p, 7), SPAN("Bearer ")) &&
           span_eq_secret(span_trim(span_from(value, 7)), host->admin_key);
}

bool admin_serve(const struct admin_host *host, struct http_request *rq)
{
    struct span path = rq->head.path;
    bool is_admin = span_starts(path, SPAN("/admin/")) || span_starts(path, SPAN("/debug/"));
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!span_eq(path, paths[i].path))
            continue;
        bool is_method = rq->head.method == paths[i].method ||
                         (rq->head.method == HTTP_HEAD && paths[i].method == HTTP_GET);
        if (paths[i].needs_key && !has_key(host, rq))
            refuse(rq, ERR_BAD_KEY, "the admin key is needed: Authorization: Bearer");
        else if (!is_method)
            refuse(rq, ERR_BAD_METHOD, NULL);
        else if (pass_over_body(rq))
            paths[i].serve(host, rq);
        return true;
    }
    /* What is there is not told to those without the key. */
    if (is_admin)
        refuse(rq, has_key(host, rq) ? ERR_NOT_FOUND : ERR_BAD_KEY, NULL);
    return is_admin;
}
