/* metrics.h -- counters and latency histograms, a shard a worker.
 *
 * Why: a counter that all workers share is a cache line that all workers fight for. Each adds to
 * its own shard; whoever renders adds the shards up.
 *
 * Owns:      nothing: the shards are the caller's.
 * Bounds:    every label comes from a fixed list, so the number of series is fixed.
 * Suspends:  never.     Threads: one writer a shard, any number of readers.
 */
#ifndef PENSTOCK_WATCH_METRICS_H
#define PENSTOCK_WATCH_METRICS_H

#include "base/builder.h"

#include <stdatomic.h>

/* Stages of a call that take time; see gate/pipeline.c. */
enum metric_stage {
    STAGE_READ,   /* head complete to body complete */
    STAGE_DECIDE, /* identify to plan */
    STAGE_SEND,   /* to the last byte of the request sent upstream, connecting included */
    STAGE_WAIT,   /* for the provider's first byte */
    STAGE_RELAY,  /* first byte to the end of the answer */
    STAGE_SETTLE, /* usage, record, metrics */
    STAGE_COUNT
};

enum { METRIC_ENDPOINTS = 5, METRIC_STATUSES = 16, METRIC_ERRORS = 64, METRIC_BUCKETS = 28 };

struct histogram {
    _Atomic uint64_t buckets[METRIC_BUCKETS]; /* bucket b: up to 2^(10 + b) ns */
    _Atomic uint64_t sum_ns;
};

struct metrics {
    _Atomic uint64_t requests[METRIC_ENDPOINTS][METRIC_STATUSES];
    _Atomic uint64_t attempts[METRIC_ERRORS]; /* by enum err; 0: ok */
    _Atomic uint64_t tokens_in, tokens_out, tokens_cached;
    _Atomic uint64_t streams;
    struct histogram total, first_byte, overhead;
    struct histogram stages[STAGE_COUNT];
    /* Set by the worker now and then: what other rooms count themselves. */
    _Atomic uint64_t gauges[32];
};

/* The owner's add: no locked instruction. */
static inline void metric_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

void metric_request(struct metrics *m, unsigned endpoint, int status);
void metric_time(struct histogram *h, int64_t took_ns);

/* What the rooms below count, told by each worker for the rendering. */
enum metric_gauge {
#define X(name, type, text) GAUGE_##name,
#include "watch/gauges.def"
#undef X
    GAUGE_COUNT
};

static inline void metric_set(struct metrics *m, enum metric_gauge g, uint64_t value)
{
    atomic_store_explicit(&m->gauges[g], value, memory_order_relaxed);
}

/* What is counted once a process. */
struct metrics_process {
    uint64_t log_dropped, generation, reloads_failed, restarts;
    int64_t started_wall_ns;
};

/* The text format of Prometheus, version 0.0.4. */
void metrics_render(struct builder *out, struct metrics *const *shards, size_t count,
                    const struct metrics_process *process);

#endif
