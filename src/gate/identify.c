#include "base/sys.h"
#include "gate/exchange.h"

/* The value of `key` in a query, percent-decoded into the arena; empty when it is not there. */
static struct span key_in_query(struct exchange *x)
{
    struct span rest = x->rq->head.query, pair, name, value;
    while (rest.n) {
        span_cut(rest, '&', &pair, &rest);
        if (span_cut(pair, '=', &name, &value) && span_eq(name, SPAN("key")))
            return value; /* keys are visible ASCII; those that need escapes are not matched */
    }
    return (struct span){0};
}

/* The places in the order of the contract; the first that says something counts. */
static struct span presented_key(struct exchange *x)
{
    const struct http_head *head = &x->rq->head;
    struct span authorization = http_get(head, HTTP_KNOWN_AUTHORIZATION);
    if (authorization.n > 7 && span_eq_nocase(span(authorization.p, 7), SPAN("Bearer ")))
        return span_trim(span_from(authorization, 7));
    struct span other = http_get(head, HTTP_KNOWN_X_API_KEY);
    if (other.n == 0)
        other = http_get(head, HTTP_KNOWN_X_GOOG_API_KEY);
    return other.n ? other : key_in_query(x);
}

enum err gate_identify(struct exchange *x)
{
    struct span text = presented_key(x);
    if (text.n == 0)
        return fail(x->failure, ERR_BAD_KEY,
                    "no API key: send it as Authorization: Bearer, x-api-key or x-goog-api-key");
    const struct key *key = policy_find_key(x->policy, text);
    if (!key)
        return fail(x->failure, ERR_BAD_KEY, "the API key is not known");
    x->key = key;
    if (key->expires_wall_ns && key->expires_wall_ns <= x->wall_ns)
        return fail(x->failure, ERR_BAD_KEY, "the API key has expired");
    return ERR_OK;
}
