#include "base/sys.h"
#include "gate/exchange.h"

/* "20s", "1500ms", "2m" */
static bool read_duration(struct span text, int64_t *ns)
{
    static const struct {
        struct span unit;
        int64_t ns;
    } units[] = {
        {SPAN_INIT("ms"), NS_PER_MS}, {SPAN_INIT("s"), NS_PER_S}, {SPAN_INIT("m"), 60 * NS_PER_S}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t number;
        if (!span_ends(text, units[i].unit) ||
            span_to_u64(span(text.p, text.n - units[i].unit.n), &number) != ERR_OK)
            continue;
        if (number == 0 || number > 86400000)
            return false;
        *ns = (int64_t)number * units[i].ns;
        return true;
    }
    return false;
}

/* The key's own route, or the one that the caller names. */
static enum err find_route(struct exchange *x)
{
    struct span name = http_get(&x->rq->head, HTTP_KNOWN_X_PENSTOCK_ROUTE);
    x->route = x->key->route;
    if (name.n == 0)
        return ERR_OK;
    x->route = map_get(&x->policy->routes_by_name, name);
    if (!x->route)
        return fail(x->failure, ERR_BAD_REQUEST, "there is no route '%.*s'", SPAN_ARG(name));
    return ERR_OK;
}

static enum err find_deadline(struct exchange *x)
{
    int64_t timeout =
        x->route && x->route->timeout_ns ? x->route->timeout_ns : x->policy->timeout_ns;
    struct span asked = http_get(&x->rq->head, HTTP_KNOWN_X_PENSTOCK_TIMEOUT);
    int64_t own;
    if (asked.n && !read_duration(asked, &own))
        return fail(x->failure, ERR_BAD_REQUEST,
                    "x-penstock-timeout must be a duration such as 20s, 1500ms or 2m");
    if (asked.n)
        timeout = MIN(timeout, own);
    x->deadline = x->rq->received_ns + timeout;
    return ERR_OK;
}

/* PROVIDER/MODEL, where the policy lets callers say that. */
static bool names_provider(const struct exchange *x, struct span word)
{
    struct span provider, model;
    return span_cut(word, '/', &provider, &model) && model.n > 0 &&
           map_get(&x->policy->providers_by_name, provider) != NULL &&
           (x->policy->models_are_open || x->key->model_count > 0);
}

enum err gate_match(struct exchange *x)
{
    TRY(find_route(x));
    TRY(find_deadline(x));
    struct span word = x->route && x->route->model.n ? x->route->model : x->call.model;
    x->model = policy_find_model(x->policy, word, &x->star);
    if (!x->model && !names_provider(x, word))
        return fail(x->failure, ERR_NO_MODEL, "there is no model '%.*s'", SPAN_ARG(word));
    if (!key_allows_model(x->key, word))
        return fail(x->failure, ERR_MODEL_DENIED, "this key may not use the model '%.*s'",
                    SPAN_ARG(word));
    return ERR_OK;
}
