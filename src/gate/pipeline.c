/* The life of a call, top to bottom: one line a stage. */
#include "base/encode.h"
#include "base/sys.h"
#include "gate/exchange.h"

/* --- which endpoint --------------------------------------------------------------------------- */

static const struct {
    struct span path;
    enum http_method method;
    enum endpoint endpoint;
} paths[] = {
    {SPAN_INIT("/v1/chat/completions"), HTTP_POST, ENDPOINT_CHAT},
    {SPAN_INIT("/v1/completions"), HTTP_POST, ENDPOINT_COMPLETIONS},
    {SPAN_INIT("/v1/embeddings"), HTTP_POST, ENDPOINT_EMBEDDINGS},
    {SPAN_INIT("/v1/models"), HTTP_GET, ENDPOINT_MODELS},
};
static const struct span one_model = SPAN_INIT("/v1/models/");

static enum err find_endpoint(const struct http_head *head, enum endpoint *endpoint,
                              struct failure *why)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        bool is_one = paths[i].endpoint == ENDPOINT_MODELS && span_starts(head->path, one_model);
        if (!span_eq(head->path, paths[i].path) && !is_one)
            continue;
        *endpoint = paths[i].endpoint;
        if (head->method == paths[i].method)
            return ERR_OK;
        return fail(why, ERR_BAD_METHOD, "%.*s takes %.*s", SPAN_ARG(paths[i].path),
                    SPAN_ARG(http_method_text(paths[i].method)));
    }
    return fail(why, ERR_NOT_FOUND, "there is nothing at %.*s", SPAN_ARG(head->path));
}

/* --- the pipeline ----------------------------------------------------------------------------- */

static SUSPENDS enum err run_stages(struct exchange *x, enum endpoint endpoint)
{
    TRY(gate_identify(x));
    if (endpoint == ENDPOINT_MODELS) {
        gate_serve_models(x, span_from(x->rq->head.path, one_model.n));
        return ERR_OK;
    }
    TRY(gate_understand(x, endpoint));
    TRY(gate_match(x));
    TRY(gate_guard_input(x));
    TRY(gate_admit(x));
    TRY(gate_plan(x));
    x->decided_ns = clock_ns();
    TRY(gate_attempt(x));
    return gate_relay(x);
}

/* Sortable by time, unguessable, unique in a fleet: 48 bits of milliseconds, 80 of chance. */
static void make_id(struct exchange *x)
{
    uint64_t words[2] = {(uint64_t)(x->wall_ns / NS_PER_MS) << 16 | (random_u64() & 0xffff),
                         random_u64()};
    words[0] = __builtin_bswap64(words[0]);
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the time's high byte comes first");
    hex_encode(words, sizeof words, x->id);
}

static enum endpoint endpoint_or_other(enum err e, enum endpoint endpoint)
{
    return e == ERR_NOT_FOUND ? ENDPOINT_COUNT : endpoint;
}

void gate_serve(struct gate *g, struct http_request *rq)
{
    struct exchange *x = ARENA_NEW(&rq->arena, struct exchange);
    if (!x)
        return; /* the connection is cut: there is no memory for an answer */
    x->gate = g;
    x->rq = rq;
    x->failure = &rq->failure;
    x->policy = policy_ref(g->policy);
    x->wall_ns = wall_ns();
    x->first_token_ns = -1;
    x->call.endpoint = ENDPOINT_COUNT;
    make_id(x);
    fiber_set_label(x->id);
    enum endpoint endpoint = ENDPOINT_COUNT;
    enum err e = find_endpoint(&rq->head, &endpoint, x->failure);
    x->call.endpoint = endpoint_or_other(e, endpoint);
    if (e == ERR_OK)
        e = run_stages(x, endpoint);
    if (e != ERR_OK)
        gate_reply_error(x, e);
    gate_settle(x, e);
    fiber_set_label(NULL); /* it lies in the request's arena */
    policy_unref(x->policy);
}

void gate_init(void)
{
    openai_init();
}

void gate_set_policy(struct gate *g, struct policy *p)
{
    struct policy *old = g->policy;
    g->policy = p;
    if (old)
        policy_unref(old);
}
