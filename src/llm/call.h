/* call.h -- what a caller asks of a model, as far as a decision needs it.
 *
 * Why: the stages decide by a few members of the body; the rest is forwarded as it came. Each
 * member is kept as the raw bytes that it was, so that an edit changes those and nothing else.
 *
 * Owns:      nothing; decoded text lies in the request's arena.
 * Lends:     spans of the body, while the body lives.
 * Bounds:    the body's, see the configuration.
 * Errors:    ERR_BAD_JSON, ERR_BAD_REQUEST, with the reason in the failure slot.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_LLM_CALL_H
#define PENSTOCK_LLM_CALL_H

#include "base/arena.h"
#include "base/builder.h"
#include "llm/provider.h"
#include "json/edit.h"

enum endpoint {
    ENDPOINT_CHAT,
    ENDPOINT_COMPLETIONS,
    ENDPOINT_EMBEDDINGS,
    ENDPOINT_MODELS, /* the list, or one of it */
    ENDPOINT_COUNT
};

/* "chat", "completions", ...: for metrics and records. */
const char *endpoint_name(enum endpoint e);

struct call {
    enum endpoint endpoint;
    struct span body;
    struct span model;     /* decoded */
    struct span model_raw; /* as it stands in the body */
    bool stream;
    bool has_max_tokens;
    uint64_t max_tokens; /* the caller's bound on the answer; max_completion_tokens counts */
    struct span max_raw; /* the member that said so */
};

/* What a provider says it used. Absent figures are 0; `is_known` tells whether it said anything. */
struct usage {
    bool is_known;
    int64_t input, cached, cache_write, output, reasoning;
};

/* No provider reports more for one call; what claims to is clamped. */
#define USAGE_TOKENS_MAX INT64_C(1000000000)

/* --- the OpenAI dialect ----------------------------------------------------------------------- */

/* Prepares what the functions below share; once a process, before threads start. */
void openai_init(void);

/* Reads the members that decide from the body of a chat completion, completion or embedding. */
MUST_USE enum err openai_decode(struct call *call, enum endpoint endpoint, struct span body,
                                struct arena *a, struct failure *why);

/* The edits that turn the caller's body into the target's: its model, and a bound on the answer
 * where `max_tokens` is not 0 and lower than the caller's. New text lies in the arena. */
MUST_USE enum err openai_encode(const struct call *call, const struct provider *provider,
                                struct span model, uint64_t max_tokens, struct arena *a,
                                struct json_pieces *pieces);

/* The path behind the provider's own: "/chat/completions". */
struct span openai_path(enum endpoint endpoint);

/* Checks a whole answer and reads its usage. ERR_BAD_JSON: it is none. */
MUST_USE enum err openai_read_answer(struct span body, struct usage *usage);

/* One event of a stream. */
enum stream_event { STREAM_DELTA, STREAM_USAGE, STREAM_DONE, STREAM_ERROR };
enum stream_event openai_read_event(struct span data, struct usage *usage);

/* An error body in the dialect's shape, from our own failure. */
MUST_USE enum err openai_write_error(struct builder *out, enum err code, struct span message);

#endif
