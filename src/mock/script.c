#include "mock/script.h"

#include "base/sys.h"
#include "mock/mock.h"

enum part {
    PART_OK,
    PART_SLOW,
    PART_FIRST,
    PART_STREAM,
    PART_STATUS,
    PART_STATUS_RETRY,
    PART_ERROR,
    PART_RESET,
    PART_HANG,
    PART_CUT,
    PART_STALL,
    PART_ERROR_AFTER,
    PART_BADJSON,
    PART_GARBAGE,
    PART_TOOL,
    PART_TOOLS,
    PART_TOKENS,
    PART_TOKENS_CACHED,
    PART_TOKENS_ALL,
    PART_FAIL,
    PART_SIZE,
    PART_DRIP,
    PART_ECHO,
    PART_NOISE,
    PART_NO_USAGE,
    PART_NO_DONE,
    PART_FINISH,
    PART_ID,
};

enum { VALUES_MAX = 4 };
static const int64_t WAIT_MAX_NS = 3600 * NS_PER_S;

/* In a pattern: %n a number, %t a time ("2s", "500ms"), %b a size ("100k"), %w any word. */
static const struct {
    const char *pattern, *shown, *help;
    enum part part;
} PARTS[] = {
    {"ok", "ok", "a plain answer", PART_OK},
    {"slow-%t", "slow-2s", "waits before it answers", PART_SLOW},
    {"first-%t", "first-500ms", "waits between the head of a stream and its first chunk",
     PART_FIRST},
    {"stream-%nx%t", "stream-100x20ms", "so many chunks, with a pause after each", PART_STREAM},
    {"size-%b", "size-100k", "a text of that many bytes", PART_SIZE},
    {"tokens-%n-%n", "tokens-1000-500", "reports this usage: prompt, completion", PART_TOKENS},
    {"tokens-%n-%n-%n", "tokens-1000-500-800", "also how much of the prompt was cached",
     PART_TOKENS_CACHED},
    {"tokens-%n-%n-%n-%n", "tokens-1000-500-800-300",
     "also how much of the completion is reasoning", PART_TOKENS_ALL},
    {"no-usage", "no-usage", "reports no usage", PART_NO_USAGE},
    {"tool", "tool", "calls the first tool of the request, or get_weather", PART_TOOL},
    {"tool-%n", "tool-3", "as many tool calls in one answer", PART_TOOLS},
    {"echo", "echo", "answers with the text of the last message", PART_ECHO},
    {"finish-%w", "finish-length", "gives this finish reason", PART_FINISH},
    {"status-%n", "status-429", "answers with this status and its error", PART_STATUS},
    {"status-%n-%t", "status-429-20s", "also tells when to retry", PART_STATUS_RETRY},
    {"error-after-%n", "error-after-3", "an error event after so many chunks", PART_ERROR_AFTER},
    {"error-%w", "error-insufficient_quota", "answers with the error of this code", PART_ERROR},
    {"reset", "reset", "resets the connection instead of answering", PART_RESET},
    {"hang", "hang", "never answers", PART_HANG},
    {"cut-after-%n", "cut-after-3", "the answer dies after so many chunks, a whole body half-way",
     PART_CUT},
    {"stall-after-%n", "stall-after-3", "the answer stops after so many chunks, for ever",
     PART_STALL},
    {"badjson", "badjson", "the JSON of the answer is broken", PART_BADJSON},
    {"garbage", "garbage", "the answer is no text at all", PART_GARBAGE},
    {"fail-%n-then-ok", "fail-2-then-ok",
     "trouble (status-500 unless another part says what) for the first calls only", PART_FAIL},
    {"drip-%nx%t", "drip-7x5ms", "the body comes in pieces of so many bytes", PART_DRIP},
    {"noise", "noise", "comments between the events of a stream", PART_NOISE},
    {"no-done", "no-done", "a stream ends without [DONE]", PART_NO_DONE},
    {"id-%w", "id-abc", "nothing: makes a name of your own", PART_ID},
};

void mock_script_help(struct builder *out)
{
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++)
        builder_printf(out, "  %-26s %s\n", PARTS[i].shown, PARTS[i].help);
}

