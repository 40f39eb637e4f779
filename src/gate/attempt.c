#include "gate/exchange.h"

enum {
    ANSWER_MAX = 64 * 1024 * 1024, /* a whole answer; streams have no bound */
    FORWARDED_MAX = 16,
};

/* What of the caller's head a provider gets. A list of what is allowed, because credentials,
 * cookies and addresses of callers are nobody's business there. */
static const enum http_known forwarded[] = {
    HTTP_KNOWN_ACCEPT,      HTTP_KNOWN_OPENAI_BETA, HTTP_KNOWN_USER_AGENT,
    HTTP_KNOWN_TRACEPARENT, HTTP_KNOWN_TRACESTATE,  HTTP_KNOWN_X_CLIENT_REQUEST_ID,
};

static enum err build_fields(struct exchange *x, const struct provider *p,
                             struct http_field *fields, size_t *count)
{
    size_t n = 0;
    struct span key = p->api_key.private_bytes;
    if (key.n) {
        char *value = arena_bytes(&x->rq->arena, 7 + key.n);
        TRY_ALLOC(value);
        memcpy(value, "Bearer ", 7);
        memcpy(value + 7, key.p, key.n);
        fields[n++] = (struct http_field){SPAN("Authorization"), span(value, 7 + key.n)};
    }
    fields[n++] = (struct http_field){SPAN("Content-Type"), SPAN("application/json")};
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++) {
        const struct http_field *f = http_get_field(&x->rq->head, forwarded[i]);
        if (f)
            fields[n++] = *f;
    }
    *count = n;
    return ERR_OK;
}

static enum err build_target(struct exchange *x, const struct provider *p, struct span *target)
{
    struct span path = openai_path(x->call.endpoint);
    char *text = arena_bytes(&x->rq->arena, p->path.n + path.n);
    TRY_ALLOC(text);
    if (p->path.n)
        memcpy(text, p->path.p, p->path.n);
    memcpy(text + p->path.n, path.p, path.n);
    *target = span(text, p->path.n + path.n);
    return ERR_OK;
}

static SUSPENDS enum err send_call(struct exchange *x, const struct candidate *c)
{
    const struct provider *p = c->provider;
    struct json_pieces pieces;
    struct http_field fields[FORWARDED_MAX];
    struct http_call_request request = {
        .origin = p->is_mock ? &x->gate->mock_origin : &p->origin,
        .method = HTTP_POST,
        .fields = fields,
    };
    uint64_t max_tokens = x->route ? x->route->max_tokens : 0;
    int64_t now = loop_now();
    TRY(openai_encode(&x->call, p, c->model, max_tokens, &x->rq->arena, &pieces));
    TRY(build_fields(x, p, fields, &request.field_count));
    TRY(build_target(x, p, &request.target));
    request.body = pieces.piece;
    request.body_parts = pieces.count;
    request.connect_deadline = MIN(now + p->connect_timeout_ns, x->deadline);
    request.first_byte_deadline = MIN(now + p->first_byte_timeout_ns, x->deadline);
    return http_call_start(x->gate->client, &request, &x->rq->arena, &x->upstream, x->failure);
}

/* --- judging ---------------------------------------------------------------------------------- */

static bool is_event_stream(const struct http_head *head)
{
    struct span type = http_get(head, HTTP_KNOWN_CONTENT_TYPE);
    struct span wanted = SPAN("text/event-stream");
    return type.n >= wanted.n && span_eq_nocase(span(type.p, wanted.n), wanted);
}

static SUSPENDS enum err read_answer(struct exchange *x)
{
    struct http_call *call = &x->upstream;
    struct span first;
    int64_t idle_ns = x->chosen->provider->idle_timeout_ns;
    TRY(http_call_keep_head(call, &x->rq->arena)); /* the caller gets it after the last byte */
    TRY(http_call_read(call, &first, MIN(loop_now() + idle_ns, x->deadline)));
    if (call->is_complete) { /* usual: all of it came with the head */
        x->answer = first;
        return ERR_OK;
    }
    struct builder *whole = &x->whole;
    builder_init(whole, ANSWER_MAX);
    if (call->head.framing == HTTP_BODY_LENGTH && call->head.content_length <= ANSWER_MAX)
        (void)!builder_reserve(whole, (size_t)call->head.content_length);
    for (struct span piece = first; piece.n;) {
        builder_add(whole, piece);
        TRY(builder_check(whole));
        TRY(http_call_read(call, &piece, MIN(loop_now() + idle_ns, x->deadline)));
    }
    x->answer = builder_span(whole);
    return ERR_OK;
}

