#include "config/tree.h"

#include "base/limits.h"
#include "base/map.h"
#include "config/cursor.h"
#include "config/interpolate.h"

#include <yaml.h>

/* A list or mapping that is not closed yet. */
struct level {
    struct node *node;
    struct node *key;      /* of a mapping: read, its value is yet to come */
    struct anchor *anchor; /* complete when the level closes; NULL: it has none */
};

struct anchor {
    struct anchor *next; /* the one defined before */
    struct span name;
    struct node *node;
    bool is_open; /* the node is still being read */
};

struct tree {
    const struct reader *reader;
    struct cursor cursor;
    struct level levels[CONFIG_DEPTH_MAX];
    size_t depth;
    struct anchor *anchors;
    struct node *root;
    size_t node_count;
    bool failed; /* no sense in reading on: told, or no memory */
};

struct node *node_child(const struct node *mapping, struct span key)
{
    NODE_EACH(mapping, child)
    {
        if (span_eq(child->key, key))
            return child;
    }
    return NULL;
}

bool node_is_null(const struct node *n)
{
    return n->kind == NODE_SCALAR && n->is_plain &&
           (n->written.n == 0 || span_eq(n->written, SPAN("~")) ||
            span_eq(n->written, SPAN("null")));
}

void node_append(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

static void fail_no_memory(struct tree *t)
{
    t->reader->report->no_memory = true;
    t->failed = true;
}

static void refuse(struct tree *t, struct place at, const char *why)
{
    report_error(t->reader->report, at, "%s", why);
    t->failed = true;
}

/* NULL when the tree has failed. */
static struct node *new_node(struct tree *t, enum node_kind kind, struct place at)
{
    if (++t->node_count > CONFIG_NODES_MAX) {
        refuse(t, at, "there are too many values, with aliases written out; shorten the file");
        return NULL;
    }
    struct node *n = ARENA_NEW(t->reader->arena, struct node);
    if (!n) {
        fail_no_memory(t);
        return NULL;
    }
    n->kind = kind;
    n->at = at;
    return n;
}

/* Puts a finished or opened value where it belongs. */
static void place_node(struct tree *t, struct node *n)
{
    if (t->depth == 0) {
        t->root = n;
        return;
    }
    struct level *l = &t->levels[t->depth - 1];
    if (l->node->kind == NODE_MAPPING) {
        ASSERT(l->key != NULL);
        n->key = l->key->text;
        n->key_at = l->key->at;
        l->key = NULL;
    }
    node_append(l->node, n);
}

static bool key_is_due(const struct tree *t)
{
    return t->depth > 0 && t->levels[t->depth - 1].node->kind == NODE_MAPPING &&
           t->levels[t->depth - 1].key == NULL;
}

/* --- anchors and aliases ------------------------------------------------------------------------
 */

/* NULL when the node has no anchor, or the tree has failed. */
static struct anchor *add_anchor(struct tree *t, const yaml_char_t *name, struct node *n)
{
    if (!name)
        return NULL;
    struct anchor *a = ARENA_NEW(t->reader->arena, struct anchor);
    if (!a || !arena_dup(t->reader->arena, span_of_cstr((const char *)name), &a->name)) {
        fail_no_memory(t);
        return NULL;
    }
    a->node = n;
    a->next = t->anchors;
    return t->anchors = a;
}

/* A copy of `from` with all below it. The recursion is bounded by CONFIG_DEPTH_MAX. */
static struct node *copy_node(struct tree *t, const struct node *from, size_t depth)
{
    if (depth > CONFIG_DEPTH_MAX) {
        refuse(t, from->at, "values are nested too deeply, with aliases written out");
        return NULL;
    }
    struct node *n = new_node(t, from->kind, from->at);
    if (!n)
        return NULL;
    *n = *from;
    n->next = n->first = n->last = NULL;
    n->count = 0;
    NODE_EACH(from, child)
    {
        struct node *copy = copy_node(t, child, depth + 1);
        if (!copy)
            return NULL;
        node_append(n, copy);
    }
    return n;
}

static void on_alias(struct tree *t, const yaml_event_t *event, struct place at)
{
    struct span name = span_of_cstr((const char *)event->data.alias.anchor);
    const struct anchor *a = t->anchors;
    while (a && !span_eq(a->name, name))
        a = a->next;
    if (!a || a->is_open || key_is_due(t)) {
        const char *shown = report_quote(t->reader->report, name);
        report_error(t->reader->report, at,
                     !a           ? "there is no anchor %s before this alias"
                     : a->is_open ? "the alias %s stands inside of what it names"
                                  : "the alias %s stands where a word is due; write the word",
                     shown);
        t->failed = true;
        return;
    }
    struct node *n = copy_node(t, a->node, t->depth + 1);
    if (n)
        place_node(t, n);
}

/* --- scalars ------------------------------------------------------------------------------------
 */

/* The place of the ordinal-th reference of a scalar that starts at `offset`. */
static struct place place_of_reference(const struct tree *t, size_t offset, size_t ordinal)
{
    struct span text = t->cursor.text;
    for (size_t at = offset;; ordinal--) {
        at = reference_find(text, at);
        if (ordinal == 0 || at == text.n)
            return place_of_offset(text, at);
        struct reference r;
        at += reference_at(text, at, &r) ? r.length : 1;
    }
}

static void expand(struct tree *t, struct node *n, size_t offset)
{
    const struct reader *reader = t->reader;
    struct expansion e;
    references_expand(reader->arena, n->written, reader->env, &e);
    n->text = e.text;
    n->by_default = e.by_default;
    n->is_broken = e.found != EXPAND_OK;
    if (e.found == EXPAND_NO_MEMORY)
        fail_no_memory(t);
    else if (e.found == EXPAND_NOT_SET)
        report_error(reader->report, place_of_reference(t, offset, e.ordinal),
                     "the environment variable %s is not set; set it, or write ${%.*s:-default}",
                     report_quote(reader->report, e.name), SPAN_ARG(e.name));
    else if (e.found == EXPAND_MALFORMED)
        report_error(reader->report, place_of_reference(t, offset, e.ordinal),
                     "\"${\" begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the "
                     "two characters");
}

static void on_scalar(struct tree *t, const yaml_event_t *event, struct place at, size_t offset)
{
    struct node *n = new_node(t, NODE_SCALAR, at);
    if (!n)
        return;
    struct span value = span((const char *)event->data.scalar.value, event->data.scalar.length);
    if (!references_show(t->reader->arena, value, &n->written)) {
        fail_no_memory(t);
        return;
    }
    n->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    expand(t, n, offset);
    add_anchor(t, event->data.scalar.anchor, n);
    if (t->failed)
        return;
    if (key_is_due(t))
        t->levels[t->depth - 1].key = n;
    else
        place_node(t, n);
}

/* --- lists and mappings -------------------------------------------------------------------------
 */

static void on_start(struct tree *t, enum node_kind kind, const yaml_char_t *anchor,
                     struct place at)
{
    if (t->depth == CONFIG_DEPTH_MAX) {
        refuse(t, at, "values are nested too deeply");
        return;
    }
    if (key_is_due(t)) {
        refuse(t, at, "a list or a mapping stands where a word is due; put the word in quotes");
        return;
    }
    struct node *n = new_node(t, kind, at);
    if (!n)
        return;
    struct anchor *a = add_anchor(t, anchor, n);
    if (t->failed)
        return;
    if (a)
        a->is_open = true;
    place_node(t, n);
    t->levels[t->depth++] = (struct level){.node = n, .anchor = a};
}

static void check_keys(struct tree *t, const struct node *mapping)
{
    struct report *report = t->reader->report;
    struct map seen = {0};
    NODE_EACH(mapping, child)
    {
        const struct node *before = map_get(&seen, child->key);
        if (before)
            report_error(report, child->key_at, "%s stands here a second time; it is on line %u",
                         report_quote(report, child->key), before->key_at.line);
        else if (span_eq(child->key, SPAN("<<")))
            refuse(t, child->key_at, "\"<<\" merges nothing here; write the words out");
        else if (map_put(&seen, child->key, child) != ERR_OK)
            report->no_memory = true;
    }
    map_deinit(&seen);
}

static void on_end(struct tree *t)
{
    struct level *l = &t->levels[--t->depth];
    if (l->anchor)
        l->anchor->is_open = false;
    if (l->node->kind == NODE_MAPPING)
        check_keys(t, l->node);
}

/* --- events -------------------------------------------------------------------------------------
 */

static const yaml_char_t *tag_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.tag;
    default:
        return NULL;
    }
}

