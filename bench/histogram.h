/* histogram.h -- times counted in buckets of equal relative width.
 *
 * Why: a percentile over millions of answers must not cost an allocation or a sort, and must be
 * right to about a percent from microseconds to minutes.
 *
 * Owns:      nothing; 30 KiB, embed it. Zero-initialised is empty.
 * Bounds:    a value above HISTOGRAM_MAX_NS is counted as HISTOGRAM_MAX_NS.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_BENCH_HISTOGRAM_H
#define PENSTOCK_BENCH_HISTOGRAM_H

#include "base/base.h"

enum {
    HISTOGRAM_SUB_BITS = 6, /* 64 buckets to a power of two: 1.6 % wide at most */
    HISTOGRAM_BUCKETS = (42 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS
};
#define HISTOGRAM_MAX_NS ((INT64_C(1) << 42) - 1) /* an hour and a bit */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    int64_t sum_ns, max_ns;
};

void histogram_add(struct histogram *h, int64_t value_ns);

/* The middle of the bucket that holds the given share (0..1) of all values; 0 when empty. */
int64_t histogram_quantile(const struct histogram *h, double share);

/* 0 when empty. */
int64_t histogram_mean(const struct histogram *h);

#endif
