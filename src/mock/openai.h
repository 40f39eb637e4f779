/* openai.h -- what the sources of the OpenAI dialect know of each other; private to this room.
 *
 * Why: reading a request's members is the same for chat, completions and embeddings.
 *
 * Owns:      nothing: all lives in the request's body and arena.
 * Errors:    an answer of 400 leaves *go_on false.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_MOCK_OPENAI_H
#define PENSTOCK_MOCK_OPENAI_H

#include "mock/call.h"
#include "json/value.h"
#include "json/write.h"

/* The members of a body that anything here looks at; openai.c has their names. */
enum openai_member {
    OPENAI_MODEL,
    OPENAI_MESSAGES,
    OPENAI_STREAM,
    OPENAI_STREAM_OPTIONS,
    OPENAI_N,
    OPENAI_MAX_TOKENS,
    OPENAI_MAX_COMPLETION_TOKENS,
    OPENAI_STOP,
    OPENAI_TOOLS,
    OPENAI_TOOL_CHOICE,
    OPENAI_PARALLEL_TOOL_CALLS,
    OPENAI_RESPONSE_FORMAT,
    OPENAI_PROMPT,
    OPENAI_INPUT,
    OPENAI_ENCODING_FORMAT,
    OPENAI_DIMENSIONS,
    OPENAI_SEED,
    OPENAI_MEMBER_COUNT
};

enum { OPENAI_CHOICES_MAX = 128, OPENAI_STOPS_MAX = 4 };

/* The same for every answer, or answers would differ: 2025-01-01T00:00:00Z. */
#define OPENAI_CREATED_TEXT "1735689600"

struct openai_request {
    struct span member[OPENAI_MEMBER_COUNT]; /* raw; empty when absent or null */
    bool streams, includes_usage;
    uint64_t n, max_tokens; /* UINT64_MAX: none */
    struct span stops[OPENAI_STOPS_MAX];
    size_t stop_count;
    uint64_t prompt_tokens;
    struct span last_text;
    bool last_is_tool;
};

/* Scans the body, begins the call, and reads the members that all endpoints share. */
MUST_USE SUSPENDS enum err openai_read(struct mock_call *c, struct openai_request *r, bool *go_on);

/* One text of the prompt: counted, and part of the fingerprint. `raw` is a string. */
MUST_USE enum err openai_add_text(struct mock_call *c, struct openai_request *r, struct span raw);

/* 400: a member has a wrong type, or is missing. */
MUST_USE SUSPENDS enum err openai_wrong_type(struct mock_call *c, const char *param,
                                             const char *expected, struct span got);

/* "chatcmpl-" and sixteen hex digits of the fingerprint. */
void openai_write_id(struct builder *out, const struct mock_call *c, struct span prefix);

SUSPENDS enum err openai_serve_chat(struct mock_call *c);
SUSPENDS enum err openai_serve_completions(struct mock_call *c);
SUSPENDS enum err openai_serve_embeddings(struct mock_call *c);

#endif