static void on_event(struct tree *t, const yaml_event_t *event)
{
    struct place at = cursor_place(&t->cursor, event->start_mark.index);
    size_t offset = t->cursor.offset;
    if (tag_of(event)) {
        refuse(t, at, "tags have no meaning here; leave the \"!\" away, or put quotes around it");
        return;
    }
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (t->root)
            refuse(t, at, "a second document starts here; a configuration is one document");
        return;
    case YAML_ALIAS_EVENT:
        on_alias(t, event, at);
        return;
    case YAML_SCALAR_EVENT:
        on_scalar(t, event, at, offset);
        return;
    case YAML_SEQUENCE_START_EVENT:
        on_start(t, NODE_LIST, event->data.sequence_start.anchor, at);
        return;
    case YAML_MAPPING_START_EVENT:
        on_start(t, NODE_MAPPING, event->data.mapping_start.anchor, at);
        return;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_end(t);
        return;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return;
    }
}

/* The word that ends at or holds `offset`: what libyaml stumbles over is often the ':' behind. */
static size_t start_of_word(struct span text, size_t offset)
{
    while (offset > 0 && !strchr(" \t\r\n", text.p[offset - 1]))
        offset--;
    return offset;
}

/* Where a message of libyaml's points. */
enum pointing {
    AT_PROBLEM, /* what it stumbled over; its word when that is a ':' */
    AT_CONTEXT, /* what it was reading by then: a word without ':', a quote never closed */
};

