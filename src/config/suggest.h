/* suggest.h -- the nearest right word.
 *
 * Why: "unknown word" makes a reader search the manual; most mistakes are one slip of the finger.
 *
 * Owns:      nothing.
 * Bounds:    words longer than SUGGEST_BYTES_MAX are near to nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_SUGGEST_H
#define PENSTOCK_CONFIG_SUGGEST_H

#include "base/span.h"

enum { SUGGEST_BYTES_MAX = 64 };

/* How many insertions, deletions, replacements and swaps of neighbours lead from one word to the
 * other (Damerau and Levenshtein; no part is edited twice). Case does not count. UINT32_MAX when a
 * word is too long. */
uint32_t edit_distance(struct span a, struct span b);

/* Gathers the nearest of the words that it is shown. */
struct suggestion {
    struct span wrong;
    struct span nearest; /* empty: none is near enough to be meant */
    uint32_t distance;   /* private */
};

void suggest_init(struct suggestion *s, struct span wrong);
void suggest_offer(struct suggestion *s, struct span right);

#endif