/* The provider's refusal of our own key is not the caller's fault, and must not look like it. */
static enum err judge_status(struct exchange *x)
{
    int status = x->upstream.head.status;
    struct span name = x->chosen->name;
    if (status == 401 || status == 403)
        return fail(x->failure, ERR_UPSTREAM, "%.*s refused the gateway's credentials (%d)",
                    SPAN_ARG(name), status);
    if (status < 200 || (status >= 300 && status < 400))
        return fail(x->failure, ERR_UPSTREAM, "%.*s answered with status %d", SPAN_ARG(name),
                    status);
    return ERR_OK;
}

static SUSPENDS enum err judge(struct exchange *x)
{
    TRY(judge_status(x));
    if (x->upstream.head.status == 200 && is_event_stream(&x->upstream.head))
        return ERR_OK; /* relayed as it comes */
    TRY(read_answer(x));
    if (openai_read_answer(x->answer, &x->usage) == ERR_OK)
        return ERR_OK;
    return fail(x->failure, ERR_UPSTREAM, "%.*s answered with status %d and no valid JSON",
                SPAN_ARG(x->chosen->name), x->upstream.head.status);
}

/* Whether another target may do better, now that this one gave an answer. */
static enum err answer_as_outcome(const struct exchange *x)
{
    int status = x->upstream.head.status;
    if (status == 429)
        return ERR_RATE_LIMITED;
    return status >= 500 ? ERR_UPSTREAM : ERR_OK;
}

static void close_upstream(struct exchange *x)
{
    if (x->is_upstream_open)
        http_call_end(&x->upstream);
    x->is_upstream_open = false;
    builder_deinit(&x->whole);
    x->answer = (struct span){0};
}

static void note_attempt(struct exchange *x, enum err outcome, int64_t began_ns)
{
    struct record_attempt *a = &x->attempts[x->attempt_count++];
    *a = (struct record_attempt){.target = x->chosen->name,
                                 .outcome = outcome == ERR_OK ? "ok" : err_info(outcome)->code,
                                 .took_ns = loop_now() - began_ns};
    metric_add(&x->gate->metrics->attempts[outcome], 1);
}

/* What the wire says of an address is said of the target that the caller asked for. */
static void name_target(struct exchange *x, const struct candidate *c)
{
    struct failure said = *x->failure;
    if (said.code == ERR_OK)
        return;
    *x->failure = (struct failure){0};
    fail(x->failure, said.code, "%.*s: %s", SPAN_ARG(c->name), said.text);
}

static SUSPENDS enum err try_candidate(struct exchange *x, const struct candidate *c,
                                       enum err *outcome)
{
    int64_t began_ns = loop_now();
    x->chosen = c;
    enum err e = send_call(x, c);
    if (e != ERR_OK) {
        name_target(x, c);
    } else {
        x->is_upstream_open = true;
        x->sent_ns = x->upstream.sent_ns;
        x->first_byte_ns = x->upstream.first_byte_ns;
        x->waited_ns += x->first_byte_ns - x->sent_ns;
        e = judge(x);
    }
    *outcome = e == ERR_OK ? answer_as_outcome(x) : e;
    note_attempt(x, *outcome, began_ns);
    return e;
}

/* Errors of the wire in the words of the contract. */
static enum err public_error(struct exchange *x, enum err e)
{
    if (e == ERR_TIMEOUT)
        return fail(x->failure, ERR_UPSTREAM_TIMEOUT, "%.*s did not answer in time",
                    SPAN_ARG(x->chosen->name));
    if (e == ERR_CLOSED || e == ERR_IO || e == ERR_PROTOCOL)
        return fail(x->failure, ERR_UPSTREAM, "%.*s broke off its answer",
                    SPAN_ARG(x->chosen->name));
    return e;
}

enum err gate_attempt(struct exchange *x)
{
    for (size_t i = 0;; i++) {
        enum err outcome, e = try_candidate(x, &x->candidates[i], &outcome);
        bool is_last = i + 1 == x->candidate_count;
        bool may_go_on = outcome != ERR_OK && !is_last && x->deadline > loop_now() &&
                         (err_info(outcome)->elsewhere || outcome == ERR_RATE_LIMITED);
        if (!may_go_on) {
            if (e != ERR_OK)
                close_upstream(x);
            return e == ERR_OK ? ERR_OK : public_error(x, e);
        }
        close_upstream(x);
        x->fallback_why = err_info(outcome)->code;
        *x->failure = (struct failure){0};
    }
}
