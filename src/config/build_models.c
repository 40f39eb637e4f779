#include "config/build.h"

static bool is_pattern(struct span name)
{
    return span_find(name, '*') < name.n;
}

/* --- targets ------------------------------------------------------------------------------------
 */

static void tell_no_provider(struct build *b, struct place at, struct span name)
{
    const struct catalogue_entry *entry = catalogue_find(name);
    if (entry && entry->key_variable && entry->base_url)
        report_error(b->report, at,
                     "there is no provider \"%s\"; add it to \"providers\": %s: {api_key: ${%s}}",
                     entry->name, entry->name, entry->key_variable);
    else
        build_tell_unknown(b, at, "provider", name, node_get(b->root, "providers"));
}

static void check_target(struct build *b, const struct model *m, const struct target *t,
                         const struct node *to)
{
    if (is_pattern(t->model) && !is_pattern(m->name))
        report_error(b->report, to->at,
                     "the target holds \"*\", but the name %s holds none to fill it with",
                     report_quote(b->report, m->name));
    if (t->provider && !t->provider->is_available && t->provider->dialects != 0)
        report_warning(b->report, to->at,
                       "the provider %s has no api_key: this target is not available",
                       report_quote(b->report, t->provider->name));
}

/* `n` is the text, or the mapping with `to` and `weight`. */
static enum err build_target(struct build *b, struct model *m, const struct node *n)
{
    const struct node *to = n->kind == NODE_SCALAR ? n : node_get(n, "to");
    if (!to || !to->is_valid)
        return ERR_OK;
    struct target *t = &m->targets[m->target_count];
    struct span provider, model;
    span_cut(to->text, '/', &provider, &model);
    t->provider = map_get(&b->policy->providers_by_name, provider);
    t->weight = n->kind == NODE_SCALAR ? 1 : (uint32_t)node_number(n, "weight");
    TRY_ALLOC(arena_dup(&b->policy->arena, model, &t->model));
    if (!t->provider)
        tell_no_provider(b, to->at, provider);
    check_target(b, m, t, to);
    m->target_count++;
    return ERR_OK;
}

/* --- models -------------------------------------------------------------------------------------
 */

static void check_weights(struct build *b, const struct model *m, const struct node *targets)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->target_count; i++)
        sum += m->targets[i].weight;
    if (m->balance == BALANCE_WEIGHTED && m->target_count > 0 && sum == 0)
        report_error(b->report, targets->at, "targets: all weights are 0; give one of them more");
}

static enum err build_model(struct build *b, struct model *m, const struct node *n)
{
    const struct node *targets = n->kind == NODE_MAPPING ? node_get(n, "targets") : NULL;
    size_t count = n->kind == NODE_MAPPING ? (targets ? targets->count : 0) : 1;
    m->targets = ARENA_NEW_ARRAY(&b->policy->arena, struct target, MAX(count, 1));
    TRY_ALLOC(m->targets);
    if (n->kind != NODE_MAPPING)
        return build_target(b, m, n);
    m->balance = (enum balance)node_number(n, "balance");
    if (!targets || targets->kind != NODE_LIST)
        return ERR_OK;
    if (count == 0)
        report_error(b->report, targets->at, "targets: the list is empty; write PROVIDER/MODEL");
    NODE_EACH(targets, target)
    {
        TRY(build_target(b, m, target));
    }
    check_weights(b, m, targets);
    return ERR_OK;
}

/* --- fallbacks ----------------------------------------------------------------------------------
 */

static enum err build_fallbacks(struct build *b, struct model *m, const struct node *n)
{
    const struct node *list = n->kind == NODE_MAPPING ? node_get(n, "fallback") : NULL;
    if (!list || list->kind != NODE_LIST)
        return ERR_OK;
    m->fallbacks = ARENA_NEW_ARRAY(&b->policy->arena, const struct model *, MAX(list->count, 1));
    TRY_ALLOC(m->fallbacks);
    NODE_EACH(list, name)
    {
        if (!name->is_valid)
            continue;
        const struct model *other = map_get(&b->policy->models_by_name, name->text);
        if (other)
            m->fallbacks[m->fallback_count++] = other;
        else
            build_tell_unknown(b, name->at, "model", name->text, node_get(b->root, "models"));
    }
    return ERR_OK;
}

enum colour { WHITE, GREY, BLACK }; /* not seen, on the way, done */

