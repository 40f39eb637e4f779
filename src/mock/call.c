#include "mock/call.h"

#include "base/encode.h"
#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>

enum { GARBAGE_BYTES = 512, REQUEST_ID_BYTES = 4 + 16 };

static void deinit_builder(void *arg)
{
    builder_deinit(arg);
}

struct builder *mock_builder(struct mock_call *c, size_t first_room)
{
    struct builder *b = ARENA_NEW(&c->rq->arena, struct builder);
    if (!b || !arena_defer(&c->rq->arena, deinit_builder, b))
        return NULL;
    builder_init(b, MOCK_ANSWER_MAX);
    return builder_reserve(b, first_room) ? b : NULL;
}

static SUSPENDS enum err wait_ns(int64_t ns)
{
    return ns > 0 ? fiber_sleep(clock_ns() + ns) : ERR_OK;
}

static SUSPENDS enum err wait_for_ever(void)
{
    for (;;)
        TRY(fiber_park("the mock hangs", FIBER_FOREVER));
}

/* --- writing ---------------------------------------------------------------------------------- */

struct fields {
    struct http_field list[4];
    size_t count;
    char request_id[REQUEST_ID_BYTES];
    char retry_after[20];
};

static void add_field(struct fields *f, struct span name, struct span value)
{
    f->list[f->count++] = (struct http_field){name, value};
}

static void usual_fields(struct fields *f, const struct mock_call *c, struct span content_type)
{
    const uint64_t id = mock_mix(c->print.value, 1);
    memcpy(f->request_id, "req_", 4);
    hex_encode(&id, sizeof id, f->request_id + 4);
    f->count = 0;
    add_field(f, SPAN("Content-Type"), content_type);
    add_field(f, SPAN("X-Request-Id"), span(f->request_id, sizeof f->request_id));
}

static struct http_reply_head head_of(int status, const struct fields *f)
{
    return (struct http_reply_head){status, f->list, f->count};
}

/* Whole, or in the small pieces that the script asks for. */
static SUSPENDS enum err write_bytes(struct mock_call *c, struct span bytes)
{
    const struct mock_script *s = &c->script;
    if (s->drip_bytes == 0)
        return http_reply_write(c->rq, bytes);
    while (bytes.n) {
        const size_t n = MIN(bytes.n, (size_t)s->drip_bytes);
        TRY(http_reply_write(c->rq, span(bytes.p, n)));
        bytes = span_from(bytes, n);
        TRY(wait_ns(s->drip_pause_ns));
    }
    return ERR_OK;
}

static SUSPENDS enum err cut(struct mock_call *c)
{
    c->outcome = MOCK_BROKEN;
    TRY(c->rq->status ? http_reply_flush(c->rq) : ERR_OK);
    http_reply_cut(c->rq);
    return ERR_CLOSED;
}

static SUSPENDS enum err reply_pieces(struct mock_call *c, const struct http_reply_head *head,
                                      struct span body)
{
    TRY(http_reply_begin(c->rq, head, body.n));
    TRY(write_bytes(c, body));
    return http_reply_end(c->rq);
}

enum err mock_reply_error(struct mock_call *c, const struct mock_error *error,
                          int64_t retry_after_s)
{
    struct fields f;
    struct builder *body = mock_builder(c, 512);
    TRY_ALLOC(body);
    TRY(c->dialect->write_error(body, error));
    usual_fields(&f, c, SPAN("application/json"));
    if (retry_after_s < 0 && (error->status == 429 || error->status == 503))
        retry_after_s = 1;
    if (retry_after_s >= 0) {
        const int n =
            snprintf(f.retry_after, sizeof f.retry_after, "%lld", (long long)retry_after_s);
        add_field(&f, SPAN("Retry-After"), span(f.retry_after, (size_t)n));
    }
    const struct http_reply_head head = head_of(error->status, &f);
    const struct span text = builder_span(body);
    return http_reply(c->rq, &head, &text, error->status == 304 ? 0 : 1);
}

enum err mock_refuse(struct mock_call *c, struct span code, struct span param, const char *format,
                     ...)
{
    char text[FAILURE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!c->number)
        c->number = mock_calls_add(mock_calls_of(c->mock), &c->rq->head, c->model, false, c->body);
    const struct mock_error error = {
        .status = 400,
        .type = SPAN("invalid_request_error"),
        .code = code,
        .param = param,
        .message = span(text, MIN((size_t)MAX(n, 0), sizeof text - 1)),
    };
    return mock_reply_error(c, &error, -1);
}

enum err mock_reply_json(struct mock_call *c, struct span body)
{
    struct fields f;
    const struct mock_script *s = &c->script;
    usual_fields(&f, c, SPAN("application/json"));
    const struct http_reply_head head = head_of(200, &f);
    TRY(wait_ns((int64_t)s->chunks * s->pause_ns));
    if (s->trouble == TROUBLE_ERROR_AFTER) {
        const struct mock_error error = mock_error_of_status(500);
        return mock_reply_error(c, &error, -1);
    }
    if (s->trouble == TROUBLE_BADJSON)
        body.n /= 2;
    if (s->trouble == TROUBLE_CUT || s->trouble == TROUBLE_STALL) {
        TRY(http_reply_begin(c->rq, &head, body.n));
        TRY(write_bytes(c, span(body.p, body.n / 2)));
        return s->trouble == TROUBLE_CUT ? cut(c) : wait_for_ever();
    }
    return s->drip_bytes ? reply_pieces(c, &head, body) : http_reply(c->rq, &head, &body, 1);
}

