#include "base/encode.h"
#include "gate/exchange.h"
#include "json/write.h"

enum { LIST_MAX = 8 * 1024 * 1024 };

/* Models have no date of making here; clients want one. */
static const int64_t CREATED = 1700000000;

static void write_model(struct json_writer *w, struct span name, struct span owner)
{
    json_write_object(w);
    JSON_MEMBER(w, "id", string, name);
    JSON_MEMBER(w, "object", string, SPAN("model"));
    JSON_MEMBER(w, "created", i64, CREATED);
    JSON_MEMBER(w, "owned_by", string, owner);
    json_write_object_end(w);
}

static struct span owner_of(const struct model *m)
{
    return m->target_count ? m->targets[0].provider->name : SPAN("penstock");
}

static void write_list(struct exchange *x, struct json_writer *w)
{
    json_write_object(w);
    JSON_MEMBER(w, "object", string, SPAN("list"));
    JSON_NAME(w, "data");
    json_write_array(w);
    for (size_t i = 0; i < x->policy->model_count; i++) {
        const struct model *m = x->policy->models[i];
        if (key_allows_model(x->key, m->name))
            write_model(w, m->name, owner_of(m));
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

static SUSPENDS void reply_json(struct exchange *x, const struct builder *body)
{
    struct http_field fields[OWN_FIELDS_MAX + 1];
    struct http_reply_head head = {.status = 200, .fields = fields};
    head.field_count = gate_own_fields(x, fields);
    fields[head.field_count++] =
        (struct http_field){SPAN("content-type"), SPAN("application/json")};
    struct span bytes = builder_span(body);
    (void)!http_reply(x->rq, &head, &bytes, 1);
}

static bool find_one(struct exchange *x, struct span id, struct span *owner)
{
    struct span star;
    const struct model *m = policy_find_model(x->policy, id, &star);
    if (!m || !key_allows_model(x->key, id))
        return false;
    *owner = owner_of(m);
    return true;
}

/* Clients write a name's '/' as %2F. The server has seen that two digits follow each '%'. */
static enum err decode_id(struct exchange *x, struct span *id)
{
    struct span raw = *id;
    char *out = arena_bytes(&x->rq->arena, raw.n);
    TRY_ALLOC(out);
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '%' && i + 2 < raw.n && hex_decode(span(raw.p + i + 1, 2), &out[n]))
            i += 2;
        else
            out[n] = raw.p[i];
        n++;
    }
    *id = span(out, n);
    return ERR_OK;
}

void gate_serve_models(struct exchange *x, struct span id)
{
    struct builder body;
    struct json_writer w;
    struct span owner = {0};
    if (id.n && decode_id(x, &id) != ERR_OK) {
        gate_reply_error(x, ERR_NO_MEMORY);
        return;
    }
    if (id.n && !find_one(x, id, &owner)) {
        fail(x->failure, ERR_NO_MODEL, "there is no model '%.*s'", SPAN_ARG(id));
        gate_reply_error(x, ERR_NO_MODEL);
        return;
    }
    builder_init(&body, LIST_MAX);
    json_writer_init(&w, &body);
    if (id.n)
        write_model(&w, id, owner);
    else
        write_list(x, &w);
    enum err e = json_writer_end(&w);
    if (e == ERR_OK)
        reply_json(x, &body);
    else
        gate_reply_error(x, e);
    builder_deinit(&body);
}
