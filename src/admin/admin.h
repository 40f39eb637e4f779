/* admin.h -- the operators' paths: health, readiness, metrics, and the admin API.
 *
 * Why: whoever runs the gateway asks it how it is and tells it what to do; by a key of its own, and
 * where configured on an address of its own.
 *
 * Owns:      nothing; what it shows and does comes from its host through struct admin_host.
 * Errors:    401 without the admin key; the admin API is never open.
 * Suspends:  admin_serve.     Threads: the loop's.
 */
#ifndef PENSTOCK_ADMIN_ADMIN_H
#define PENSTOCK_ADMIN_ADMIN_H

#include "base/builder.h"
#include "http/server.h"

/* What the worker lets operators see and do. */
struct admin_host {
    void *self;
    struct span admin_key; /* never empty */
    /* NULL when ready, else what is not. */
    const char *(*not_ready)(void *self);
    SUSPENDS void (*write_metrics)(void *self, struct builder *out);
    void (*write_status)(void *self, struct builder *out); /* one JSON object */
    /* Reads the configuration file again. False: nothing changed; `said` tells why. */
    SUSPENDS bool (*reload)(void *self, struct builder *said);
    void (*drain)(void *self);
};

/* Answers the request when its path is an operator's. False: it is not, nothing was done. */
MUST_USE SUSPENDS bool admin_serve(const struct admin_host *host, struct http_request *rq);

#endif
