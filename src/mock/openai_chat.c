#include "mock/openai.h"

#include "base/encode.h"
#include "mock/sample.h"

/* The usual answer has this many words; a chunk of a text of a given size this many bytes. */
enum { WORDS_USUAL = 16, SIZED_CHUNK_BYTES = 1024 };

struct tool_call {
    struct span name; /* raw, with its quotes */
    struct mock_text arguments;
};

struct choice {
    struct mock_text text;
    struct span finish;
};

/* What is answered: n texts, or the same tool calls n times. */
struct answer {
    struct mock_call *c;
    const struct openai_request *r;
    bool is_chat; /* else legacy completions */
    struct choice *choices;
    size_t choice_count;
    struct tool_call *tools;
    size_t tool_count;
    uint64_t completion_tokens;
    struct builder *frame;
    struct span frame_head; /* what all events of the stream begin with */
};

/* --- reading ---------------------------------------------------------------------------------- */

/* A string, or a list of parts of which those with a text count. */
static SUSPENDS enum err read_content(struct mock_call *c, struct openai_request *r,
                                      struct span content, bool *go_on)
{
    struct json_walk w = json_walk(content);
    switch (json_kind(content)) {
    case JSON_STRING:
        return openai_add_text(c, r, content);
    case JSON_ARRAY:
        while (json_walk_next(&w)) {
            const struct span text = json_member(w.value, SPAN("text"));
            if (json_kind(text) == JSON_STRING)
                TRY(openai_add_text(c, r, text));
        }
        return ERR_OK;
    case JSON_NONE: /* an assistant that called tools */
    case JSON_NULL:
        return ERR_OK;
    case JSON_BOOL:
    case JSON_NUMBER:
    case JSON_OBJECT:
        break;
    }
    *go_on = false;
    return openai_wrong_type(c, "messages[].content", "a string or an array of parts", content);
}

static SUSPENDS enum err read_message(struct mock_call *c, struct openai_request *r,
                                      struct span message, bool *go_on)
{
    struct json_walk w = json_walk(message);
    struct span role = {0}, content = {0};
    while (w.is_object && json_walk_next(&w)) {
        if (span_eq(w.name, SPAN("\"role\"")))
            role = w.value;
        else if (span_eq(w.name, SPAN("\"content\"")))
            content = w.value;
    }
    if (json_kind(role) != JSON_STRING) {
        *go_on = false;
        return openai_wrong_type(c, "messages[].role", "a string", role);
    }
    r->last_is_tool = json_string_is(role, SPAN("tool"));
    return read_content(c, r, content, go_on);
}

static SUSPENDS enum err read_messages(struct mock_call *c, struct openai_request *r, bool *go_on)
{
    const struct span messages = r->member[OPENAI_MESSAGES];
    struct json_walk w = json_walk(messages);
    if (json_kind(messages) != JSON_ARRAY) {
        *go_on = false;
        return openai_wrong_type(c, "messages", "an array of objects", messages);
    }
    bool has_any = false;
    while (*go_on && json_walk_next(&w)) {
        has_any = true;
        TRY(read_message(c, r, w.value, go_on));
    }
    if (has_any || !*go_on)
        return ERR_OK;
    *go_on = false;
    return mock_refuse(c, SPAN("empty_array"), SPAN("messages"),
                       "Invalid 'messages': empty array. Expected an array with minimum length 1, "
                       "but got an empty array instead.");
}

/* A text, a list of token numbers, or a list of either; *count is how many prompts that is. */
static enum err read_prompt(struct mock_call *c, struct openai_request *r, struct span prompt,
                            size_t *count)
{
    struct json_walk w = json_walk(prompt);
    size_t lists = 0;
    *count = 0;
    if (json_kind(prompt) == JSON_STRING) {
        *count = 1;
        return openai_add_text(c, r, prompt);
    }
    while (json_kind(prompt) == JSON_ARRAY && json_walk_next(&w)) {
        if (json_kind(w.value) == JSON_STRING) {
            TRY(openai_add_text(c, r, w.value));
            lists++;
            continue;
        }
        mock_print_add(&c->print, w.value);
        struct json_walk inner = json_walk(w.value);
        while (json_walk_next(&inner))
            r->prompt_tokens++;
        if (json_kind(w.value) == JSON_ARRAY)
            lists++;
        else if (json_kind(w.value) == JSON_NUMBER)
            r->prompt_tokens++;
        else
            return ERR_BAD_REQUEST;
        *count = 1;
    }
    *count = MAX(*count, lists);
    return *count ? ERR_OK : ERR_BAD_REQUEST;
}

