/* build.h -- from a decoded tree to the snapshot, and the mistakes that only the whole shows.
 *
 * Why: a target that names no provider or a key without its team is right word for word; what
 * belongs together is checked where it is put together.
 *
 * Owns:      nothing: results live in the arenas of the config and of its policy.
 * Errors:    mistakes go to the report; the functions answer ERR_NO_MEMORY only. They go on after
 *            a mistake, and what they build then is thrown away by the caller.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_CONFIG_BUILD_H
#define PENSTOCK_CONFIG_BUILD_H

#include "config/config.h"
#include "config/decode.h"

struct build {
    struct arena *scratch; /* dies with the tree */
    struct report *report;
    const struct node *root;
    struct config *config;
    struct policy *policy;
};

/* In this order: each relies on those before it. */
MUST_USE enum err build_server(struct build *b);
MUST_USE enum err build_providers(struct build *b);
MUST_USE enum err build_models(struct build *b);
MUST_USE enum err build_routes(struct build *b);
MUST_USE enum err build_keys(struct build *b);

/* Tells that there is no `what` of that name among a mapping's (NULL: it has none), and which is
 * near. */
void build_tell_unknown(struct build *b, struct place at, const char *what, struct span name,
                        const struct node *mapping);

/* Checks that a word of a route or a list of allowed models (which may hold patterns) names
 * something. */
void build_check_model_word(struct build *b, const struct node *n);

/* A copy that is overwritten before its memory is given back. */
MUST_USE enum err build_secret(struct arena *a, struct span text, struct secret *s);

/* The names of a list of texts, in the policy's arena. */
MUST_USE enum err build_names(struct build *b, const struct node *list, struct span **names,
                              size_t *count);

#endif
