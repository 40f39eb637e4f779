#include "config/build.h"

#include "base/mem.h"
#include "config/suggest.h"

enum { NAMES_SHOWN_MAX = 5 };

/* The first few names of a mapping, quoted. */
static const char *names_of(struct build *b, const struct node *mapping)
{
    size_t count = 0;
    const char *text = "";
    NODE_EACH(mapping, child)
    {
        bool is_last = ++count == NAMES_SHOWN_MAX && child->next;
        const char *more =
            arena_printf(b->scratch, "%s%s%s%s", text, count > 1 ? ", " : "",
                         report_quote(b->report, child->key), is_last ? ", ..." : "");
        if (!more)
            b->report->no_memory = true;
        if (!more || is_last)
            return more ? more : text;
        text = more;
    }
    return text;
}

void build_tell_unknown(struct build *b, struct place at, const char *what, struct span name,
                        const struct node *mapping)
{
    struct suggestion s;
    suggest_init(&s, name);
    NODE_EACH(mapping, child)
    {
        suggest_offer(&s, child->key);
    }
    const char *quoted = report_quote(b->report, name);
    if (s.nearest.n > 0)
        report_error(b->report, at, "there is no %s %s; did you mean %s?", what, quoted,
                     report_quote(b->report, s.nearest));
    else if (!mapping || mapping->count == 0)
        report_error(b->report, at, "there is no %s %s; none is configured", what, quoted);
    else
        report_error(b->report, at, "there is no %s %s; write one of %s", what, quoted,
                     names_of(b, mapping));
}

void build_check_model_word(struct build *b, const struct node *n)
{
    struct span provider, model;
    if (span_find(n->text, '*') < n->text.n || policy_find_model(b->policy, n->text, NULL))
        return;
    /* A slash may be part of a model's name, so the name is tried before the provider. */
    if (span_cut(n->text, '/', &provider, &model) && model.n > 0 &&
        map_get(&b->policy->providers_by_name, provider))
        return;
    build_tell_unknown(b, n->at, "model", n->text, node_get(b->root, "models"));
}

static void wipe(void *arg)
{
    struct span *text = arg;
    union {
        const char *read;
        char *write;
    } bytes = {.read = text->p}; /* ours: it was copied by build_secret */
    mem_wipe(bytes.write, text->n);
}

enum err build_secret(struct arena *a, struct span text, struct secret *s)
{
    struct span *copy = ARENA_NEW(a, struct span);
    TRY_ALLOC(copy);
    TRY_ALLOC(arena_dup(a, text, copy));
    TRY_ALLOC(arena_defer(a, wipe, copy));
    s->private_bytes = *copy;
    return ERR_OK;
}

enum err build_names(struct build *b, const struct node *list, struct span **names, size_t *count)
{
    *count = 0;
    *names = NULL;
    if (!list)
        return ERR_OK;
    if (list->count == 0) {
        report_error(b->report, list->at,
                     "the list is empty; leave the word out to allow all, or name what is allowed");
        return ERR_OK;
    }
    *names = ARENA_NEW_ARRAY(&b->policy->arena, struct span, list->count);
    TRY_ALLOC(*names);
    NODE_EACH(list, n)
    {
        if (!n->is_valid)
            continue;
        build_check_model_word(b, n);
        TRY_ALLOC(arena_dup(&b->policy->arena, n->text, &(*names)[*count]));
        ++*count;
    }
    return ERR_OK;
}
