/* decode.h -- a tree against the schema: shapes checked, numbers read, defaults filled in.
 *
 * Why: after it, whoever builds something from the tree asks for words by name and finds values
 * that are right, or none: no test of shapes is left to write.
 *
 * Owns:      nothing: defaults become nodes in the arena.
 * Bounds:    those of the tree; the recursion is as deep as the tree.
 * Errors:    in the report; nodes that are wrong are not valid and not found by name.
 * Suspends:  never; files that the text names are opened.     Threads: one owner.
 */
#ifndef PENSTOCK_CONFIG_DECODE_H
#define PENSTOCK_CONFIG_DECODE_H

#include "config/schema.h"
#include "config/tree.h"

struct decoder {
    struct arena *arena;
    struct report *report;
    struct span folder; /* relative paths start there */
};

/* Checks the root of a configuration and all below it. */
void decode_config(const struct decoder *d, struct node *root);

/* The value of a word in a decoded section (NULL: none), or its default; NULL when there is neither
 * or the value is wrong. The word must be one of the section's. */
const struct node *node_get(const struct node *section, const char *word);

/* The value's text, empty when there is none. */
struct span node_text(const struct node *section, const char *word);

/* The value's number, 0 when there is none. */
int64_t node_number(const struct node *section, const char *word);

#endif
