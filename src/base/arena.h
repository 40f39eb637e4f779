/* arena.h -- memory that dies all at once, with the releases that must go with it.
 *
 * Why: a request makes hundreds of small things and has a dozen ways to end. Whoever owns the
 * arena frees everything by one call, on success, error and cancellation alike.
 *
 * Owns:      its blocks, and what was deferred on it.
 * Lends:     every pointer it hands out is valid until arena_reset or arena_deinit.
 * Bounds:    `bytes_max`, given at init; beyond it allocation answers NULL.
 * Errors:    NULL means no memory or over the bound; every caller checks (TRY_ALLOC).
 * Suspends:  never, and a deferred function must not either.    Threads: one owner.
 *
 * Debug and ASan builds give every object a block of its own, so that bounds are seen.
 */
#ifndef PENSTOCK_BASE_ARENA_H
#define PENSTOCK_BASE_ARENA_H

#include "base/base.h"
#include "base/span.h"

struct arena_block;
struct arena_defer;

struct arena { /* private to arena.c */
    char *at, *end;
    struct arena_block *blocks; /* newest first */
    struct arena_defer *defers; /* newest first */
    size_t bytes_used, bytes_max;
    char *first; /* the caller's own first block, reused by every reset */
    size_t first_size;
};

/* `first` (may be NULL) is memory of the caller's that is used before any is allocated. */
void arena_init(struct arena *a, size_t bytes_max, void *first, size_t first_size);

/* Runs what was deferred, last in first out, and frees all memory. The arena can be used again. */
void arena_reset(struct arena *a);

/* As arena_reset; the arena is dead afterwards. */
void arena_deinit(struct arena *a);

/* n bytes, aligned for any type, not initialised. */
MUST_USE void *arena_alloc(struct arena *a, size_t n);

/* n bytes without alignment: for text. */
MUST_USE char *arena_bytes(struct arena *a, size_t n);

MUST_USE void *arena_zalloc(struct arena *a, size_t n);
#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_NEW_ARRAY(a, type, count) ((type *)arena_zalloc_array((a), (count), sizeof(type)))
MUST_USE void *arena_zalloc_array(struct arena *a, size_t count, size_t size);

/* A copy that lives as long as the arena. False when there is no room. */
MUST_USE bool arena_dup(struct arena *a, struct span s, struct span *copy);

/* As arena_dup, with a NUL behind it; NULL when there is no room. */
MUST_USE char *arena_cstr(struct arena *a, struct span s);

/* NULL when there is no room. */
MUST_USE char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

/* fn(arg) runs when the arena is reset. It must not fail or suspend. False: not registered, the
 * caller still has to release. */
MUST_USE bool arena_defer(struct arena *a, void (*fn)(void *arg), void *arg);

/* Bytes handed out since the last reset. */
static inline size_t arena_used(const struct arena *a)
{
    return a->bytes_used;
}

#endif