/* --- tool calls ------------------------------------------------------------------------------- */

/* The raw object under "function" of the index-th function tool, from 0; empty when there is none.
 * With a name: of the tool of that name. */
static struct span find_tool(struct span tools, size_t index, struct span name)
{
    struct json_walk w = json_walk(tools);
    while (!w.is_object && json_walk_next(&w)) {
        const struct span function = json_member(w.value, SPAN("function"));
        const struct span own_name = json_member(function, SPAN("name"));
        if (json_kind(own_name) != JSON_STRING)
            continue;
        if (name.n ? json_string_cmp(own_name, name) == 0 : index-- == 0)
            return function;
    }
    return (struct span){0};
}

static size_t count_tools(struct span tools)
{
    size_t n = 0;
    while (find_tool(tools, n, (struct span){0}).n)
        n++;
    return n;
}

/* How many calls the answer makes: what the script says, else one where the request demands it. */
static size_t tools_wanted(const struct answer *a, struct span *name)
{
    const struct openai_request *r = a->r;
    const struct span choice = r->member[OPENAI_TOOL_CHOICE];
    bool parallel = true;
    *name = json_member(json_member(choice, SPAN("function")), SPAN("name"));
    const bool is_demanded = name->n || json_string_is(choice, SPAN("required"));
    size_t wanted = MAX(a->c->script.tool_calls, is_demanded ? 1u : 0u);
    if (!a->is_chat || r->last_is_tool || json_string_is(choice, SPAN("none")))
        return 0; /* an agent that got its results is told something, or it never ends */
    if (json_to_bool(r->member[OPENAI_PARALLEL_TOOL_CALLS], &parallel) == ERR_OK && !parallel)
        wanted = MIN(wanted, (size_t)1);
    return wanted;
}

static enum err make_tool_call(struct answer *a, struct span function, uint64_t seed,
                               struct tool_call *call)
{
    const struct span parameters = json_member(function, SPAN("parameters"));
    if (function.n == 0) {
        *call = (struct tool_call){SPAN("\"get_weather\""),
                                   mock_text_of(SPAN("{\"location\":\"Paris\"}"))};
        return ERR_OK;
    }
    struct builder *arguments = mock_builder(a->c, 256);
    TRY_ALLOC(arguments);
    TRY(mock_sample(arguments, parameters.n ? parameters : SPAN("{\"type\":\"object\"}"), seed));
    *call = (struct tool_call){json_member(function, SPAN("name")),
                               mock_text_of(builder_span(arguments))};
    return ERR_OK;
}

static enum err make_tool_calls(struct answer *a, size_t wanted, struct span name)
{
    const struct span tools = a->r->member[OPENAI_TOOLS];
    const size_t offered = count_tools(tools);
    uint64_t left = a->r->max_tokens;
    a->tools = ARENA_NEW_ARRAY(&a->c->rq->arena, struct tool_call, wanted);
    TRY_ALLOC(a->tools);
    for (size_t i = 0; i < wanted; i++) {
        struct tool_call *call = &a->tools[i];
        const struct span function = find_tool(tools, offered ? i % offered : 0, name);
        TRY(make_tool_call(a, function, mock_mix(a->c->print.value, 100 + i), call));
        if (mock_text_limit(&call->arguments, left))
            a->choices[0].finish = SPAN("length");
        left -= left == UINT64_MAX ? 0 : MIN(left, mock_tokens(call->arguments.bytes));
        a->completion_tokens += mock_tokens(call->name.n - 2) + mock_tokens(call->arguments.bytes);
    }
    a->tool_count = wanted;
    return ERR_OK;
}

