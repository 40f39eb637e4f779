#include "gate/exchange.h"

/* The provider's name for a model: a target's '*' is what the caller's word had in its place. */
static enum err fill_star(struct exchange *x, struct span pattern, struct span *model)
{
    struct span before, after;
    if (!span_cut(pattern, '*', &before, &after)) {
        *model = pattern;
        return ERR_OK;
    }
    char *p = arena_bytes(&x->rq->arena, before.n + x->star.n + after.n);
    TRY_ALLOC(p);
    memcpy(p, before.p, before.n);
    if (x->star.n)
        memcpy(p + before.n, x->star.p, x->star.n);
    if (after.n)
        memcpy(p + before.n + x->star.n, after.p, after.n);
    *model = span(p, before.n + x->star.n + after.n);
    return ERR_OK;
}

static enum err add_candidate(struct exchange *x, const struct provider *provider,
                              struct span model, const struct model *from)
{
    if (x->candidate_count == TARGETS_MAX)
        return ERR_OK;
    struct candidate *c = &x->candidates[x->candidate_count];
    *c = (struct candidate){.provider = provider, .model = model, .from = from};
    char *name = arena_bytes(&x->rq->arena, provider->name.n + 1 + model.n);
    TRY_ALLOC(name);
    memcpy(name, provider->name.p, provider->name.n);
    name[provider->name.n] = '/';
    memcpy(name + provider->name.n + 1, model.p, model.n);
    c->name = span(name, provider->name.n + 1 + model.n);
    x->candidate_count++;
    return ERR_OK;
}

/* A provider that cannot be asked is left out, and said to be when nobody is left. */
static const char *why_not(const struct provider *p)
{
    if (!p->is_available)
        return "has no API key";
    if (!(p->dialects & 1u << DIALECT_OPENAI))
        return "does not speak the OpenAI dialect";
    return NULL;
}

static enum err consider(struct exchange *x, const struct provider *provider, struct span model,
                         const struct model *from, struct builder *dropped)
{
    const char *why = why_not(provider);
    if (!why)
        return add_candidate(x, provider, model, from);
    builder_printf(dropped, "%s%.*s %s", builder_span(dropped).n ? "; " : "",
                   SPAN_ARG(provider->name), why);
    return ERR_OK;
}

static enum err consider_model(struct exchange *x, const struct model *m, struct builder *dropped)
{
    for (size_t i = 0; i < m->target_count; i++) {
        struct span model;
        TRY(fill_star(x, m->targets[i].model, &model));
        TRY(consider(x, m->targets[i].provider, model, m, dropped));
    }
    return ERR_OK;
}

static enum err consider_direct(struct exchange *x, struct builder *dropped)
{
    struct span word = x->route && x->route->model.n ? x->route->model : x->call.model;
    struct span provider, model;
    span_cut(word, '/', &provider, &model);
    x->reason = "asked for by name";
    return consider(x, map_get(&x->policy->providers_by_name, provider), model, NULL, dropped);
}

enum err gate_plan(struct exchange *x)
{
    char text[256];
    struct builder dropped;
    builder_init_fixed(&dropped, text, sizeof text);
    if (!x->model) {
        TRY(consider_direct(x, &dropped));
    } else {
        x->reason = x->model->target_count == 1 ? "only target" : "first of the list";
        TRY(consider_model(x, x->model, &dropped));
        for (size_t i = 0; i < x->model->fallback_count; i++)
            TRY(consider_model(x, x->model->fallbacks[i], &dropped));
    }
    if (x->candidate_count)
        return ERR_OK;
    return fail(x->failure, ERR_NO_TARGET, "no target is available: %.*s",
                SPAN_ARG(builder_span(&dropped)));
}
