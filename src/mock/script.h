/* script.h -- the scripts in a model's name: "mock-slow-100ms+stream-20x5ms".
 *
 * Why: any client of any language can name a model, so the name is where trouble is asked for.
 *
 * Owns:      a rule book its text; a script nothing.
 * Lends:     mock_rules_find's script text, until mock_rules_free.
 * Bounds:    waits of an hour, MOCK_CHUNKS_MAX chunks, MOCK_SIZE_MAX bytes of text.
 * Errors:    ERR_BAD_REQUEST with a text that names the part or the line; ERR_IO; ERR_NO_MEMORY.
 * Suspends:  never.     Threads: any; a rule book is immutable once loaded.
 */
#ifndef PENSTOCK_MOCK_SCRIPT_H
#define PENSTOCK_MOCK_SCRIPT_H

#include "base/builder.h"
#include "mock/errors.h"

enum {
    MOCK_CHUNKS_MAX = 1000000,
    MOCK_SIZE_MAX = 16 * 1024 * 1024,
    MOCK_TOOL_CALLS_MAX = 64,
};

/* What goes wrong; at most one kind a script. */
enum mock_trouble {
    TROUBLE_NONE,
    TROUBLE_STATUS,      /* an error answer */
    TROUBLE_RESET,       /* the connection dies before the answer */
    TROUBLE_HANG,        /* there is never an answer */
    TROUBLE_CUT,         /* the answer dies in the middle */
    TROUBLE_STALL,       /* the answer stops in the middle and never goes on */
    TROUBLE_ERROR_AFTER, /* an error inside the stream, after some chunks */
    TROUBLE_BADJSON,     /* the framing is right, the JSON is not */
    TROUBLE_GARBAGE,     /* no JSON and no text */
};

struct mock_script {
    int64_t slow_ns, first_ns; /* before the head; between the head and the first chunk */
    uint32_t chunks;           /* 0: one a token */
    int64_t pause_ns;          /* after each chunk */
    uint64_t size_bytes;       /* of the text; 0: the usual length */
    bool has_usage;            /* the next five are what is reported */
    uint64_t prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens;
    uint32_t tool_calls; /* 0: none unless the request demands one */
    bool echoes;         /* the answer is the last message's text */
    bool hides_usage;    /* no usage figures at all */
    bool hides_done;     /* a stream ends without [DONE] */
    bool is_noisy;       /* comments between the events of a stream */
    uint32_t drip_bytes; /* 0: whole; else the body comes in pieces of so many bytes */
    int64_t drip_pause_ns;
    struct span finish_reason; /* empty: the true one */

    enum mock_trouble trouble;
    struct mock_error error; /* of TROUBLE_STATUS */
    int64_t retry_after_s;   /* -1: as the status usually has it */
    uint32_t after;          /* chunks before the middle */
    uint32_t fails;          /* trouble in the first so many calls only; 0: always */
};

/* Reads what follows "mock-" (the prefix may be there): parts joined by '+'. `name` must live as
 * long as the script. */
MUST_USE enum err mock_script_parse(struct span name, struct mock_script *script,
                                    struct failure *why);

/* A file of lines "PATTERN SCRIPT"; '#' starts a comment. A pattern is a model's name with at most
 * one '*'. The first that matches counts. */
struct mock_rules;
MUST_USE enum err mock_rules_load(const char *file, struct mock_rules **rules, struct failure *why);
MUST_USE enum err mock_rules_read(const char *file, struct span text, struct mock_rules **rules,
                                  struct failure *why);
void mock_rules_free(struct mock_rules *rules);

/* The script for a model; false when no line speaks about it. `rules` may be NULL. */
bool mock_rules_find(const struct mock_rules *rules, struct span model, struct span *script);

#endif