/* --- texts ------------------------------------------------------------------------------------ */

static enum err make_format(struct answer *a, uint64_t seed, struct mock_text *text, bool *is_json)
{
    const struct span format = a->r->member[OPENAI_RESPONSE_FORMAT];
    const struct span type = json_member(format, SPAN("type"));
    const bool has_schema = json_string_is(type, SPAN("json_schema"));
    *is_json = has_schema || json_string_is(type, SPAN("json_object"));
    if (!*is_json)
        return ERR_OK;
    const struct span schema =
        has_schema ? json_member(json_member(format, SPAN("json_schema")), SPAN("schema"))
                   : SPAN("{\"properties\":{\"answer\":{\"type\":\"string\",\"minLength\":40}}}");
    struct builder *out = mock_builder(a->c, 256);
    TRY_ALLOC(out);
    TRY(mock_sample(out, schema, seed));
    *text = mock_text_of(builder_span(out));
    return ERR_OK;
}

static enum err make_choice(struct answer *a, size_t index)
{
    const struct mock_script *s = &a->c->script;
    struct choice *choice = &a->choices[index];
    const uint64_t seed = mock_mix(a->c->print.value, 2 + index);
    bool is_json = false, was_stopped = false;
    if (a->is_chat && !s->echoes)
        TRY(make_format(a, seed, &choice->text, &is_json));
    if (s->echoes) {
        choice->text = mock_text_of(a->r->last_text);
    } else if (!is_json) {
        const uint64_t words = s->chunks ? s->chunks : WORDS_USUAL;
        choice->text = mock_text_of_words(seed, s->size_bytes ? s->size_bytes : words * 4);
    }
    const bool was_cut = mock_text_limit(&choice->text, a->r->max_tokens);
    if (a->r->stop_count)
        TRY(mock_text_stop(&choice->text, a->r->stops, a->r->stop_count, &was_stopped));
    choice->finish = was_cut && !was_stopped ? SPAN("length") : SPAN("stop");
    a->completion_tokens += mock_tokens(choice->text.bytes);
    return ERR_OK;
}