/* --- values ----------------------------------------------------------------------------------- */

static bool take_number(struct span *s, uint64_t *value)
{
    size_t n = 0;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
        n++;
    if (n == 0 || n > 10 || span_to_u64(span(s->p, n), value) != ERR_OK)
        return false;
    *s = span_from(*s, n);
    return true;
}

static bool take_text(struct span *s, struct span text)
{
    if (!span_starts(*s, text))
        return false;
    *s = span_from(*s, text.n);
    return true;
}

static bool take_time(struct span *s, uint64_t *value)
{
    static const struct {
        struct span unit;
        int64_t ns;
    } units[] = {{SPAN_INIT("us"), NS_PER_US},
                 {SPAN_INIT("ms"), NS_PER_MS},
                 {SPAN_INIT("s"), NS_PER_S},
                 {SPAN_INIT("m"), 60 * NS_PER_S}};
    if (!take_number(s, value))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (take_text(s, units[i].unit)) {
            if (*value > (uint64_t)(WAIT_MAX_NS / units[i].ns))
                return false;
            *value *= (uint64_t)units[i].ns;
            return true;
        }
    return false;
}

static bool take_size(struct span *s, uint64_t *value)
{
    if (!take_number(s, value))
        return false;
    *value *= take_text(s, SPAN("k")) ? 1024 : take_text(s, SPAN("m")) ? 1024 * 1024 : 1;
    return *value > 0 && *value <= MOCK_SIZE_MAX;
}

/* One part against one pattern, all of it. */
static bool match(const char *pattern, struct span text, uint64_t values[VALUES_MAX],
                  struct span *word)
{
    size_t count = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            if (!take_text(&text, span(pattern, 1)))
                return false;
            continue;
        }
        pattern++;
        if (*pattern == 'w') {
            *word = text;
            return text.n > 0;
        }
        uint64_t *value = &values[count++];
        if (!(*pattern == 'n'   ? take_number(&text, value)
              : *pattern == 't' ? take_time(&text, value)
                                : take_size(&text, value)))
            return false;
    }
    return text.n == 0;
}

/* --- parts ------------------------------------------------------------------------------------ */

static bool set_trouble(struct mock_script *s, enum mock_trouble trouble)
{
    if (s->trouble != TROUBLE_NONE)
        return false;
    s->trouble = trouble;
    return true;
}

static bool set_middle(struct mock_script *s, enum mock_trouble trouble, uint64_t after)
{
    s->after = (uint32_t)after;
    return after <= MOCK_CHUNKS_MAX && set_trouble(s, trouble);
}

static bool set_status(struct mock_script *s, uint64_t status, int64_t retry_after_ns)
{
    if (status < 300 || status > 599)
        return false;
    s->error = mock_error_of_status((int)status);
    if (retry_after_ns >= 0) /* the field counts in seconds: rounded up */
        s->retry_after_s = (retry_after_ns + NS_PER_S - 1) / NS_PER_S;
    return set_trouble(s, TROUBLE_STATUS);
}

static bool set_usage(struct mock_script *s, const uint64_t v[VALUES_MAX])
{
    s->has_usage = true;
    s->prompt_tokens = v[0];
    s->completion_tokens = v[1];
    s->cached_tokens = v[2];
    s->reasoning_tokens = v[3];
    return v[2] <= v[0] && v[3] <= v[1];
}

static bool set_stream(struct mock_script *s, const uint64_t v[VALUES_MAX])
{
    s->chunks = (uint32_t)v[0];
    s->pause_ns = (int64_t)v[1];
    return v[0] >= 1 && v[0] <= MOCK_CHUNKS_MAX;
}

static bool set_drip(struct mock_script *s, const uint64_t v[VALUES_MAX])
{
    s->drip_bytes = (uint32_t)v[0];
    s->drip_pause_ns = (int64_t)v[1];
    return v[0] >= 1 && v[0] <= MOCK_SIZE_MAX;
}

static bool set_tools(struct mock_script *s, uint64_t calls)
{
    s->tool_calls = (uint32_t)calls;
    return calls >= 1 && calls <= MOCK_TOOL_CALLS_MAX;
}

