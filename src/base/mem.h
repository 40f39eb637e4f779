/* mem.h -- where all memory comes from.
 *
 * Why: one door, so that tests can fail the n-th allocation and a budget can see every byte.
 * Libraries that let us choose their allocator (nghttp2, c-ares) use this door too.
 *
 * Owns:      what it hands out belongs to the caller, who gives it back with mem_free.
 * Errors:    NULL when there is no memory; every caller checks.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_BASE_MEM_H
#define PENSTOCK_BASE_MEM_H

#include "base/base.h"

/* Replaced by the fault tests before anything else runs; production never writes it. */
struct mem_door {
    void *(*realloc)(void *old, size_t n); /* old == NULL allocates */
    void (*free)(void *p);
};
extern struct mem_door mem_door;

/* NULL when there is no memory. n may be 0: a unique pointer then. */
MUST_USE void *mem_alloc(size_t n);

/* As mem_alloc, filled with zeros; `count * size` is checked for overflow. */
MUST_USE void *mem_calloc(size_t count, size_t size);

/* NULL when there is no memory: `old` is untouched then. */
MUST_USE void *mem_realloc(void *old, size_t n);

/* A copy of n bytes, or NULL. */
MUST_USE void *mem_dup(const void *bytes, size_t n);

/* NULL is fine. */
void mem_free(void *p);

/* Gives what load left free behind back to the system. Takes milliseconds: for a quiet moment. */
void mem_trim(void);

/* Overwrites in a way that the compiler cannot leave out: for secrets. */
void mem_wipe(void *p, size_t n);

#endif
