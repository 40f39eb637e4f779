/* exchange.h -- one call on its way through the pipeline: what the stages tell each other.
 *
 * Why: a stage never calls another; each fills its group of fields, and reads those above it.
 *
 * Owns:      a reference of the policy; everything else lies in the request's arena.
 * Suspends:  never.     Threads: the loop's.
 */
#ifndef PENSTOCK_GATE_EXCHANGE_H
#define PENSTOCK_GATE_EXCHANGE_H

#include "fiber/loop.h"
#include "gate/gate.h"
#include "llm/call.h"
#include "watch/record.h"

enum { ID_BYTES = 32, TARGETS_MAX = RECORD_ATTEMPTS_MAX, TARGET_NAME_MAX = 384 };

/* A target that may be tried, in the order of trying. */
struct candidate {
    const struct provider *provider;
    struct span model;        /* the provider's name for it */
    struct span name;         /* "provider/model" */
    const struct model *from; /* the model of the policy that named it; NULL: asked for directly */
};

struct exchange {
    struct gate *gate;
    struct http_request *rq;
    struct policy *policy;   /* referenced */
    struct failure *failure; /* the request's slot */
    char id[ID_BYTES + 1];   /* NUL-terminated: the fiber's label, too */
    int64_t wall_ns;

    /* identify */
    const struct key *key;

    /* understand */
    struct call call;
    struct span project, user, tags; /* what the caller said about itself */

    /* match */
    const struct route *route;
    const struct model *model;
    struct span star; /* what the model's pattern matched */
    int64_t deadline; /* of the whole call */

    /* plan */
    struct candidate candidates[TARGETS_MAX];
    size_t candidate_count;
    const char *reason; /* why the first is first */

    /* attempt */
    struct record_attempt attempts[RECORD_ATTEMPTS_MAX];
    size_t attempt_count;
    const struct candidate *chosen; /* whose answer the caller gets */
    struct http_call upstream;
    bool is_upstream_open;
    const char *fallback_why; /* why the one before it was given up */
    struct span answer;       /* a whole answer; empty while it is relayed */
    struct builder whole;     /* where it lies when it came in pieces */

    /* relay */
    struct usage usage;
    int64_t first_token_ns; /* after the head was received; -1: none */
    bool client_gone;

    /* when: monotonic */
    int64_t read_ns, decided_ns, sent_ns, first_byte_ns, relayed_ns;
    int64_t waited_ns; /* for providers, in all attempts */
};

/* --- the stages, in their order: gate/pipeline.c ---------------------------------------------- */

/* Who asks: fills key. ERR_BAD_KEY. */
MUST_USE enum err gate_identify(struct exchange *x);

/* What is asked: reads the body and fills call. ERR_BAD_JSON, ERR_BAD_REQUEST, ERR_TOO_LARGE. */
MUST_USE SUSPENDS enum err gate_understand(struct exchange *x, enum endpoint endpoint);

/* Which policy: fills route, model, deadline. ERR_NO_MODEL, ERR_MODEL_DENIED. */
MUST_USE enum err gate_match(struct exchange *x);

/* Whether the input may pass. */
MUST_USE enum err gate_guard_input(struct exchange *x);

/* Whether there is room for it. What it reserves is given back by gate_settle. */
MUST_USE enum err gate_admit(struct exchange *x);

/* Who could answer, in order. ERR_NO_TARGET, saying why for each. */
MUST_USE enum err gate_plan(struct exchange *x);

/* Asks them until one answers. The answer's head is there, and its body unless it is relayed. */
MUST_USE SUSPENDS enum err gate_attempt(struct exchange *x);

/* Hands the answer to the caller, and counts. */
MUST_USE SUSPENDS enum err gate_relay(struct exchange *x);

/* What it really took, and the record of it. Never fails, never waits. */
void gate_settle(struct exchange *x, enum err outcome);

/* --- shared by stages ------------------------------------------------------------------------- */

/* Answers with the failure, in the caller's dialect. */
SUSPENDS void gate_reply_error(struct exchange *x, enum err code);

/* The fields that every answer carries; returns how many were added. */
enum { OWN_FIELDS_MAX = 8 };
size_t gate_own_fields(struct exchange *x, struct http_field *fields);

/* GET /v1/models and /v1/models/{id}. */
SUSPENDS void gate_serve_models(struct exchange *x, struct span id);

#endif
