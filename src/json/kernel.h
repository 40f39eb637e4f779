/* kernel.h -- the machine-dependent inner loops of this room, and which of them runs.
 *
 * Why: strings are the bulk of every body. Skipping them by 16 or 32 bytes is what makes a full
 * check cheaper than a copy; a portable twin does the same by words, so that the binary runs
 * anywhere and every test can run against each variant.
 *
 * Owns:      nothing.
 * Bounds:    reads no byte outside [begin, end).
 * Suspends:  never.     Threads: any; json_kernel_use is for tests and benches, while one runs.
 */
#ifndef PENSTOCK_JSON_KERNEL_H
#define PENSTOCK_JSON_KERNEL_H

#include "base/base.h"

struct scan;

struct json_kernel {
    const char *name; /* "portable", "sse2", "avx2", "neon" */
    /* The first byte of [p, end) that is not plain text of a string: a quote, a backslash, a byte
     * below 0x20, or the first byte of something that is not UTF-8 or is cut off by `end`. `end`
     * when all of it is plain. `p` must stand where a character begins. */
    const char *(*text)(const char *p, const char *end);
    bool (*scan)(struct scan *s, bool closed); /* private to scan.c */
};

/* What this machine can run, the slowest first. */
const struct json_kernel *const *json_kernels(size_t *count);

/* The best of them, or what json_kernel_use said. */
const struct json_kernel *json_kernel(void);
void json_kernel_use(const struct json_kernel *kernel);

#endif
