/* tree.h -- a body as a tree of nodes, for work that must look at everything.
 *
 * Why: translating between dialects visits every message and part, in order, and says where
 * something is wrong ("messages[2].content"). A node is a span of the original bytes, so what
 * nobody touches is forwarded as it came: number text, escapes, order and all.
 *
 * Owns:      nothing: nodes and decoded text live in the caller's arena.
 * Lends:     nodes and spans while both arena and body live.
 * Bounds:    JSON_DEPTH_MAX levels, JSON_NODES_MAX nodes.
 * Errors:    as json_scan; ERR_TOO_LARGE for too many nodes; ERR_NO_MEMORY from the arena.
 *            Readers answer ERR_BAD_REQUEST when the node is of another kind or absent.
 * Suspends:  never.     Threads: any number of readers.
 */
#ifndef PENSTOCK_JSON_TREE_H
#define PENSTOCK_JSON_TREE_H

#include "json/scan.h"
#include "json/value.h"

enum { JSON_NODES_MAX = 256 * 1024 };

struct json_node {
    struct span raw;  /* the whole value in the body */
    struct span name; /* decoded name of a member; {NULL, 0} for elements and the root */
    enum json_kind kind;
    uint32_t count;                       /* of children */
    const struct json_node *parent;       /* NULL: the root */
    const struct json_node *first, *next; /* first child; next child of the same parent */
};

/* Checks the body as json_scan does with these flags, and builds the tree. Without
 * JSON_UNIQUE_NAMES an object keeps all its members, and json_find answers the first. */
MUST_USE enum err json_parse(struct arena *a, struct span body, unsigned flags,
                             const struct json_node **root, struct json_report *report);

/* A member by its decoded name; NULL when `node` is NULL, no object, or has none. */
const struct json_node *json_find(const struct json_node *node, struct span name);

/* An element by its index; NULL when `node` is NULL, no array, or shorter. Linear. */
const struct json_node *json_at(const struct json_node *node, size_t index);

/* Children in order, of an array or object; none for anything else, or NULL. */
#define JSON_EACH(child, node)                                                                     \
    for (const struct json_node *child = (node) ? (node)->first : NULL; child; child = child->next)

/* JSON_NONE for NULL: an absent member. */
static inline enum json_kind json_node_kind(const struct json_node *node)
{
    return node ? node->kind : JSON_NONE;
}

/* As json_to_bool and its kin; NULL is of another kind. */
MUST_USE enum err json_node_bool(const struct json_node *node, bool *value);
MUST_USE enum err json_node_i64(const struct json_node *node, int64_t *value);
MUST_USE enum err json_node_u64(const struct json_node *node, uint64_t *value);
MUST_USE enum err json_node_string(const struct json_node *node, struct arena *a,
                                   struct span *text);

/* Where the node is: "messages[2].content"; a name that is no plain word is quoted
 * (`logit_bias["50 256"]`); the root is "". Cut, with "..." in front, at JSON_PATH_MAX bytes.
 * `buffer` is what the span lies in. */
enum { JSON_PATH_MAX = 256 };
struct span json_path(const struct json_node *node, char buffer[JSON_PATH_MAX]);

#endif
