/* scalar.h -- one value: is it what its shape says, and what number is it?
 *
 * Why: a kind of value is one row here: its name in messages and in the reference, how it is read,
 * and how an editor can check it (JSON Schema).
 *
 * Owns:      nothing; paths that it completes live in the arena.
 * Errors:    false with `wrong` filled: "is not a duration such as 20s".
 * Suspends:  never; KIND_FILE opens the file.     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_SCALAR_H
#define PENSTOCK_CONFIG_SCALAR_H

#include "config/schema.h"
#include "config/tree.h"

struct scalar {
    struct arena *arena;
    struct report *report;
    struct span folder; /* relative paths start there */
    const struct shape *shape;
    struct node *node;     /* its number is set, its text may be completed */
    const char *wrong;     /* what stands behind the value in a message */
    struct place wrong_at; /* the value, unless a part of it can be named */
};

/* Reads s->node as s->shape says, which is of a scalar kind. */
MUST_USE bool scalar_read(struct scalar *s);

/* The choice's index, or `count`. */
size_t choice_find(const struct shape *shape, struct span text);

/* "PATH", or "FOLDER/PATH" when the path is relative; {NULL, 0} when there is no memory. */
struct span complete_path(struct arena *a, struct span folder, struct span path);

/* As `make_secret` would never: what people write while they mean to fill it in later. */
bool secret_is_placeholder(struct span text);

struct kind_info {
    const char *noun;    /* "a duration such as 20s" */
    const char *pattern; /* of the JSON Schema; NULL: any text */
    bool (*read)(struct scalar *s);
};

/* The row of a scalar kind. */
const struct kind_info *kind_info(enum kind kind);

#endif
