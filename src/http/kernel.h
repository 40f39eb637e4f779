/* kernel.h -- the machine-dependent inner loops of this room, and which of them runs.
 *
 * Why: the fields of heads are most of what HTTP/1 costs. A kernel takes those that look as nearly
 * all do, 32 bytes at a time, and stops before the first that does not: that one is judged by the
 * careful reader in h1_parse.c, which is also all that a machine without a kernel has.
 *
 * Owns:      nothing.
 * Bounds:    reads no byte outside of what it is given, but for a field's name: see fields.
 * Suspends:  never.     Threads: any; http_kernel_use is for tests and benches, while one runs.
 */
#ifndef PENSTOCK_HTTP_KERNEL_H
#define PENSTOCK_HTTP_KERNEL_H

#include "http/message.h"

struct http_kernel {
    const char *name; /* "portable", "sse2", "avx2", "neon" */

    /* Adds the fields that begin at `p`, whole lines only, while they are as usual; answers where
     * the first begins that was not taken. At least two bytes before p can be read: every head has
     * a first line. */
    const char *(*fields)(const char *p, const char *end, struct http_head *head);

    /* How many bytes are neither visible ASCII nor SP. */
    size_t (*unusual)(const char *p, const char *end);
};

/* What this machine can run, the slowest first. */
const struct http_kernel *const *http_kernels(size_t *count);

/* The best of them, or what http_kernel_use said. */
const struct http_kernel *http_kernel(void);
void http_kernel_use(const struct http_kernel *kernel);

/* Private to kernel.c. */
extern const struct http_kernel http_kernel_avx2;

#endif