struct visit {
    const struct model *model;
    size_t next; /* of its fallbacks */
};

/* Where the fallback of that name stands. */
static struct place place_of_fallback(const struct build *b, const struct model *m,
                                      struct span name)
{
    const struct node *n = node_child(node_get(b->root, "models"), m->name);
    NODE_EACH(node_get(n, "fallback"), child)
    {
        if (span_eq(child->text, name))
            return child->at;
    }
    return n->at;
}

/* Depth first, with a stack of our own: each chain must come to an end. `all` is the array that
 * every model is in. */
static void walk_fallbacks(struct build *b, const struct model *all, size_t start,
                           unsigned char *colours, struct visit *stack)
{
    size_t depth = 0;
    stack[depth++] = (struct visit){.model = &all[start]};
    colours[start] = GREY;
    while (depth > 0) {
        struct visit *v = &stack[depth - 1];
        if (v->next == v->model->fallback_count) {
            colours[v->model - all] = BLACK;
            depth--;
            continue;
        }
        const struct model *next = v->model->fallbacks[v->next++];
        if (colours[next - all] == GREY) {
            report_error(b->report, place_of_fallback(b, v->model, next->name),
                         "fallback: %s falls back to %s again; a chain of fallbacks must end",
                         report_quote(b->report, next->name),
                         report_quote(b->report, v->model->name));
        } else if (colours[next - all] == WHITE) {
            colours[next - all] = GREY;
            stack[depth++] = (struct visit){.model = next};
        }
    }
}

static enum err check_cycles(struct build *b, const struct model *all, size_t count)
{
    unsigned char *colours = arena_zalloc(b->scratch, count);
    struct visit *stack = ARENA_NEW_ARRAY(b->scratch, struct visit, count);
    TRY_ALLOC(colours);
    TRY_ALLOC(stack);
    for (size_t i = 0; i < count; i++) {
        if (colours[i] == WHITE)
            walk_fallbacks(b, all, i, colours, stack);
    }
    return ERR_OK;
}

/* --- all of them --------------------------------------------------------------------------------
 */

static enum err add_models(struct build *b, const struct node *all, struct model *models)
{
    struct policy *p = b->policy;
    NODE_EACH(all, n)
    {
        struct model *m = &models[p->model_count];
        p->models[p->model_count++] = m;
        TRY_ALLOC(arena_dup(&p->arena, n->key, &m->name));
        if (!is_pattern(m->name))
            TRY(map_put(&p->models_by_name, m->name, m));
        TRY(build_model(b, m, n));
    }
    size_t i = 0;
    NODE_EACH(all, n)
    {
        TRY(build_fallbacks(b, &models[i++], n));
    }
    return ERR_OK;
}

enum err build_models(struct build *b)
{
    struct policy *p = b->policy;
    const struct node *all = node_get(b->root, "models");
    p->models_are_open = all == NULL;
    if (!all)
        return ERR_OK;
    if (all->count == 0 || all->kind != NODE_MAPPING) {
        report_warning(b->report, all->at,
                       "models: none is named, so none can be called; leave the word out to reach "
                       "every provider/model");
        return ERR_OK;
    }
    struct model *models = ARENA_NEW_ARRAY(&p->arena, struct model, all->count);
    p->models = ARENA_NEW_ARRAY(&p->arena, struct model *, all->count);
    TRY_ALLOC(models);
    TRY_ALLOC(p->models);
    TRY(add_models(b, all, models));
    TRY(check_cycles(b, models, p->model_count));
    policy_sort_models(p);
    return ERR_OK;
}

enum err build_routes(struct build *b)
{
    struct policy *p = b->policy;
    NODE_EACH(node_get(b->root, "routes"), n)
    {
        struct route *r = ARENA_NEW(&p->arena, struct route);
        TRY_ALLOC(r);
        TRY_ALLOC(arena_dup(&p->arena, n->key, &r->name));
        TRY(map_put(&p->routes_by_name, r->name, r));
        if (n->kind != NODE_MAPPING)
            continue;
        const struct node *model = node_get(n, "model");
        if (model)
            build_check_model_word(b, model);
        TRY_ALLOC(arena_dup(&p->arena, node_text(n, "model"), &r->model));
        r->max_tokens = (uint32_t)node_number(n, "max_tokens");
        r->timeout_ns = node_number(n, "timeout");
    }
    return ERR_OK;
}
