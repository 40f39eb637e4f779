#include "mock/openai.h"

#include "base/encode.h"
#include "json/scan.h"

static const struct span MEMBER_NAMES[] = {
    [OPENAI_MODEL] = SPAN_INIT("model"),
    [OPENAI_MESSAGES] = SPAN_INIT("messages"),
    [OPENAI_STREAM] = SPAN_INIT("stream"),
    [OPENAI_STREAM_OPTIONS] = SPAN_INIT("stream_options"),
    [OPENAI_N] = SPAN_INIT("n"),
    [OPENAI_MAX_TOKENS] = SPAN_INIT("max_tokens"),
    [OPENAI_MAX_COMPLETION_TOKENS] = SPAN_INIT("max_completion_tokens"),
    [OPENAI_STOP] = SPAN_INIT("stop"),
    [OPENAI_TOOLS] = SPAN_INIT("tools"),
    [OPENAI_TOOL_CHOICE] = SPAN_INIT("tool_choice"),
    [OPENAI_PARALLEL_TOOL_CALLS] = SPAN_INIT("parallel_tool_calls"),
    [OPENAI_RESPONSE_FORMAT] = SPAN_INIT("response_format"),
    [OPENAI_PROMPT] = SPAN_INIT("prompt"),
    [OPENAI_INPUT] = SPAN_INIT("input"),
    [OPENAI_ENCODING_FORMAT] = SPAN_INIT("encoding_format"),
    [OPENAI_DIMENSIONS] = SPAN_INIT("dimensions"),
    [OPENAI_SEED] = SPAN_INIT("seed"),
};
static_assert(ARRAY_LEN(MEMBER_NAMES) == OPENAI_MEMBER_COUNT, "every member has a name");

static struct json_names names;

static void init(void)
{
    json_names_init(&names, MEMBER_NAMES, ARRAY_LEN(MEMBER_NAMES));
}

/* --- errors ----------------------------------------------------------------------------------- */

static void write_text_or_null(struct json_writer *w, struct span text)
{
    if (text.n)
        json_write_string(w, text);
    else
        json_write_null(w);
}

static enum err write_error(struct builder *out, const struct mock_error *error)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_NAME(&w, "error");
    json_write_object(&w);
    JSON_MEMBER(&w, "message", string, error->message);
    JSON_MEMBER(&w, "type", string, error->type);
    JSON_NAME(&w, "param");
    write_text_or_null(&w, error->param);
    JSON_NAME(&w, "code");
    write_text_or_null(&w, error->code);
    json_write_object_end(&w);
    json_write_object_end(&w);
    return json_writer_end(&w);
}

static enum err write_error_event(struct builder *out, const struct mock_error *error)
{
    builder_add(out, SPAN("data: "));
    TRY(write_error(out, error));
    builder_add(out, SPAN("\n\n"));
    return builder_check(out);
}

enum err openai_wrong_type(struct mock_call *c, const char *param, const char *expected,
                           struct span got)
{
    if (got.n == 0)
        return mock_refuse(c, SPAN("missing_required_parameter"), span_of_cstr(param),
                           "Missing required parameter: '%s'.", param);
    return mock_refuse(c, SPAN("invalid_type"), span_of_cstr(param),
                       "Invalid type for '%s': expected %s, but got %s instead.", param, expected,
                       json_kind_text(json_kind(got)));
}

/* --- requests --------------------------------------------------------------------------------- */

static SUSPENDS enum err read_bool(struct mock_call *c, const char *name, struct span raw,
                                   bool *value, bool *go_on)
{
    if (raw.n == 0 || json_to_bool(raw, value) == ERR_OK)
        return ERR_OK;
    *go_on = false;
    return openai_wrong_type(c, name, "a boolean", raw);
}

