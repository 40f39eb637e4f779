#include "histogram.h"

enum { SUB_COUNT = 1 << HISTOGRAM_SUB_BITS };

/* Values below SUB_COUNT have a bucket each; above, the top HISTOGRAM_SUB_BITS + 1 bits choose. */
static size_t bucket_of(int64_t value_ns)
{
    uint64_t v = (uint64_t)value_ns;
    if (v < SUB_COUNT)
        return (size_t)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HISTOGRAM_SUB_BITS;
    return ((size_t)(shift + 1) << HISTOGRAM_SUB_BITS) + (size_t)((v >> shift) & (SUB_COUNT - 1));
}

static int64_t middle_of(size_t bucket)
{
    if (bucket < SUB_COUNT)
        return (int64_t)bucket;
    size_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(SUB_COUNT + (bucket & (SUB_COUNT - 1))) << shift;
    return (int64_t)(low + ((UINT64_C(1) << shift) >> 1));
}

void histogram_add(struct histogram *h, int64_t value_ns)
{
    if (value_ns < 0)
        value_ns = 0;
    if (value_ns > HISTOGRAM_MAX_NS)
        value_ns = HISTOGRAM_MAX_NS;
    h->counts[bucket_of(value_ns)]++;
    h->count++;
    h->sum_ns += value_ns;
    if (value_ns > h->max_ns)
        h->max_ns = value_ns;
}

int64_t histogram_quantile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > wanted)
            return MIN(middle_of(i), h->max_ns);
    }
    return h->max_ns;
}

int64_t histogram_mean(const struct histogram *h)
{
    return h->count ? h->sum_ns / (int64_t)h->count : 0;
}