static bool set_fails(struct mock_script *s, uint64_t calls)
{
    s->fails = (uint32_t)calls;
    return calls >= 1 && calls <= MOCK_CHUNKS_MAX;
}

static bool set_finish(struct mock_script *s, struct span word)
{
    static const struct span reasons[] = {SPAN_INIT("stop"), SPAN_INIT("length"),
                                          SPAN_INIT("tool_calls"), SPAN_INIT("content_filter")};
    s->finish_reason = word;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (span_eq(word, reasons[i]))
            return true;
    return false;
}

static bool set_error(struct mock_script *s, struct span word)
{
    const struct mock_error *error = mock_error_of_code(word);
    if (!error)
        return false;
    s->error = *error;
    return set_trouble(s, TROUBLE_STATUS);
}

static bool apply(struct mock_script *s, enum part part, const uint64_t v[VALUES_MAX],
                  struct span word)
{
    switch (part) {
    case PART_OK:
    case PART_ID:
        return true;
    case PART_SLOW:
        s->slow_ns = (int64_t)v[0];
        return true;
    case PART_FIRST:
        s->first_ns = (int64_t)v[0];
        return true;
    case PART_STREAM:
        return set_stream(s, v);
    case PART_STATUS:
        return set_status(s, v[0], -1);
    case PART_STATUS_RETRY:
        return set_status(s, v[0], (int64_t)v[1]);
    case PART_ERROR:
        return set_error(s, word);
    case PART_RESET:
        return set_trouble(s, TROUBLE_RESET);
    case PART_HANG:
        return set_trouble(s, TROUBLE_HANG);
    case PART_CUT:
        return set_middle(s, TROUBLE_CUT, v[0]);
    case PART_STALL:
        return set_middle(s, TROUBLE_STALL, v[0]);
    case PART_ERROR_AFTER:
        return set_middle(s, TROUBLE_ERROR_AFTER, v[0]);
    case PART_BADJSON:
        return set_trouble(s, TROUBLE_BADJSON);
    case PART_GARBAGE:
        return set_trouble(s, TROUBLE_GARBAGE);
    case PART_TOOL:
        return set_tools(s, 1);
    case PART_TOOLS:
        return set_tools(s, v[0]);
    case PART_TOKENS:
    case PART_TOKENS_CACHED:
    case PART_TOKENS_ALL:
        return set_usage(s, v);
    case PART_FAIL:
        return set_fails(s, v[0]);
    case PART_SIZE:
        s->size_bytes = v[0];
        return true;
    case PART_DRIP:
        return set_drip(s, v);
    case PART_ECHO:
        s->echoes = true;
        return true;
    case PART_NOISE:
        s->is_noisy = true;
        return true;
    case PART_NO_USAGE:
        s->hides_usage = true;
        return true;
    case PART_NO_DONE:
        s->hides_done = true;
        return true;
    case PART_FINISH:
        return set_finish(s, word);
    }
    return false;
}

static bool read_part(struct mock_script *s, struct span text)
{
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        uint64_t values[VALUES_MAX] = {0};
        struct span word = {0};
        if (text.n && *PARTS[i].pattern == *text.p && match(PARTS[i].pattern, text, values, &word))
            return apply(s, PARTS[i].part, values, word);
    }
    return false;
}

enum err mock_script_parse(struct span name, struct mock_script *script, struct failure *why)
{
    *script = (struct mock_script){.retry_after_s = -1};
    struct span rest = name, part;
    (void)take_text(&rest, SPAN("mock-"));
    bool more;
    do {
        more = span_cut(rest, '+', &part, &rest);
        if (!read_part(script, part))
            return fail(why, ERR_BAD_REQUEST,
                        "the script \"%.*s\" has a part that says nothing: "
                        "\"%.*s\"",
                        SPAN_ARG(name), SPAN_ARG(part));
    } while (more);
    if (script->fails && script->trouble == TROUBLE_NONE)
        return set_status(script, 500, -1) ? ERR_OK : ERR_BAD_REQUEST;
    return ERR_OK;
}