static SUSPENDS enum err read_count(struct mock_call *c, enum openai_member which,
                                    struct openai_request *r, uint64_t min, uint64_t max,
                                    uint64_t *value, bool *go_on)
{
    const struct span raw = r->member[which], name = MEMBER_NAMES[which];
    int64_t number;
    if (raw.n == 0)
        return ERR_OK;
    if (json_to_i64(raw, &number) != ERR_OK) {
        *go_on = false;
        return openai_wrong_type(c, name.p, "an integer", raw);
    }
    if (number >= (int64_t)min && number <= (int64_t)max) {
        *value = (uint64_t)number;
        return ERR_OK;
    }
    *go_on = false;
    const bool is_small = number < (int64_t)min;
    return mock_refuse(
        c, is_small ? SPAN("integer_below_min_value") : SPAN("integer_above_max_value"), name,
        "Invalid '%s': integer %s value. Expected a value %s %llu, but got %lld instead.", name.p,
        is_small ? "below minimum" : "above maximum",
        is_small ? ">=" : "<=", (unsigned long long)(is_small ? min : max), (long long)number);
}

static enum err add_stop(struct mock_call *c, struct openai_request *r, struct span raw)
{
    if (r->stop_count == OPENAI_STOPS_MAX)
        return ERR_BAD_REQUEST;
    return json_to_string(raw, &c->rq->arena, &r->stops[r->stop_count++]);
}

static SUSPENDS enum err read_stops(struct mock_call *c, struct openai_request *r, bool *go_on)
{
    const struct span raw = r->member[OPENAI_STOP];
    enum err e = ERR_OK;
    if (json_kind(raw) == JSON_ARRAY) {
        struct json_walk w = json_walk(raw);
        while (e == ERR_OK && json_walk_next(&w))
            e = add_stop(c, r, w.value);
    } else if (raw.n) {
        e = add_stop(c, r, raw);
    }
    if (e != ERR_BAD_REQUEST)
        return e;
    *go_on = false;
    return openai_wrong_type(c, "stop", "a string or an array of at most 4 strings", raw);
}

static SUSPENDS enum err read_shared(struct mock_call *c, struct openai_request *r, bool *go_on)
{
    static const uint64_t tokens_max = 1000000000;
    const struct span usage = json_member(r->member[OPENAI_STREAM_OPTIONS], SPAN("include_usage"));
    r->n = 1;
    r->max_tokens = UINT64_MAX;
    TRY(read_count(c, OPENAI_N, r, 1, OPENAI_CHOICES_MAX, &r->n, go_on));
    if (*go_on)
        TRY(read_count(c, OPENAI_MAX_TOKENS, r, 0, tokens_max, &r->max_tokens, go_on));
    if (*go_on)
        TRY(read_count(c, OPENAI_MAX_COMPLETION_TOKENS, r, 0, tokens_max, &r->max_tokens, go_on));
    if (*go_on)
        TRY(read_bool(c, "stream_options.include_usage", usage, &r->includes_usage, go_on));
    if (*go_on)
        TRY(read_stops(c, r, go_on));
    mock_print_add(&c->print, r->member[OPENAI_SEED]);
    return ERR_OK;
}

enum err openai_read(struct mock_call *c, struct openai_request *r, bool *go_on)
{
    struct json_report report;
    struct span model;
    *r = (struct openai_request){0};
    *go_on = false;
    const enum err e = json_scan(c->body, &names, 0, r->member, &report);
    if (e == ERR_NO_MEMORY)
        return e;
    if (e != ERR_OK)
        return mock_refuse(c, (struct span){0}, (struct span){0},
                           "We could not parse the JSON body of your request: byte %zu: %s.",
                           report.at, report.reason);
    for (size_t i = 0; i < OPENAI_MEMBER_COUNT; i++)
        if (json_kind(r->member[i]) == JSON_NULL)
            r->member[i] = (struct span){0};
    if (json_kind(r->member[OPENAI_MODEL]) != JSON_STRING)
        return openai_wrong_type(c, "model", "a string", r->member[OPENAI_MODEL]);
    TRY(json_to_string(r->member[OPENAI_MODEL], &c->rq->arena, &model));
    *go_on = true;
    TRY(read_bool(c, "stream", r->member[OPENAI_STREAM], &r->streams, go_on));
    if (*go_on)
        TRY(mock_begin(c, model, r->streams, go_on));
    return *go_on ? read_shared(c, r, go_on) : ERR_OK;
}

enum err openai_add_text(struct mock_call *c, struct openai_request *r, struct span raw)
{
    TRY(json_to_string(raw, &c->rq->arena, &r->last_text));
    mock_print_add(&c->print, r->last_text);
    r->prompt_tokens += mock_tokens(r->last_text.n);
    return ERR_OK;
}

