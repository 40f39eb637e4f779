/* record.h -- what is known of one call when it is over: the usage record of the contract.
 *
 * Why: the access log, and later the ledger and the record store, say the same thing in the same
 * words because they are made from the same struct.
 *
 * Owns:      nothing.
 * Lends:     nothing; spans are borrowed while it is written.
 * Bounds:    RECORD_TEXT_MAX bytes of JSON; texts of callers are cut before.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_WATCH_RECORD_H
#define PENSTOCK_WATCH_RECORD_H

#include "base/builder.h"

enum { RECORD_TEXT_MAX = 16 * 1024, RECORD_ATTEMPTS_MAX = 8, RECORD_WORD_MAX = 40 };

struct record_attempt {
    struct span target;  /* "provider/model" */
    const char *outcome; /* "ok", or an error's code */
    int64_t took_ns;
};

struct record {
    struct span id;
    int64_t wall_ns; /* when the call came */
    struct span organisation, team, project, user, key, route, tags;
    struct span model, target;
    const char *dialect, *endpoint, *reason; /* words of ours, see below; NULL: none */
    const struct record_attempt *attempts;
    size_t attempt_count; /* at most RECORD_ATTEMPTS_MAX */
    bool stream;
    int status;
    const char *error; /* a public code, or NULL */
    bool has_tokens;
    int64_t input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens;
    int64_t total_ns, first_token_ns, overhead_ns; /* first_token_ns < 0: there was none */
};

/* One line of JSON, with its newline; `out` must take RECORD_TEXT_MAX bytes. An empty text is null.
 * The words that are C strings are written as they stand: RECORD_WORD_MAX bytes at most, of
 * letters that need no escape. ERR_TOO_LARGE when the texts are too long for one line. */
MUST_USE enum err record_write(struct builder *out, const struct record *r);

#endif
