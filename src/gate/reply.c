#include "gate/exchange.h"

size_t gate_own_fields(struct exchange *x, struct http_field *fields)
{
    static const struct span counts[] = {SPAN_INIT("0"), SPAN_INIT("1"), SPAN_INIT("2"),
                                         SPAN_INIT("3"), SPAN_INIT("4"), SPAN_INIT("5"),
                                         SPAN_INIT("6"), SPAN_INIT("7"), SPAN_INIT("8")};
    static_assert(ARRAY_LEN(counts) == RECORD_ATTEMPTS_MAX + 1, "every count has its text");
    size_t n = 0;
    fields[n++] = (struct http_field){SPAN("x-request-id"), span(x->id, ID_BYTES)};
    /* What was answered to one key must not be kept and given to another. */
    fields[n++] = (struct http_field){SPAN("cache-control"), SPAN("private, no-store")};
    if (!x->chosen)
        return n;
    fields[n++] = (struct http_field){SPAN("x-penstock-target"), x->chosen->name};
    fields[n++] = (struct http_field){SPAN("x-penstock-reason"),
                                      x->fallback_why ? SPAN("fallback") : span_of_cstr(x->reason)};
    fields[n++] = (struct http_field){SPAN("x-penstock-attempts"), counts[x->attempt_count]};
    fields[n++] = (struct http_field){SPAN("x-penstock-cache"), SPAN("off")};
    if (x->fallback_why && x->attempt_count > 1) {
        char *text =
            arena_printf(&x->rq->arena, "%.*s: %s",
                         SPAN_ARG(x->attempts[x->attempt_count - 2].target), x->fallback_why);
        if (text)
            fields[n++] = (struct http_field){SPAN("x-penstock-fallback"), span_of_cstr(text)};
    }
    ASSERT(n <= OWN_FIELDS_MAX);
    return n;
}

/* A failure's own text, or the table's when nobody said more. */
static struct span message_of(const struct exchange *x, enum err code)
{
    const struct failure *f = x->failure;
    return span_of_cstr(f->code ? f->text : err_info(code)->text);
}

void gate_reply_error(struct exchange *x, enum err code)
{
    char text[4 * FAILURE_TEXT_MAX];
    struct builder body;
    struct http_field fields[OWN_FIELDS_MAX + 3];
    if (x->rq->status != 0 || code == ERR_CANCELLED || x->client_gone)
        return; /* begun already, or nobody is left to read it */
    if (x->failure->code)
        code = x->failure->code;
    const struct err_info *info = err_info(code);
    struct http_reply_head head = {.status = info->status, .fields = fields};
    head.field_count = gate_own_fields(x, fields);
    fields[head.field_count++] =
        (struct http_field){SPAN("content-type"), SPAN("application/json")};
    if (info->status == 503)
        fields[head.field_count++] = (struct http_field){SPAN("retry-after"), SPAN("1")};
    if (info->status == 401)
        fields[head.field_count++] = (struct http_field){SPAN("www-authenticate"), SPAN("Bearer")};
    builder_init_fixed(&body, text, sizeof text);
    if (openai_write_error(&body, code, message_of(x, code)) != ERR_OK)
        return;
    struct span bytes = builder_span(&body);
    (void)!http_reply(x->rq, &head, &bytes, 1);
}