void openai_write_id(struct builder *out, const struct mock_call *c, struct span prefix)
{
    char digits[16];
    const uint64_t id = mock_mix(c->print.value, 0);
    hex_encode(&id, sizeof id, digits);
    builder_add(out, prefix);
    builder_add_bytes(out, digits, sizeof digits);
}

/* --- models ----------------------------------------------------------------------------------- */

static void write_model(struct json_writer *w, struct span id)
{
    json_write_object(w);
    JSON_MEMBER(w, "id", string, id);
    JSON_MEMBER(w, "object", string, SPAN("model"));
    JSON_MEMBER(w, "created", raw, SPAN(OPENAI_CREATED_TEXT));
    JSON_MEMBER(w, "owned_by", string, SPAN("penstock-mock"));
    json_write_object_end(w);
}

static SUSPENDS enum err serve_models(struct mock_call *c)
{
    static const struct span models[] = {
        SPAN_INIT("mock-ok"),
        SPAN_INIT("mock-slow-2s"),
        SPAN_INIT("mock-stream-100x20ms"),
        SPAN_INIT("mock-status-429"),
        SPAN_INIT("mock-status-500"),
        SPAN_INIT("mock-reset"),
        SPAN_INIT("mock-hang"),
        SPAN_INIT("mock-cut-after-3"),
        SPAN_INIT("mock-badjson"),
        SPAN_INIT("mock-tool"),
        SPAN_INIT("mock-tokens-1000-500"),
        SPAN_INIT("mock-fail-2-then-ok"),
    };
    struct json_writer w;
    struct builder *out = mock_builder(c, 2048);
    TRY_ALLOC(out);
    c->number = mock_calls_add(mock_calls_of(c->mock), &c->rq->head, c->model, false, c->body);
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_MEMBER(&w, "object", string, SPAN("list"));
    JSON_NAME(&w, "data");
    json_write_array(&w);
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        write_model(&w, models[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    TRY(json_writer_end(&w));
    return mock_reply_json(c, builder_span(out));
}

/* The name in a path, percent-decoded; the server has checked that two digits follow each '%'. */
static enum err decode_path(struct arena *a, struct span path, struct span *text)
{
    char *to = arena_bytes(a, path.n);
    TRY_ALLOC(to);
    *text = span(to, 0);
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '%' && i + 2 < path.n && hex_decode(span(path.p + i + 1, 2), to))
            i += 2;
        else
            *to = path.p[i];
        to++;
        text->n++;
    }
    return ERR_OK;
}

static SUSPENDS enum err serve_model(struct mock_call *c)
{
    struct json_writer w;
    struct span id;
    bool go_on;
    TRY(decode_path(&c->rq->arena, c->rest, &id));
    TRY(mock_begin(c, id, false, &go_on));
    if (!go_on)
        return ERR_OK;
    struct builder *out = mock_builder(c, 256);
    TRY_ALLOC(out);
    json_writer_init(&w, out);
    write_model(&w, id);
    TRY(json_writer_end(&w));
    return mock_reply_json(c, builder_span(out));
}

/* --- moderations ------------------------------------------------------------------------------ */

static const struct span CATEGORIES[] = {
    SPAN_INIT("hate"),
    SPAN_INIT("hate/threatening"),
    SPAN_INIT("harassment"),
    SPAN_INIT("harassment/threatening"),
    SPAN_INIT("illicit"),
    SPAN_INIT("illicit/violent"),
    SPAN_INIT("self-harm"),
    SPAN_INIT("self-harm/intent"),
    SPAN_INIT("self-harm/instructions"),
    SPAN_INIT("sexual"),
    SPAN_INIT("sexual/minors"),
    SPAN_INIT("violence"),
    SPAN_INIT("violence/graphic"),
};

/* A text is of a category when it names it. */
static bool is_of(struct span text, size_t category)
{
    return text.n && memmem(text.p, text.n, CATEGORIES[category].p, CATEGORIES[category].n);
}

