#include "json/tree.h"

#include "base/builder.h"
#include "base/limits.h"
#include "json/skip.h"

/* json_scan has checked the body before; what is left to do here is to cut, in one pass. */
struct build {
    struct arena *a;
    const char *end;
    size_t count;
    unsigned depth; /* of levels that are open */
    struct json_node *open[JSON_DEPTH_MAX + 1], *last[JSON_DEPTH_MAX + 1];
};

/* A node for the value at p, as the next child of what is open. */
static enum err add_node(struct build *b, const char *p, struct span name, struct json_node **made)
{
    if (b->count == JSON_NODES_MAX)
        return ERR_TOO_LARGE;
    struct json_node *const node = ARENA_NEW(b->a, struct json_node);
    TRY_ALLOC(node);
    b->count++;
    node->raw = (struct span){p, 1};
    node->kind = json_kind(node->raw);
    node->name = name;
    *made = node;
    if (b->depth == 0)
        return ERR_OK;
    struct json_node *const parent = b->open[b->depth];
    struct json_node *const before = b->last[b->depth];
    node->parent = parent;
    parent->count++;
    if (before)
        before->next = node;
    else
        parent->first = node;
    b->last[b->depth] = node;
    return ERR_OK;
}

/* The name at *p, and on to the value. */
static enum err read_name(struct build *b, const char **p, struct span *name)
{
    const char *const first = *p, *const behind = skip_string(first, b->end);
    *p = skip_space(skip_space(behind) + 1);
    return json_to_string(span_between(first, behind), b->a, name);
}

/* Behind a value: closes what ends, steps over the comma. NULL when the root is complete. */
static const char *close_levels(struct build *b, const char *p)
{
    while (b->depth > 0) {
        p = skip_space(p);
        if (*p == ',')
            return skip_space(p + 1);
        p++;
        struct json_node *const node = b->open[b->depth--];
        node->raw = span_between(node->raw.p, p);
    }
    return NULL;
}

static enum err build_tree(struct build *b, const char *p, struct json_node **root)
{
    *root = NULL;
    while (p) {
        struct span name = {NULL, 0};
        struct json_node *node;
        if (b->depth > 0 && b->open[b->depth]->kind == JSON_OBJECT)
            TRY(read_name(b, &p, &name));
        TRY(add_node(b, p, name, &node));
        if (!*root)
            *root = node;
        if (node->kind == JSON_OBJECT || node->kind == JSON_ARRAY) {
            p = skip_space(p + 1);
            b->depth++;
            b->open[b->depth] = node;
            b->last[b->depth] = NULL;
            if (*p != '}' && *p != ']')
                continue;
        } else {
            p = node->kind == JSON_STRING ? skip_string(p, b->end) : skip_scalar(p, b->end);
            node->raw = span_between(node->raw.p, p);
        }
        p = close_levels(b, p);
    }
    return ERR_OK;
}

static enum err refuse(struct json_report *report, enum err code, const char *reason)
{
    report->reason = reason;
    return code;
}

enum err json_parse(struct arena *a, struct span body, unsigned flags,
                    const struct json_node **root, struct json_report *report)
{
    TRY(json_scan(body, NULL, flags, NULL, report));
    struct build b = {.a = a, .end = body.p + body.n};
    const char *first = body.p;
    struct json_node *made;
    const enum err code = build_tree(&b, skip_space(first), &made);
    *root = made;
    if (code == ERR_TOO_LARGE)
        return refuse(report, code, "too many values");
    return code == ERR_OK ? code : refuse(report, code, "no memory");
}

const struct json_node *json_find(const struct json_node *node, struct span name)
{
    if (json_node_kind(node) != JSON_OBJECT)
        return NULL;
    JSON_EACH(member, node)
    if (span_eq(member->name, name))
        return member;
    return NULL;
}

const struct json_node *json_at(const struct json_node *node, size_t index)
{
    if (json_node_kind(node) != JSON_ARRAY || index >= node->count)
        return NULL;
    const struct json_node *element = node->first;
    while (index-- > 0)
        element = element->next;
    return element;
}

static struct span raw_of(const struct json_node *node)
{
    return node ? node->raw : (struct span){NULL, 0};
}

enum err json_node_bool(const struct json_node *node, bool *value)
{
    return json_to_bool(raw_of(node), value);
}

enum err json_node_i64(const struct json_node *node, int64_t *value)
{
    return json_to_i64(raw_of(node), value);
}

enum err json_node_u64(const struct json_node *node, uint64_t *value)
{
    return json_to_u64(raw_of(node), value);
}

enum err json_node_string(const struct json_node *node, struct arena *a, struct span *text)
{
    return json_to_string(raw_of(node), a, text);
}

/* --- paths ---------------------------------------------------------------------------------- */

static bool is_word(struct span name)
{
    for (size_t i = 0; i < name.n; i++) {
        const char c = name.p[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return name.n > 0;
}

static size_t index_of(const struct json_node *node)
{
    size_t index = 0;
    for (const struct json_node *n = node->parent->first; n != node; n = n->next)
        index++;
    return index;
}

/* Writes the path from its end backwards, so that what is cut off is the front. */
struct path {
    char *first, *at;
    bool is_full;
};

static void put_front(struct path *path, struct span s)
{
    if (path->is_full || s.n > (size_t)(path->at - path->first)) {
        path->is_full = true;
        return;
    }
    path->at -= s.n;
    memcpy(path->at, s.p, s.n);
}

static void put_step(struct path *path, const struct json_node *node)
{
    char room[JSON_PATH_MAX];
    struct builder step;
    builder_init_fixed(&step, room, sizeof room);
    if (node->parent->kind == JSON_ARRAY) {
        builder_add_char(&step, '[');
        builder_add_u64(&step, index_of(node));
        builder_add_char(&step, ']');
    } else if (is_word(node->name)) {
        builder_add(&step, node->parent->parent ? SPAN(".") : SPAN(""));
        builder_add(&step, node->name);
    } else {
        builder_add(&step, SPAN("[\""));
        for (size_t i = 0; i < node->name.n; i++) {
            const char c = node->name.p[i];
            const bool is_bare = (unsigned char)c >= 0x20 && c != '"' && c != '\\';
            builder_add_char(&step, is_bare ? c : '?');
        }
        builder_add(&step, SPAN("\"]"));
    }
    if (builder_check(&step) == ERR_OK)
        put_front(path, builder_span(&step));
    else
        path->is_full = true;
}

struct span json_path(const struct json_node *node, char buffer[JSON_PATH_MAX])
{
    struct path path = {.first = buffer + 3, .at = buffer + JSON_PATH_MAX};
    for (; node && node->parent; node = node->parent)
        put_step(&path, node);
    if (path.is_full) {
        path.at -= 3;
        memcpy(path.at, "...", 3);
    }
    return span_between(path.at, buffer + JSON_PATH_MAX);
}
