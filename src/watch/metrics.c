#include "watch/metrics.h"

#include "base/err.h"
#include "base/sys.h"

#include <stdio.h>

static_assert((int)GAUGE_COUNT <= 32, "metrics.gauges has room");
static_assert((int)ERR_COUNT <= METRIC_ERRORS, "metrics.attempts has room");

/* The last is for every other status. */
static const int statuses[METRIC_STATUSES] = {200, 400, 401, 403, 404, 405, 408, 413,
                                              415, 429, 499, 500, 502, 503, 504, 0};
static const char *const endpoints[METRIC_ENDPOINTS] = {"chat", "completions", "embeddings",
                                                        "models", "other"};
static const char *const stages[STAGE_COUNT] = {"read", "decide", "send",
                                                "wait", "relay",  "settle"};

void metric_request(struct metrics *m, unsigned endpoint, int status)
{
    unsigned s = 0;
    while (s < METRIC_STATUSES - 1 && statuses[s] != status)
        s++;
    metric_add(&m->requests[MIN(endpoint, METRIC_ENDPOINTS - 1u)][s], 1);
}

void metric_time(struct histogram *h, int64_t took_ns)
{
    uint64_t ns = took_ns > 0 ? (uint64_t)took_ns : 0;
    unsigned bits = ns > 1024 ? 64 - (unsigned)__builtin_clzll(ns - 1) : 10;
    metric_add(&h->buckets[MIN(bits - 10, METRIC_BUCKETS - 1u)], 1);
    metric_add(&h->sum_ns, ns);
}

/* --- rendering -------------------------------------------------------------------------------- */

struct rendering {
    struct builder *out;
    struct metrics *const *shards;
    size_t count;
};

/* The sum over all shards of the counter that lies `offset` bytes into each. */
static uint64_t sum(const struct rendering *r, size_t offset)
{
    uint64_t total = 0;
    for (size_t i = 0; i < r->count; i++) {
        _Atomic uint64_t *counter = (void *)((char *)r->shards[i] + offset);
        total += atomic_load_explicit(counter, memory_order_relaxed);
    }
    return total;
}

static void header(struct builder *out, const char *name, const char *type, const char *help)
{
    builder_printf(out, "# HELP penstock_%s %s.\n# TYPE penstock_%s %s\n", name, help, name, type);
}

static void one(struct builder *out, const char *name, const char *type, const char *help,
                uint64_t value)
{
    header(out, name, type, help);
    builder_printf(out, "penstock_%s %llu\n", name, (unsigned long long)value);
}

static void render_requests(const struct rendering *r)
{
    header(r->out, "requests_total", "counter", "Answered requests by endpoint and status");
    for (size_t e = 0; e < METRIC_ENDPOINTS; e++)
        for (size_t s = 0; s < METRIC_STATUSES; s++) {
            uint64_t n = sum(r, offsetof(struct metrics, requests) +
                                    (e * METRIC_STATUSES + s) * sizeof(uint64_t));
            if (n == 0)
                continue;
            builder_printf(r->out, "penstock_requests_total{endpoint=\"%s\",status=\"",
                           endpoints[e]);
            if (statuses[s])
                builder_add_u64(r->out, (uint64_t)statuses[s]);
            else
                builder_add(r->out, SPAN("other"));
            builder_printf(r->out, "\"} %llu\n", (unsigned long long)n);
        }
}

static void render_attempts(const struct rendering *r)
{
    header(r->out, "attempts_total", "counter", "Attempts on targets by outcome");
    for (size_t e = 0; e < ERR_COUNT; e++) {
        uint64_t n = sum(r, offsetof(struct metrics, attempts) + e * sizeof(uint64_t));
        if (n)
            builder_printf(r->out, "penstock_attempts_total{outcome=\"%s\"} %llu\n",
                           e == ERR_OK ? "ok" : err_info((enum err)e)->name, (unsigned long long)n);
    }
}