static void write_judgement(struct json_writer *w, struct span text)
{
    bool flagged = false;
    for (size_t i = 0; i < ARRAY_LEN(CATEGORIES); i++)
        flagged |= is_of(text, i);
    json_write_object(w);
    JSON_MEMBER(w, "flagged", bool, flagged);
    JSON_NAME(w, "categories");
    json_write_object(w);
    for (size_t i = 0; i < ARRAY_LEN(CATEGORIES); i++) {
        json_write_name(w, CATEGORIES[i]);
        json_write_bool(w, is_of(text, i));
    }
    json_write_object_end(w);
    JSON_NAME(w, "category_scores");
    json_write_object(w);
    for (size_t i = 0; i < ARRAY_LEN(CATEGORIES); i++) {
        json_write_name(w, CATEGORIES[i]);
        json_write_decimal(w, is_of(text, i) ? 99 : 1, 2);
    }
    json_write_object_end(w);
    JSON_NAME(w, "category_applied_input_types");
    json_write_object(w);
    for (size_t i = 0; i < ARRAY_LEN(CATEGORIES); i++) {
        json_write_name(w, CATEGORIES[i]);
        json_write_raw(w, SPAN("[\"text\"]"));
    }
    json_write_object_end(w);
    json_write_object_end(w);
}

/* A string, or a list of strings and of parts, of which the text counts. */
static enum err judge_all(struct mock_call *c, struct openai_request *r, struct json_writer *w)
{
    const struct span input = r->member[OPENAI_INPUT];
    if (json_kind(input) == JSON_STRING) {
        TRY(openai_add_text(c, r, input));
        write_judgement(w, r->last_text);
        return ERR_OK;
    }
    struct json_walk walk = json_walk(input);
    while (json_walk_next(&walk)) {
        struct span text = walk.value;
        if (json_kind(text) == JSON_OBJECT)
            text = json_member(text, SPAN("text"));
        r->last_text = (struct span){0};
        if (json_kind(text) == JSON_STRING)
            TRY(openai_add_text(c, r, text));
        write_judgement(w, r->last_text);
    }
    return ERR_OK;
}

static SUSPENDS enum err serve_moderations(struct mock_call *c)
{
    struct openai_request r;
    struct json_writer w;
    bool go_on;
    TRY(openai_read(c, &r, &go_on));
    if (!go_on)
        return ERR_OK;
    const enum json_kind kind = json_kind(r.member[OPENAI_INPUT]);
    if (kind != JSON_STRING && kind != JSON_ARRAY)
        return openai_wrong_type(c, "input", "a string or an array", r.member[OPENAI_INPUT]);
    struct builder *out = mock_builder(c, 2048);
    TRY_ALLOC(out);
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_MEMBER(&w, "id", string, SPAN("modr-mock"));
    JSON_MEMBER(&w, "model", raw, r.member[OPENAI_MODEL]);
    JSON_NAME(&w, "results");
    json_write_array(&w);
    TRY(judge_all(c, &r, &w));
    json_write_array_end(&w);
    json_write_object_end(&w);
    TRY(json_writer_end(&w));
    return mock_reply_json(c, builder_span(out));
}

/* --- the dialect ------------------------------------------------------------------------------ */

static const struct mock_endpoint ENDPOINTS[] = {
    {.method = HTTP_POST, .path = SPAN_INIT("/v1/chat/completions"), .serve = openai_serve_chat},
    {.method = HTTP_POST, .path = SPAN_INIT("/v1/completions"), .serve = openai_serve_completions},
    {.method = HTTP_POST, .path = SPAN_INIT("/v1/embeddings"), .serve = openai_serve_embeddings},
    {.method = HTTP_POST, .path = SPAN_INIT("/v1/moderations"), .serve = serve_moderations},
    {.method = HTTP_GET, .path = SPAN_INIT("/v1/models"), .serve = serve_models},
    {.method = HTTP_GET,
     .path = SPAN_INIT("/v1/models/"),
     .takes_more = true,
     .serve = serve_model},
};

const struct mock_dialect mock_openai = {
    .endpoints = ENDPOINTS,
    .endpoint_count = ARRAY_LEN(ENDPOINTS),
    .init = init,
    .write_error = write_error,
    .write_error_event = write_error_event,
};