static SUSPENDS enum err reply_garbage(struct mock_call *c, bool streams)
{
    uint64_t bytes[GARBAGE_BYTES / sizeof(uint64_t)];
    struct fields f;
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
        bytes[i] = mock_mix(c->print.value, i);
    usual_fields(&f, c, streams ? SPAN("text/event-stream") : SPAN("application/json"));
    const struct http_reply_head head = head_of(200, &f);
    const struct span body = span((const char *)bytes, sizeof bytes);
    return reply_pieces(c, &head, body);
}

/* --- what the script puts in the place of an answer ------------------------------------------- */

/* Trouble that comes only the first times is taken out of the script after them. */
static enum err count_failures(struct mock_call *c)
{
    struct mock_script *s = &c->script;
    if (s->fails == 0)
        return ERR_OK;
    uint64_t before;
    TRY(mock_calls_count(mock_calls_of(c->mock), c->model, mock_key_of(&c->rq->head), &before));
    if (before >= s->fails)
        s->trouble = TROUBLE_NONE;
    return ERR_OK;
}

enum err mock_begin(struct mock_call *c, struct span model, bool streams, bool *go_on)
{
    struct failure why = {0};
    *go_on = false;
    c->model = model;
    mock_print_add(&c->print, model);
    c->number = mock_calls_add(mock_calls_of(c->mock), &c->rq->head, model, streams, c->body);
    if (mock_script_of(c->mock, model, &c->script, &why) != ERR_OK)
        return mock_refuse(c, SPAN("invalid_script"), SPAN("model"), "%s", why.text);
    TRY(count_failures(c));
    TRY(wait_ns(c->script.slow_ns));
    switch (c->script.trouble) {
    case TROUBLE_STATUS:
        return mock_reply_error(c, &c->script.error, c->script.retry_after_s);
    case TROUBLE_RESET:
        return cut(c);
    case TROUBLE_HANG:
        return wait_for_ever();
    case TROUBLE_GARBAGE:
        return reply_garbage(c, streams);
    case TROUBLE_NONE:
    case TROUBLE_CUT:
    case TROUBLE_STALL:
    case TROUBLE_ERROR_AFTER:
    case TROUBLE_BADJSON:
        break;
    }
    *go_on = true;
    return ERR_OK;
}

/* --- streams ---------------------------------------------------------------------------------- */

enum err mock_stream_begin(struct mock_call *c, struct span content_type)
{
    struct fields f;
    usual_fields(&f, c, content_type);
    add_field(&f, SPAN("Cache-Control"), SPAN("no-cache"));
    const struct http_reply_head head = head_of(200, &f);
    TRY(http_reply_begin(c->rq, &head, HTTP_LENGTH_UNKNOWN));
    if (c->script.first_ns) {
        TRY(http_reply_flush(c->rq));
        TRY(wait_ns(c->script.first_ns));
    }
    c->next_ns = clock_ns();
    return ERR_OK;
}

enum err mock_stream_event(struct mock_call *c, struct span event)
{
    if (c->script.is_noisy)
        TRY(write_bytes(c, SPAN(": noise\n\n")));
    return write_bytes(c, event);
}

/* The script's trouble in the middle. Never ERR_OK. */
static SUSPENDS enum err break_off(struct mock_call *c)
{
    TRY(http_reply_flush(c->rq));
    if (c->script.trouble == TROUBLE_CUT)
        return cut(c);
    if (c->script.trouble == TROUBLE_STALL)
        return wait_for_ever();
    const struct mock_error error = mock_error_of_status(500);
    struct builder *event = mock_builder(c, 512);
    TRY_ALLOC(event);
    TRY(c->dialect->write_error_event(event, &error));
    TRY(mock_stream_event(c, builder_span(event)));
    TRY(http_reply_end(c->rq));
    c->outcome = MOCK_BROKEN;
    return ERR_CLOSED;
}

static bool has_trouble_in_the_middle(const struct mock_call *c)
{
    return c->script.trouble == TROUBLE_CUT || c->script.trouble == TROUBLE_STALL ||
           c->script.trouble == TROUBLE_ERROR_AFTER;
}

/* An event without its last bytes, the empty line excepted: framed well, and no JSON. */
static SUSPENDS enum err write_broken(struct mock_call *c, struct span event)
{
    const size_t lost = MIN(event.n, (size_t)8);
    TRY(mock_stream_event(c, span(event.p, event.n - lost)));
    return write_bytes(c, SPAN("\n\n"));
}

enum err mock_stream_chunk(struct mock_call *c, struct span event)
{
    const struct mock_script *s = &c->script;
    if (has_trouble_in_the_middle(c) && c->chunks_sent == s->after)
        return break_off(c);
    if (s->trouble == TROUBLE_BADJSON && c->chunks_sent == 0)
        TRY(write_broken(c, event));
    else
        TRY(mock_stream_event(c, event));
    c->chunks_sent++;
    if (s->pause_ns == 0)
        return ERR_OK;
    c->next_ns = MAX(c->next_ns + s->pause_ns, clock_ns()); /* a slow reader is not made up for */
    return fiber_sleep(c->next_ns);
}

enum err mock_stream_tail(struct mock_call *c)
{
    return has_trouble_in_the_middle(c) ? break_off(c) : ERR_OK;
}

enum err mock_stream_end(struct mock_call *c)
{
    return http_reply_end(c->rq);
}