/* `label` is "" or `stage="wait"`. */
static void render_histogram(const struct rendering *r, const char *name, const char *label,
                             size_t offset)
{
    const char *comma = *label ? "," : "";
    uint64_t count = 0;
    for (unsigned b = 0; b < METRIC_BUCKETS; b++) {
        count += sum(r, offset + offsetof(struct histogram, buckets) + b * sizeof(uint64_t));
        if (b + 1 < METRIC_BUCKETS)
            builder_printf(r->out, "penstock_%s_bucket{%s%sle=\"%.9g\"} %llu\n", name, label, comma,
                           (double)(UINT64_C(1) << (10 + b)) / 1e9, (unsigned long long)count);
    }
    double seconds = (double)sum(r, offset + offsetof(struct histogram, sum_ns)) / 1e9;
    builder_printf(r->out, "penstock_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, label, comma,
                   (unsigned long long)count);
    const char *open = *label ? "{" : "", *close = *label ? "}" : "";
    builder_printf(r->out, "penstock_%s_sum%s%s%s %.9g\npenstock_%s_count%s%s%s %llu\n", name, open,
                   label, close, seconds, name, open, label, close, (unsigned long long)count);
}

static void render_times(const struct rendering *r)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } whole[] = {
        {"request_seconds", "From the head of a request to the end of its answer",
         offsetof(struct metrics, total)},
        {"first_byte_seconds", "From the head of a request to the provider's first byte",
         offsetof(struct metrics, first_byte)},
        {"overhead_seconds", "The gateway's own share of a request",
         offsetof(struct metrics, overhead)},
    };
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        header(r->out, whole[i].name, "histogram", whole[i].help);
        render_histogram(r, whole[i].name, "", whole[i].offset);
    }
    header(r->out, "stage_seconds", "histogram", "Time of a request by stage");
    for (size_t s = 0; s < STAGE_COUNT; s++) {
        char label[32];
        snprintf(label, sizeof label, "stage=\"%s\"", stages[s]);
        render_histogram(r, "stage_seconds", label,
                         offsetof(struct metrics, stages) + s * sizeof(struct histogram));
    }
}

static void render_gauges(const struct rendering *r)
{
    static const struct {
        const char *name, *type, *help;
    } gauges[GAUGE_COUNT] = {
#define X(name, type, text) {#name, type, text},
#include "watch/gauges.def"
#undef X
    };
    for (size_t g = 0; g < GAUGE_COUNT; g++)
        one(r->out, gauges[g].name, gauges[g].type, gauges[g].help,
            sum(r, offsetof(struct metrics, gauges) + g * sizeof(uint64_t)));
}

void metrics_render(struct builder *out, struct metrics *const *shards, size_t count,
                    const struct metrics_process *p)
{
    struct rendering r = {out, shards, count};
    header(out, "build_info", "gauge", "The running version");
    builder_add(out, SPAN("penstock_build_info{version=\"" PENSTOCK_VERSION "\"} 1\n"));
    one(out, "start_time_seconds", "gauge", "When the worker process started",
        (uint64_t)(p->started_wall_ns / NS_PER_S));
    one(out, "config_generation", "gauge", "Configurations loaded since the start", p->generation);
    one(out, "config_reloads_failed_total", "counter", "Reloads that were refused",
        p->reloads_failed);
    one(out, "worker_restarts_total", "counter", "Worker processes that died and were replaced",
        p->restarts);
    one(out, "access_log_dropped_total", "counter", "Lines of the access log that were lost",
        p->log_dropped);
    render_requests(&r);
    render_attempts(&r);
    one(out, "input_tokens_total", "counter", "Input tokens that providers reported",
        sum(&r, offsetof(struct metrics, tokens_in)));
    one(out, "output_tokens_total", "counter", "Output tokens that providers reported",
        sum(&r, offsetof(struct metrics, tokens_out)));
    one(out, "cached_tokens_total", "counter", "Input tokens that providers had in their caches",
        sum(&r, offsetof(struct metrics, tokens_cached)));
    one(out, "streams_total", "counter", "Answers that were streamed",
        sum(&r, offsetof(struct metrics, streams)));
    render_times(&r);
    render_gauges(&r);
}
