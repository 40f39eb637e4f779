#include "llm/call.h"
#include "json/scan.h"
#include "json/value.h"
#include "json/write.h"

enum { MODEL_BYTES_MAX = 256 };

const char *endpoint_name(enum endpoint e)
{
    static const char *const names[ENDPOINT_COUNT] = {"chat", "completions", "embeddings",
                                                      "models"};
    return names[e];
}

struct span openai_path(enum endpoint endpoint)
{
    static const struct span paths[ENDPOINT_COUNT] = {
        SPAN_INIT("/chat/completions"), SPAN_INIT("/completions"), SPAN_INIT("/embeddings"),
        SPAN_INIT("/models")};
    return paths[endpoint];
}

/* --- requests --------------------------------------------------------------------------------- */

/* The last is the one member that the endpoint cannot do without, besides the model. */
enum {
    IN_MODEL,
    IN_STREAM,
    IN_MAX_TOKENS,
    IN_MAX_COMPLETION,
    IN_MESSAGES,
    IN_PROMPT,
    IN_INPUT,
    IN_COUNT
};
static const struct span in_list[IN_COUNT] = {
    SPAN_INIT("model"),      SPAN_INIT("stream"),
    SPAN_INIT("max_tokens"), SPAN_INIT("max_completion_tokens"),
    SPAN_INIT("messages"),   SPAN_INIT("prompt"),
    SPAN_INIT("input")};

/* Of answers: top-level members, those of usage, and of its two objects of details. */
enum {
    OUT_USAGE,
    OUT_ERROR,
    OUT_INPUT,
    OUT_OUTPUT,
    OUT_INPUT_DETAILS,
    OUT_OUTPUT_DETAILS,
    OUT_CACHED,
    OUT_CACHE_WRITE,
    OUT_REASONING,
    OUT_COUNT
};
static const struct span out_list[] = {SPAN_INIT("usage"), SPAN_INIT("error")};
static const struct span usage_list[] = {SPAN_INIT("prompt_tokens"), SPAN_INIT("completion_tokens"),
                                         SPAN_INIT("prompt_tokens_details"),
                                         SPAN_INIT("completion_tokens_details")};
static const struct span input_list[] = {SPAN_INIT("cached_tokens"),
                                         SPAN_INIT("cache_write_tokens")};
static const struct span output_list[] = {SPAN_INIT("reasoning_tokens")};

static struct json_names in_names, out_names, usage_names, input_names, output_names;

void openai_init(void)
{
    json_names_init(&in_names, in_list, IN_COUNT);
    json_names_init(&out_names, out_list, ARRAY_LEN(out_list));
    json_names_init(&usage_names, usage_list, ARRAY_LEN(usage_list));
    json_names_init(&input_names, input_list, ARRAY_LEN(input_list));
    json_names_init(&output_names, output_list, ARRAY_LEN(output_list));
    json_names_nest(&usage_names, OUT_INPUT_DETAILS - OUT_INPUT, &input_names);
    json_names_nest(&usage_names, OUT_OUTPUT_DETAILS - OUT_INPUT, &output_names);
    json_names_nest(&out_names, OUT_USAGE, &usage_names);
    ASSERT(out_names.value_count == OUT_COUNT);
}

static enum err read_model(struct call *call, struct span raw, struct arena *a, struct failure *why)
{
    call->model_raw = raw;
    if (json_kind(raw) != JSON_STRING)
        return fail(why, ERR_BAD_REQUEST,
                    raw.n ? "model must be a string, and is %s" : "model is missing",
                    json_kind_text(json_kind(raw)));
    TRY(json_to_string(raw, a, &call->model));
    if (call->model.n == 0 || call->model.n > MODEL_BYTES_MAX)
        return fail(why, ERR_BAD_REQUEST, "model must have 1 to %d bytes", MODEL_BYTES_MAX);
    return ERR_OK;
}

static enum err read_max_tokens(struct call *call, const struct span *values, struct failure *why)
{
    bool is_newer =
        values[IN_MAX_COMPLETION].n && json_kind(values[IN_MAX_COMPLETION]) != JSON_NULL;
    struct span raw = values[is_newer ? IN_MAX_COMPLETION : IN_MAX_TOKENS];
    if (raw.n == 0 || json_kind(raw) == JSON_NULL)
        return ERR_OK;
    if (json_to_u64(raw, &call->max_tokens) != ERR_OK)
        return fail(why, ERR_BAD_REQUEST, "%s must be a whole number of at least 0",
                    is_newer ? "max_completion_tokens" : "max_tokens");
    call->has_max_tokens = true;
    call->max_raw = raw;
    return ERR_OK;
}

static enum err need_member(enum endpoint endpoint, const struct span *values, struct failure *why)
{
    static const int needed[] = {IN_MESSAGES, IN_PROMPT, IN_INPUT};
    int which = needed[endpoint];
    struct span raw = values[which];
    if (raw.n == 0)
        return fail(why, ERR_BAD_REQUEST, "%s is missing", in_list[which].p);
    if (endpoint == ENDPOINT_CHAT && json_kind(raw) != JSON_ARRAY)
        return fail(why, ERR_BAD_REQUEST, "messages must be an array, and is %s",
                    json_kind_text(json_kind(raw)));
    return ERR_OK;
}

