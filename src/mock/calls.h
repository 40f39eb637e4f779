/* calls.h -- what the mock received, for GET /mock/calls, and the counters behind fail-N-then-ok.
 *
 * Why: a test asks the provider's side what really arrived: how often, by which key, which bytes.
 *
 * Owns:      a ring of copies.
 * Bounds:    calls_max calls; of a body body_max bytes; CALL_TEXT_MAX bytes of everything else;
 *            COUNTERS_MAX counters, all of which are forgotten when there are more.
 * Errors:    a call that finds no memory is counted and not kept.
 * Suspends:  never.     Threads: any; a mutex is held for as long as a copy or a list takes.
 *
 * Values of Authorization and its kin, and of a query's key=, are masked but for the last four
 * characters, so that a list says which key came and does not give it away.
 */
#ifndef PENSTOCK_MOCK_CALLS_H
#define PENSTOCK_MOCK_CALLS_H

#include "base/builder.h"
#include "http/message.h"

enum { CALL_TEXT_MAX = 128 * 1024, COUNTERS_MAX = 4096 };

struct mock_calls;

MUST_USE struct mock_calls *mock_calls_new(size_t calls_max, size_t body_max);
void mock_calls_free(struct mock_calls *c);

/* How a call ended. */
enum mock_outcome {
    MOCK_OPEN,     /* not yet */
    MOCK_ANSWERED, /* the whole answer went out */
    MOCK_BROKEN,   /* the script broke it off */
    MOCK_GONE,     /* the caller went away, or did not read */
};

/* Notes a request; the answer is its number, counted from 1. */
uint64_t mock_calls_add(struct mock_calls *c, const struct http_head *head, struct span model,
                        bool streams, struct span body);
void mock_calls_end(struct mock_calls *c, uint64_t number, int status, enum mock_outcome outcome);

/* Forgets the calls and the counters; numbers go on. */
void mock_calls_clear(struct mock_calls *c);

/* The calls as a JSON array, the oldest first. */
MUST_USE enum err mock_calls_list(struct mock_calls *c, struct builder *out);

/* How many calls this model and key have made before this one. */
MUST_USE enum err mock_calls_count(struct mock_calls *c, struct span model, struct span key,
                                   uint64_t *before);

#endif
