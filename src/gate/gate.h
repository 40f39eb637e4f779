/* gate.h -- answers a caller's request: the pipeline as others see it.
 *
 * Why: the worker hands every request that is not an operator's to one function.
 *
 * Owns:      a struct gate a worker: its view of the policy, its client, its shard of metrics.
 * Bounds:    what the policy says.
 * Errors:    none: whatever fails becomes an answer in the caller's dialect.
 * Suspends:  gate_serve.     Threads: the loop's.
 */
#ifndef PENSTOCK_GATE_GATE_H
#define PENSTOCK_GATE_GATE_H

#include "gate/policy.h"
#include "http/client.h"
#include "http/server.h"
#include "watch/access_log.h"
#include "watch/metrics.h"

struct gate {
    size_t worker;         /* which one: its ring of the access log */
    struct policy *policy; /* requests take references of their own */
    struct http_client *client;
    struct access_log *log; /* NULL: off */
    struct metrics *metrics;
    struct origin mock_origin; /* where the built-in mock provider listens */
    uint64_t id_seed;          /* for request ids */
};

/* Once a process, before threads start. */
void gate_init(void);

/* Takes the caller's reference of the new policy, gives the old one's back. */
void gate_set_policy(struct gate *g, struct policy *p);

SUSPENDS void gate_serve(struct gate *g, struct http_request *rq);

#endif