enum err openai_decode(struct call *call, enum endpoint endpoint, struct span body, struct arena *a,
                       struct failure *why)
{
    struct span values[IN_COUNT];
    struct json_report report;
    ASSERT(endpoint < ENDPOINT_MODELS);
    *call = (struct call){.endpoint = endpoint, .body = body};
    enum err e = json_scan(body, &in_names, 0, values, &report);
    if (e == ERR_BAD_JSON)
        return fail(why, e, "invalid JSON at byte %zu: %s", report.at, report.reason);
    TRY(e);
    struct span whole = span_trim(body);
    if (whole.n == 0 || json_kind(whole) != JSON_OBJECT)
        return fail(why, ERR_BAD_REQUEST, "the body must be a JSON object");
    TRY(read_model(call, values[IN_MODEL], a, why));
    struct span stream = values[IN_STREAM];
    if (stream.n && json_kind(stream) != JSON_NULL && json_to_bool(stream, &call->stream) != ERR_OK)
        return fail(why, ERR_BAD_REQUEST, "stream must be true or false");
    TRY(read_max_tokens(call, values, why));
    return need_member(endpoint, values, why);
}

static enum err quote(struct span text, struct arena *a, struct span *quoted)
{
    struct builder b;
    struct json_writer w;
    size_t room = text.n * 6 + 2; /* every byte as \u00xx */
    char *p = arena_bytes(a, room);
    TRY_ALLOC(p);
    builder_init_fixed(&b, p, room);
    json_writer_init(&w, &b);
    json_write_string(&w, text);
    TRY(json_writer_end(&w));
    *quoted = builder_span(&b);
    return ERR_OK;
}

/* Newer models of OpenAI itself refuse the old name; most compatible hosts know only that. */
static struct span max_name(const struct call *call, const struct provider *provider)
{
    bool is_openai = span_eq(provider->name, SPAN("openai"));
    return is_openai && call->endpoint == ENDPOINT_CHAT ? SPAN("max_completion_tokens")
                                                        : SPAN("max_tokens");
}

enum err openai_encode(const struct call *call, const struct provider *provider, struct span model,
                       uint64_t max_tokens, struct arena *a, struct json_pieces *pieces)
{
    struct json_edit edits[2];
    size_t count = 0;
    if (!span_eq(model, call->model)) {
        edits[count] = (struct json_edit){.change = JSON_REPLACE, .at = call->model_raw};
        TRY(quote(model, a, &edits[count++].value));
    }
    bool is_bounded = max_tokens && call->endpoint != ENDPOINT_EMBEDDINGS &&
                      (!call->has_max_tokens || call->max_tokens > max_tokens);
    if (is_bounded) {
        const char *number = arena_printf(a, "%llu", (unsigned long long)max_tokens);
        TRY_ALLOC(number);
        struct json_edit *edit = &edits[count++];
        *edit = (struct json_edit){
            .change = JSON_REPLACE, .at = call->max_raw, .value = span_of_cstr(number)};
        if (!call->has_max_tokens) {
            edit->change = JSON_INSERT;
            edit->name = max_name(call, provider);
            edit->at = call->body;
        }
    }
    if (count)
        return json_edit(call->body, edits, count, pieces);
    pieces->piece[0] = call->body;
    pieces->count = 1;
    pieces->bytes = call->body.n;
    return ERR_OK;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Figures come from outside: negative, fractional or absurd ones are not believed. */
static int64_t tokens(struct span raw)
{
    int64_t value;
    if (raw.n == 0 || json_to_i64(raw, &value) != ERR_OK || value < 0)
        return 0;
    return MIN(value, USAGE_TOKENS_MAX);
}

static void read_usage(const struct span *values, struct usage *usage)
{
    if (json_kind(values[OUT_USAGE]) != JSON_OBJECT)
        return;
    usage->is_known = true;
    usage->input = tokens(values[OUT_INPUT]);
    usage->output = tokens(values[OUT_OUTPUT]);
    usage->cached = tokens(values[OUT_CACHED]);
    usage->cache_write = tokens(values[OUT_CACHE_WRITE]);
    usage->reasoning = tokens(values[OUT_REASONING]);
}

enum err openai_read_answer(struct span body, struct usage *usage)
{
    struct span values[OUT_COUNT];
    struct json_report report;
    TRY(json_scan(body, &out_names, 0, values, &report));
    read_usage(values, usage);
    return ERR_OK;
}

enum stream_event openai_read_event(struct span data, struct usage *usage)
{
    if (span_eq(data, SPAN("[DONE]")))
        return STREAM_DONE;
    /* Almost every event is a delta that says nothing of these: one look, no parsing. Inside a JSON
     * string the quotes would be escaped, so a text that talks of usage is not mistaken for it. */
    struct span start = span(data.p, MIN(data.n, (size_t)64));
    size_t usage_at = span_search(data, SPAN("usage\":"));
    bool has_usage =
        usage_at < data.n && !span_starts(span_from(data, usage_at), SPAN("usage\":null"));
    if (LIKELY(!has_usage && span_search(start, SPAN("error\":")) == start.n))
        return STREAM_DELTA;
    struct span values[OUT_COUNT];
    struct json_report report;
    if (json_scan(data, &out_names, 0, values, &report) != ERR_OK)
        return STREAM_DELTA;
    if (values[OUT_ERROR].n && json_kind(values[OUT_ERROR]) != JSON_NULL)
        return STREAM_ERROR;
    read_usage(values, usage);
    return usage->is_known ? STREAM_USAGE : STREAM_DELTA;
}

enum err openai_write_error(struct builder *out, enum err code, struct span message)
{
    const struct err_info *info = err_info(code);
    struct json_writer w;
    json_writer_init(&w, out);
    json_write_object(&w);
    JSON_NAME(&w, "error");
    json_write_object(&w);
    JSON_MEMBER(&w, "message", string, message);
    JSON_MEMBER(&w, "type", string, span_of_cstr(info->type));
    JSON_NAME(&w, "param");
    json_write_null(&w);
    JSON_MEMBER(&w, "code", string, span_of_cstr(info->code));
    json_write_object_end(&w);
    json_write_object_end(&w);
    return json_writer_end(&w);
}
