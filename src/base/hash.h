/* hash.h -- SipHash-2-4 with 128 bits, and a hash for tables.
 *
 * Why: keys of callers are looked up by a keyed hash, so that neither the time a look-up takes nor
 * a chosen collision tells anything; tables that hold a caller's words must not be made slow by
 * chosen ones.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_BASE_HASH_H
#define PENSTOCK_BASE_HASH_H

#include "base/span.h"

struct hash_key {
    uint64_t k0, k1;
};

struct hash128 {
    uint64_t lo, hi;
};

/* SipHash-2-4-128 (Aumasson, Bernstein; reference output order). */
struct hash128 hash_keyed(const struct hash_key *key, struct span s);

/* A hash for tables in this process: keyed with a secret drawn at first use. Not stable between
 * processes. */
uint64_t hash_for_table(struct span s);

static inline bool hash128_eq(struct hash128 a, struct hash128 b)
{
    return ((a.lo ^ b.lo) | (a.hi ^ b.hi)) == 0; /* constant time */
}

#endif
