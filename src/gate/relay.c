#include "base/sys.h"
#include "gate/exchange.h"
#include "http/sse.h"

enum { FIELDS_MAX = HTTP_FIELDS_MAX + OWN_FIELDS_MAX };

/* What of a provider's head a caller does not get: what speaks of another connection, another
 * site's cookies and policies, and what we say ourselves. */
static const uint64_t withheld = HTTP_SET(CONTENT_LENGTH) | HTTP_SET(DATE) | HTTP_SET(SERVER) |
                                 HTTP_SET(SET_COOKIE) | HTTP_SET(ALT_SVC) |
                                 HTTP_SET(STRICT_TRANSPORT_SECURITY) | HTTP_SET(X_REQUEST_ID) |
                                 HTTP_SET(CACHE_CONTROL) | HTTP_SET(VARY);

static bool is_withheld(const struct http_head *head, size_t index)
{
    const struct span name = head->fields[index].name, ours = SPAN("x-penstock-");
    if ((withheld >> http_known_at(head, index) & 1) || http_is_hop_by_hop_at(head, index))
        return true;
    return name.n >= ours.n && name.p[1] == '-' && span_eq_nocase(span(name.p, ours.n), ours);
}

static size_t collect_fields(struct exchange *x, struct http_field *fields)
{
    const struct http_head *head = &x->upstream.head;
    size_t n = gate_own_fields(x, fields);
    for (uint32_t i = 0; i < head->field_count; i++)
        if (!is_withheld(head, i))
            fields[n++] = head->fields[i];
    return n;
}

static SUSPENDS enum err relay_whole(struct exchange *x)
{
    struct http_field fields[FIELDS_MAX];
    struct http_reply_head head = {.status = x->upstream.head.status, .fields = fields};
    head.field_count = collect_fields(x, fields);
    return http_reply(x->rq, &head, &x->answer, 1);
}

/* --- streams ---------------------------------------------------------------------------------- */

static SUSPENDS enum err begin_stream(struct exchange *x)
{
    struct http_field fields[FIELDS_MAX];
    struct http_reply_head head = {.status = x->upstream.head.status, .fields = fields};
    head.field_count = collect_fields(x, fields);
    return http_reply_begin(x->rq, &head, HTTP_LENGTH_UNKNOWN);
}

/* Looks into what passes, for the usage that it tells. */
static enum err watch_events(struct exchange *x, struct sse_reader *reader, struct span bytes)
{
    struct sse_event event;
    enum err e;
    while ((e = sse_next(reader, &bytes, &event)) == ERR_OK)
        if (event.has_data)
            (void)openai_read_event(event.data, &x->usage);
    return e == ERR_AGAIN ? ERR_OK : e;
}

static SUSPENDS enum err relay_events(struct exchange *x, struct sse_reader *reader)
{
    struct span pieces[HTTP_PIECES_MAX];
    int64_t idle_ns = x->chosen->provider->idle_timeout_ns;
    for (;;) {
        size_t count;
        int64_t deadline = MIN(loop_now() + idle_ns, x->deadline);
        TRY(http_call_read_many(&x->upstream, pieces, HTTP_PIECES_MAX, deadline, &count));
        if (x->first_token_ns < 0)
            x->first_token_ns = loop_now() - x->rq->received_ns;
        if (count == 0)
            return ERR_OK;
        for (size_t i = 0; i < count; i++)
            TRY(watch_events(x, reader, pieces[i]));
        enum err e = http_reply_writev(x->rq, pieces, count);
        if (e != ERR_OK)
            return x->client_gone = true, e;
        if (x->upstream.is_complete)
            return ERR_OK;
    }
}

/* The caller must see that the answer is not whole: an error event, and no clean end. */
static SUSPENDS void break_off(struct exchange *x, enum err e)
{
    char text[1024];
    struct builder out;
    enum err code = e == ERR_TIMEOUT ? ERR_UPSTREAM_TIMEOUT : ERR_UPSTREAM;
    const char *what = e == ERR_TIMEOUT ? "stopped sending" : "broke off its answer";
    fail(x->failure, code, "%.*s %s", SPAN_ARG(x->chosen->name), what);
    builder_init_fixed(&out, text, sizeof text);
    builder_add(&out, SPAN("data: "));
    if (openai_write_error(&out, code, span_of_cstr(x->failure->text)) == ERR_OK) {
        builder_add(&out, SPAN("\n\n"));
        (void)!http_reply_write(x->rq, builder_span(&out));
    }
    http_reply_cut(x->rq);
}

static SUSPENDS enum err relay_stream(struct exchange *x)
{
    struct sse_reader reader;
    /* The record names the model when the body that it stands in is gone. */
    if (!arena_dup(&x->rq->arena, x->call.model, &x->call.model))
        return ERR_NO_MEMORY;
    http_drop_body(x->rq); /* no further attempt can need it, and a stream is long */
    metric_add(&x->gate->metrics->streams, 1);
    TRY(begin_stream(x));
    sse_reader_init(&reader, SSE_EVENT_MAX);
    enum err e = relay_events(x, &reader);
    sse_reader_deinit(&reader);
    x->waited_ns += loop_now() - x->first_byte_ns; /* the provider's pace, not ours */
    if (e == ERR_OK)
        return http_reply_end(x->rq);
    if (!x->client_gone && e != ERR_CANCELLED)
        break_off(x, e);
    else
        http_reply_cut(x->rq);
    return e;
}

enum err gate_relay(struct exchange *x)
{
    enum err e = x->answer.n || x->upstream.is_complete ? relay_whole(x) : relay_stream(x);
    http_call_end(&x->upstream);
    x->is_upstream_open = false;
    builder_deinit(&x->whole);
    x->relayed_ns = clock_ns();
    return e;
}
