#include "base/sys.h"
#include "gate/exchange.h"

static void count(struct exchange *x, int64_t now, int status)
{
    struct metrics *m = x->gate->metrics;
    int64_t received = x->rq->received_ns;
    metric_request(m, x->call.endpoint, status);
    metric_time(&m->total, now - received);
    metric_time(&m->overhead, now - received - x->waited_ns);
    if (x->read_ns)
        metric_time(&m->stages[STAGE_READ], x->read_ns - received);
    if (x->decided_ns)
        metric_time(&m->stages[STAGE_DECIDE], x->decided_ns - x->read_ns);
    if (x->first_byte_ns) {
        metric_time(&m->first_byte, x->first_byte_ns - received);
        metric_time(&m->stages[STAGE_SEND], x->sent_ns - x->decided_ns);
        metric_time(&m->stages[STAGE_WAIT], x->first_byte_ns - x->sent_ns);
    }
    if (x->relayed_ns)
        metric_time(&m->stages[STAGE_RELAY], x->relayed_ns - x->first_byte_ns);
    if (x->usage.is_known) {
        metric_add(&m->tokens_in, (uint64_t)x->usage.input);
        metric_add(&m->tokens_out, (uint64_t)x->usage.output);
        metric_add(&m->tokens_cached, (uint64_t)x->usage.cached);
    }
}

static void write_record(struct exchange *x, int64_t now, int status, const char *error)
{
    const struct key *key = x->key;
    struct record r = {
        .id = span(x->id, ID_BYTES),
        .wall_ns = x->wall_ns,
        .project = x->project,
        .user = x->user,
        .tags = x->tags,
        .dialect = dialect_name(DIALECT_OPENAI).p,
        .endpoint = x->call.endpoint < ENDPOINT_COUNT ? endpoint_name(x->call.endpoint) : NULL,
        .model = x->call.model,
        .reason = x->reason,
        .attempts = x->attempts,
        .attempt_count = x->attempt_count,
        .stream = x->call.stream,
        .status = status,
        .error = error,
        .has_tokens = x->usage.is_known,
        .input_tokens = x->usage.input,
        .cached_tokens = x->usage.cached,
        .cache_write_tokens = x->usage.cache_write,
        .output_tokens = x->usage.output,
        .reasoning_tokens = x->usage.reasoning,
        .total_ns = now - x->rq->received_ns,
        .first_token_ns = x->first_token_ns,
        .overhead_ns = now - x->rq->received_ns - x->waited_ns,
    };
    if (key) {
        r.organisation = key->organisation;
        r.team = key->team;
        r.key = key->name;
        r.user = x->user.n ? x->user : key->user;
    }
    if (x->route)
        r.route = x->route->name;
    if (x->chosen)
        r.target = x->chosen->name;
    access_log_put(x->gate->log, x->gate->worker, &r);
}

void gate_settle(struct exchange *x, enum err outcome)
{
    /* Nothing happens between the end of the relay and this. */
    int64_t began = x->relayed_ns ? x->relayed_ns : clock_ns();
    /* 499, as the field writes it: the caller left before it got an answer. */
    int status = x->rq->status ? x->rq->status : 499;
    enum err code = x->failure->code ? x->failure->code : outcome;
    const char *error = code == ERR_OK ? NULL : err_info(code)->code;
    if (x->client_gone || code == ERR_CANCELLED)
        error = "client_gone";
    count(x, began, status);
    write_record(x, began, status, error);
    metric_time(&x->gate->metrics->stages[STAGE_SETTLE], clock_ns() - began);
}
