/* interpolate.h -- ${NAME} and ${NAME:-default} in the text of a configuration.
 *
 * Why: secrets stay out of the file. A reference stands in plain YAML, also inside {...}, where
 * YAML itself would take its braces for its own: so references are hidden from the YAML parser, one
 * character for one character, and expanded in the values that come out. What a variable holds is
 * text and never YAML: it cannot add words to the file.
 *
 *   ${NAME}            the variable; a mistake when it is not set
 *   ${NAME:-default}   the default when the variable is not set or empty
 *   $${                the two characters ${
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_INTERPOLATE_H
#define PENSTOCK_CONFIG_INTERPOLATE_H

#include "base/arena.h"
#include "base/builder.h"

struct reference {
    size_t length;        /* of the whole, in bytes */
    struct span name;     /* empty: the escape $${ */
    struct span fallback; /* what stands behind :- */
    bool has_fallback;
};

/* True when a reference, or an escape, starts at text.p[at]. It never spans lines. */
bool reference_at(struct span text, size_t at, struct reference *r);

/* The first "${" or "$${" at or behind `at`, whether it is a right reference or not; or text.n. */
size_t reference_find(struct span text, size_t at);

/* True when the character of UTF-8 that starts at `p` is one that hiding uses. */
bool is_hiding_character(struct span rest);

/* Appends `text` with its references hidden from YAML. */
void references_hide(struct span text, struct builder *out);

/* A copy of `text`, which may hold hidden references, as it was written. */
MUST_USE bool references_show(struct arena *a, struct span text, struct span *shown);

enum expand_problem {
    EXPAND_OK,
    EXPAND_NO_MEMORY,
    EXPAND_NOT_SET,  /* `name` says which variable */
    EXPAND_MALFORMED /* "${" without a name, or without its '}' */
};

struct expansion {
    struct span text;
    bool by_default;           /* a default was used */
    enum expand_problem found; /* the first problem, */
    size_t ordinal;            /* and the how many-th reference or escape it is, from 0 */
    struct span name;
};

/* Expands the references in `written`. `env` answers NULL for what is not set. */
void references_expand(struct arena *a, struct span written, const char *(*env)(const char *name),
                       struct expansion *result);

#endif