/* libyaml says what it missed; a reader wants to know what to do. */
static const struct {
    const char *problem, *advice;
    enum pointing pointing;
} yaml_advice[] = {
    {"mapping values are not allowed in this context",
     "a \":\" cannot stand behind this word; mend the indentation, or put quotes around a value "
     "that holds \": \"",
     AT_PROBLEM},
    {"could not find expected ':'", "this word has no \":\" behind it; write WORD: VALUE",
     AT_CONTEXT},
    {"did not find expected key",
     "this is not in line with what stands above; mend the indentation, or the quotes before it",
     AT_PROBLEM},
    {"did not find expected <document start>",
     "this is not in line with what stands above; mend the indentation", AT_PROBLEM},
    {"did not find expected ',' or ']'", "a \"[\" is not closed; write \",\" or \"]\"", AT_PROBLEM},
    {"did not find expected ',' or '}'", "a \"{\" is not closed; write \",\" or \"}\"", AT_PROBLEM},
    {"did not find expected node content", "a value should stand here; write one, or remove this",
     AT_PROBLEM},
    {"found character that cannot start any token",
     "this character cannot begin a value; put quotes around the value", AT_PROBLEM},
    {"found a tab character that violates indentation", "a tab cannot indent; use blanks",
     AT_PROBLEM},
    {"found unexpected end of stream", "this quote is never closed; write the second one",
     AT_CONTEXT},
    {"found unknown escape character",
     "this text holds an escape that YAML does not know; write \\\\ for a backslash, or use single "
     "quotes",
     AT_PROBLEM},
    {"block sequence entries are not allowed in this context",
     "a list cannot begin here; put its \"-\" on a line of its own", AT_PROBLEM},
};

static const char *advise(const char *problem, enum pointing *pointing)
{
    *pointing = AT_PROBLEM;
    for (size_t i = 0; i < ARRAY_LEN(yaml_advice); i++) {
        if (strcmp(problem, yaml_advice[i].problem) == 0) {
            *pointing = yaml_advice[i].pointing;
            return yaml_advice[i].advice;
        }
    }
    return problem; /* rare, and in libyaml's words */
}

static void on_yaml_error(struct tree *t, const yaml_parser_t *p)
{
    if (p->error == YAML_MEMORY_ERROR) {
        fail_no_memory(t);
        return;
    }
    struct span text = t->cursor.text;
    enum pointing pointing;
    const char *advice = advise(p->problem ? p->problem : "this is not YAML", &pointing);
    size_t at = cursor_offset(&t->cursor, p->problem_mark.index);
    bool is_at_end = at == text.n; /* what was opened last is missing its end */
    if (p->context && (pointing == AT_CONTEXT || is_at_end))
        at = cursor_offset(&t->cursor, p->context_mark.index);
    else if (at < text.n && text.p[at] == ':')
        at = start_of_word(text, at);
    else if (at < text.n && text.p[at] == '\t')
        advice = "a tab cannot indent; use blanks";
    report_error(t->reader->report, place_of_offset(text, at), "YAML: %s", advice);
    t->failed = true;
}

static void read_events(struct tree *t, struct span hidden)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        fail_no_memory(t);
        return;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    const char *bytes = hidden.n ? hidden.p : "";
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, hidden.n);
    for (bool is_done = false; !is_done && !t->failed;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            on_yaml_error(t, &parser);
            break;
        }
        is_done = event.type == YAML_STREAM_END_EVENT;
        on_event(t, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

/* Reads the text, which is printable UTF-8 without a byte order mark. */
static void read_text(struct tree *t, struct span text)
{
    struct builder hidden;
    /* A hidden byte takes four. */
    builder_init(&hidden, (size_t)CONFIG_BYTES_MAX * 4 + 1);
    references_hide(text, &hidden);
    if (builder_check(&hidden) == ERR_OK)
        read_events(t, builder_span(&hidden));
    else
        fail_no_memory(t);
    builder_deinit(&hidden);
}

struct node *tree_parse(const struct reader *reader, struct span text)
{
    const struct place start = {1, 1};
    if (text.n > CONFIG_BYTES_MAX) {
        report_error(reader->report, start, "the file is larger than %d MiB",
                     CONFIG_BYTES_MAX >> 20);
        return NULL;
    }
    if (span_starts(text, SPAN("\xef\xbb\xbf")))
        text = span_from(text, 3); /* an editor's byte order mark is no column */
    const char *why = NULL;
    size_t bad = text_find_unprintable(text, &why);
    if (bad < text.n) {
        report_error(reader->report, place_of_offset(text, bad), "%s", why);
        return NULL;
    }
    struct tree *t = ARENA_NEW(reader->arena, struct tree);
    if (!t) {
        reader->report->no_memory = true;
        return NULL;
    }
    t->reader = reader;
    t->cursor.text = text;
    read_text(t, text);
    if (!t->failed && !t->root)
        t->root = new_node(t, NODE_MAPPING, start);
    return t->failed ? NULL : t->root;
}