static enum err make_answer(struct answer *a, size_t prompts)
{
    const struct span scripted = a->c->script.finish_reason;
    struct span name;
    a->choice_count = a->r->n * prompts;
    a->choices = ARENA_NEW_ARRAY(&a->c->rq->arena, struct choice, a->choice_count);
    TRY_ALLOC(a->choices);
    const size_t wanted = tools_wanted(a, &name);
    if (wanted) {
        a->choices[0].finish = SPAN("tool_calls");
        TRY(make_tool_calls(a, wanted, name));
        a->completion_tokens *= a->choice_count;
    }
    for (size_t i = 0; i < a->choice_count; i++) {
        if (wanted)
            a->choices[i] = a->choices[0];
        else
            TRY(make_choice(a, i));
        if (scripted.n)
            a->choices[i].finish = scripted;
    }
    return ERR_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_mostly_zero(struct builder *b, uint64_t n)
{
    if (n == 0)
        builder_add_char(b, '0');
    else
        builder_add_u64(b, n);
}

static void write_usage(struct builder *b, const struct answer *a)
{
    const struct mock_script *s = &a->c->script;
    const uint64_t prompt = s->has_usage ? s->prompt_tokens : a->r->prompt_tokens;
    const uint64_t completion = s->has_usage ? s->completion_tokens : a->completion_tokens;
    builder_add(b, SPAN("{\"prompt_tokens\":"));
    builder_add_u64(b, prompt);
    builder_add(b, SPAN(",\"completion_tokens\":"));
    builder_add_u64(b, completion);
    builder_add(b, SPAN(",\"total_tokens\":"));
    builder_add_u64(b, prompt + completion);
    if (a->is_chat) {
        builder_add(b, SPAN(",\"prompt_tokens_details\":{\"audio_tokens\":0,\"cached_tokens\":"));
        add_mostly_zero(b, s->cached_tokens);
        builder_add(b, SPAN("},\"completion_tokens_details\":{\"audio_tokens\":0,"
                            "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0,"
                            "\"reasoning_tokens\":"));
        add_mostly_zero(b, s->reasoning_tokens);
        builder_add_char(b, '}');
    }
    builder_add_char(b, '}');
}

/* Up to the choices: id, object, created, model, and what chat adds. */
static void write_head(struct builder *b, const struct answer *a, struct span object)
{
    builder_add(b, SPAN("{\"id\":\""));
    openai_write_id(b, a->c, a->is_chat ? SPAN("chatcmpl-") : SPAN("cmpl-"));
    builder_add(b, SPAN("\",\"object\":\""));
    builder_add(b, object);
    builder_add(b, SPAN("\",\"created\":" OPENAI_CREATED_TEXT ",\"model\":"));
    builder_add(b, a->r->member[OPENAI_MODEL]);
    if (a->is_chat)
        builder_add(b, SPAN(",\"service_tier\":\"default\""));
    builder_add(b, SPAN(",\"system_fingerprint\":\"fp_penstock_mock\",\"choices\":["));
}

static void write_call_id(struct builder *b, const struct answer *a, size_t index)
{
    char digits[16];
    const uint64_t id = mock_mix(a->c->print.value, 1000 + index);
    hex_encode(&id, sizeof id, digits);
    builder_add(b, SPAN("\"call_"));
    builder_add_bytes(b, digits, sizeof digits);
    builder_add_char(b, '"');
}

/* A whole tool call, or with `from` == `end` == 0 how a stream announces it. */
static void write_tool_call(struct builder *b, const struct answer *a, size_t index, uint64_t end)
{
    const struct tool_call *call = &a->tools[index];
    builder_add(b, SPAN("\"id\":"));
    write_call_id(b, a, index);
    builder_add(b, SPAN(",\"type\":\"function\",\"function\":{\"name\":"));
    builder_add(b, call->name);
    builder_add(b, SPAN(",\"arguments\":"));
    mock_text_add_json(b, &call->arguments, 0, end);
    builder_add(b, SPAN("}}"));
}

static void write_message(struct builder *b, const struct answer *a, const struct choice *choice)
{
    builder_add(b, SPAN("\"message\":{\"role\":\"assistant\",\"content\":"));
    if (a->tool_count == 0) {
        mock_text_add_json(b, &choice->text, 0, choice->text.bytes);
    } else {
        builder_add(b, SPAN("null,\"tool_calls\":["));
        for (size_t i = 0; i < a->tool_count; i++) {
            builder_add(b, i ? SPAN(",{") : SPAN("{"));
            write_tool_call(b, a, i, a->tools[i].arguments.bytes);
        }
        builder_add_char(b, ']');
    }
    builder_add(b, SPAN(",\"refusal\":null,\"annotations\":[]}"));
}

static void write_choice(struct builder *b, const struct answer *a, size_t index)
{
    const struct choice *choice = &a->choices[index];
    builder_add(b, index ? SPAN(",{\"index\":") : SPAN("{\"index\":"));
    builder_add_u64(b, index);
    builder_add_char(b, ',');
    if (a->is_chat) {
        write_message(b, a, choice);
    } else {
        builder_add(b, SPAN("\"text\":"));
        mock_text_add_json(b, &choice->text, 0, choice->text.bytes);
    }
    builder_add(b, SPAN(",\"logprobs\":null,\"finish_reason\":\""));
    builder_add(b, choice->finish);
    builder_add(b, SPAN("\"}"));
}

static SUSPENDS enum err reply_whole(struct answer *a)
{
    struct builder *b = mock_builder(a->c, 2048);
    TRY_ALLOC(b);
    write_head(b, a, a->is_chat ? SPAN("chat.completion") : SPAN("text_completion"));
    for (size_t i = 0; i < a->choice_count; i++)
        write_choice(b, a, i);
    builder_add_char(b, ']');
    if (!a->c->script.hides_usage) {
        builder_add(b, SPAN(",\"usage\":"));
        write_usage(b, a);
    }
    builder_add_char(b, '}');
    TRY(builder_check(b));
    return mock_reply_json(a->c, builder_span(b));
}

/* --- streams ---------------------------------------------------------------------------------- */

/* An event with one choice: begin, what changed, end. */
static struct builder *begin_frame(struct answer *a, size_t index)
{
    builder_clear(a->frame);
    builder_add(a->frame, a->frame_head);
    builder_add(a->frame, SPAN("{\"index\":"));
    builder_add_u64(a->frame, index);
    builder_add(a->frame, a->is_chat ? SPAN(",\"delta\":") : SPAN(",\"text\":"));
    return a->frame;
}

static enum err end_frame(struct answer *a, struct span finish, struct span *event)
{
    struct builder *b = a->frame;
    builder_add(b, SPAN(",\"logprobs\":null,\"finish_reason\":"));
    if (finish.n) {
        builder_add_char(b, '"');
        builder_add(b, finish);
        builder_add(b, SPAN("\"}]"));
    } else {
        builder_add(b, SPAN("null}]"));
    }
    builder_add(b, a->r->includes_usage ? SPAN(",\"usage\":null}\n\n") : SPAN("}\n\n"));
    *event = builder_span(b);
    return builder_check(b);
}

static SUSPENDS enum err send_event(struct answer *a, struct span finish)
{
    struct span event;
    TRY(end_frame(a, finish, &event));
    return mock_stream_event(a->c, event);
}

static SUSPENDS enum err send_chunk(struct answer *a)
{
    struct span event;
    TRY(end_frame(a, (struct span){0}, &event));
    return mock_stream_chunk(a->c, event);
}

static uint64_t pieces_of(const struct answer *a, const struct mock_text *text)
{
    const struct mock_script *s = &a->c->script;
    if (s->chunks && (text->fixed.p || s->size_bytes))
        return s->chunks;
    if (s->size_bytes && !text->fixed.p)
        return (text->bytes + SIZED_CHUNK_BYTES - 1) / SIZED_CHUNK_BYTES;
    return mock_tokens(text->bytes);
}

static SUSPENDS enum err send_piece(struct answer *a, size_t index, uint64_t i, uint64_t count)
{
    const struct mock_text *text = &a->choices[index].text;
    const uint64_t from = i ? mock_text_piece_end(text, i - 1, count) : 0;
    const uint64_t end = mock_text_piece_end(text, i, count);
    struct builder *b = begin_frame(a, index);
    if (a->is_chat)
        builder_add(b, SPAN("{\"content\":"));
    mock_text_add_json(b, text, from, end);
    if (a->is_chat)
        builder_add_char(b, '}');
    return send_chunk(a);
}

/* The choices take turns, as they do where they are made at the same time. */
static SUSPENDS enum err stream_texts(struct answer *a)
{
    bool more = true;
    for (uint64_t i = 0; more; i++) {
        more = false;
        for (size_t k = 0; k < a->choice_count; k++) {
            const uint64_t count = pieces_of(a, &a->choices[k].text);
            if (i < count)
                TRY(send_piece(a, k, i, count));
            more |= i + 1 < count;
        }
    }
    return ERR_OK;
}

static SUSPENDS enum err stream_tool_call(struct answer *a, size_t choice, size_t index)
{
    const struct mock_text *text = &a->tools[index].arguments;
    const uint64_t count = pieces_of(a, text);
    struct builder *b = begin_frame(a, choice);
    builder_add(b, SPAN("{\"tool_calls\":[{\"index\":"));
    builder_add_u64(b, index);
    builder_add_char(b, ',');
    write_tool_call(b, a, index, 0);
    builder_add(b, SPAN("]}"));
    TRY(send_event(a, (struct span){0}));
    for (uint64_t i = 0; i < count; i++) {
        b = begin_frame(a, choice);
        builder_add(b, SPAN("{\"tool_calls\":[{\"index\":"));
        builder_add_u64(b, index);
        builder_add(b, SPAN(",\"function\":{\"arguments\":"));
        mock_text_add_json(b, text, i ? mock_text_piece_end(text, i - 1, count) : 0,
                           mock_text_piece_end(text, i, count));
        builder_add(b, SPAN("}}]}"));
        TRY(send_chunk(a));
    }
    return ERR_OK;
}

static SUSPENDS enum err stream_tools(struct answer *a)
{
    for (size_t k = 0; k < a->choice_count; k++)
        for (size_t i = 0; i < a->tool_count; i++)
            TRY(stream_tool_call(a, k, i));
    return ERR_OK;
}

static SUSPENDS enum err stream_roles(struct answer *a)
{
    for (size_t k = 0; a->is_chat && k < a->choice_count; k++) {
        struct builder *b = begin_frame(a, k);
        builder_add(b, SPAN("{\"role\":\"assistant\",\"content\":"));
        builder_add(b, a->tool_count ? SPAN("null") : SPAN("\"\""));
        builder_add(b, SPAN(",\"refusal\":null}"));
        TRY(send_event(a, (struct span){0}));
    }
    return ERR_OK;
}

static SUSPENDS enum err stream_ends(struct answer *a)
{
    for (size_t k = 0; k < a->choice_count; k++) {
        builder_add(begin_frame(a, k), a->is_chat ? SPAN("{}") : SPAN("\"\""));
        TRY(send_event(a, a->choices[k].finish));
    }
    if (a->r->includes_usage && !a->c->script.hides_usage) {
        builder_clear(a->frame);
        builder_add(a->frame, a->frame_head);
        builder_add(a->frame, SPAN("],\"usage\":"));
        write_usage(a->frame, a);
        builder_add(a->frame, SPAN("}\n\n"));
        TRY(builder_check(a->frame));
        TRY(mock_stream_event(a->c, builder_span(a->frame)));
    }
    return a->c->script.hides_done ? ERR_OK : mock_stream_event(a->c, SPAN("data: [DONE]\n\n"));
}

static SUSPENDS enum err reply_stream(struct answer *a)
{
    struct builder *head = mock_builder(a->c, 512);
    TRY_ALLOC(head);
    a->frame = mock_builder(a->c, 1024);
    TRY_ALLOC(a->frame);
    builder_add(head, SPAN("data: "));
    write_head(head, a, a->is_chat ? SPAN("chat.completion.chunk") : SPAN("text_completion"));
    TRY(builder_check(head));
    a->frame_head = builder_span(head);
    TRY(mock_stream_begin(a->c, SPAN("text/event-stream; charset=utf-8")));
    TRY(stream_roles(a));
    TRY(a->tool_count ? stream_tools(a) : stream_texts(a));
    TRY(mock_stream_tail(a->c));
    TRY(stream_ends(a));
    return mock_stream_end(a->c);
}

/* --- the endpoints ---------------------------------------------------------------------------- */

static SUSPENDS enum err reply(struct answer *a, size_t prompts)
{
    TRY(make_answer(a, prompts));
    return a->r->streams ? reply_stream(a) : reply_whole(a);
}

enum err openai_serve_chat(struct mock_call *c)
{
    struct openai_request r;
    struct answer a = {.c = c, .r = &r, .is_chat = true};
    bool go_on;
    TRY(openai_read(c, &r, &go_on));
    if (go_on)
        TRY(read_messages(c, &r, &go_on));
    return go_on ? reply(&a, 1) : ERR_OK;
}

enum err openai_serve_completions(struct mock_call *c)
{
    struct openai_request r;
    struct answer a = {.c = c, .r = &r};
    size_t prompts;
    bool go_on;
    TRY(openai_read(c, &r, &go_on));
    if (!go_on)
        return ERR_OK;
    const enum err e = read_prompt(c, &r, r.member[OPENAI_PROMPT], &prompts);
    if (e == ERR_BAD_REQUEST)
        return openai_wrong_type(c, "prompt", "a string, token numbers, or an array of them",
                                 r.member[OPENAI_PROMPT]);
    TRY(e);
    if (prompts > OPENAI_CHOICES_MAX)
        return mock_refuse(c, SPAN("array_above_max_length"), SPAN("prompt"),
                           "Invalid 'prompt': at most %d of them.", OPENAI_CHOICES_MAX);
    return reply(&a, prompts);
}
