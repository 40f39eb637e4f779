/* tree.h -- YAML text as a tree of nodes that know where they stand.
 *
 * Why: every message names a line and a column, so every word and every value keeps its place. What
 * YAML offers beyond text, lists and mappings (tags, several documents, keys that are not words)
 * makes a configuration mean other than it says, and is refused. Anchors and aliases are copied
 * out: what follows sees a plain tree, in which each node may be worked on by itself.
 *
 * Owns:      nothing: nodes live in the arena.
 * Bounds:    CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX (aliases count as what they say).
 * Errors:    in the report.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_CONFIG_TREE_H
#define PENSTOCK_CONFIG_TREE_H

#include "config/report.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAPPING };

struct section;

struct node {
    struct node *next; /* the sibling behind this one */
    struct span key;   /* of a value in a mapping */
    struct place key_at;
    struct place at; /* the first byte of the value */
    enum node_kind kind;

    /* A scalar. */
    struct span text;    /* with variables expanded */
    struct span written; /* as it stands in the file: the only form that messages show */
    bool is_plain;       /* without quotes */
    bool by_default;     /* a ${NAME:-default} fell back to its default */
    bool is_broken;      /* its variable is not set: already told */

    /* A list or a mapping. */
    struct node *first, *last;
    size_t count;

    /* Filled when it is decoded (see decode.h). */
    const struct section *section;
    bool is_valid;
    int64_t number;
};

/* For (...) over the children of a list or a mapping, in the order of the file. */
#define NODE_EACH(parent, var)                                                                     \
    for (struct node *var = (parent) ? (parent)->first : NULL; var; var = var->next)

/* The value of a key, or NULL. */
struct node *node_child(const struct node *mapping, struct span key);

/* Nothing stands there: "key:", "key: ~" or "key: null". */
bool node_is_null(const struct node *n);

/* Adds a child at the end. */
void node_append(struct node *parent, struct node *child);

struct reader {
    struct arena *arena;
    struct report *report;
    const char *(*env)(const char *name);
};

/* The root; a text without a document is an empty mapping. NULL when it is not YAML as we take it;
 * lesser mistakes (a key twice, a variable that is not set) are in the report beside a tree. */
MUST_USE struct node *tree_parse(const struct reader *reader, struct span text);

#endif
