/* mock.h -- the mock provider: a provider's side of the wire, scripted by the model's name.
 *
 * Why: demos, tests and benches need a provider that costs nothing, answers the same request with
 * the same bytes, reports usage that a test can compute by itself, and fails exactly as asked. The
 * rules it keeps are written down for its users in docs/mock.md.
 *
 * Owns:      the rules of its script file, the calls that it remembers, the counters of fail-N.
 * Bounds:    calls_max calls of at most call_body_max body bytes each are remembered; an answer is
 *            at most MOCK_ANSWER_MAX bytes.
 * Errors:    mock_new: ERR_BAD_REQUEST (the script file, `why` says FILE:LINE), ERR_IO,
 *            ERR_NO_MEMORY.
 * Suspends:  mock_handler.     Threads: mock_handler any loop's; the others one at a time.
 */
#ifndef PENSTOCK_MOCK_MOCK_H
#define PENSTOCK_MOCK_MOCK_H

#include "http/server.h"

enum { MOCK_ANSWER_MAX = 64 * 1024 * 1024 };

struct mock;

struct mock_options {
    const char *script_file; /* NULL: the model's name alone scripts it */
    size_t calls_max;        /* remembered calls; 0: none */
    size_t call_body_max;    /* bytes that are remembered of a body; the rest is cut */
};

MUST_USE enum err mock_new(const struct mock_options *options, struct mock **mock,
                           struct failure *why);

/* No request may be in its handler. NULL is fine. */
void mock_free(struct mock *m);

/* An http_handler; `mock` is a struct mock. */
SUSPENDS void mock_handler(struct http_request *rq, void *mock);

/* One line for each word that a model's name can be made of, for --help. */
void mock_script_help(struct builder *out);

#endif
