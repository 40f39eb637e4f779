/* builder.h -- text that grows up to a maximum.
 *
 * Why: whatever a peer can make grow needs a bound, and a writer should not check every byte. A
 * builder that failed once stays failed and swallows what follows; the owner asks once at the end.
 *
 * Owns:      its memory, unless it was given a fixed buffer.
 * Lends:     builder_span until the next append or release.
 * Bounds:    `max` bytes, given at init.
 * Errors:    builder_check: ERR_OK, ERR_TOO_LARGE or ERR_NO_MEMORY.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_BASE_BUILDER_H
#define PENSTOCK_BASE_BUILDER_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

struct builder { /* private; read through the functions below */
    char *p;
    size_t n, room, max;
    enum err failed;
    bool is_fixed;
};

/* Memory is allocated as the text grows. */
void builder_init(struct builder *b, size_t max);

/* Writes into the caller's buffer and never allocates. */
void builder_init_fixed(struct builder *b, void *buffer, size_t size);

void builder_deinit(struct builder *b);

/* Forgets the text and an earlier failure, keeps the memory. */
void builder_clear(struct builder *b);

/* A place of at least n bytes to write to; builder_advance says how many were. NULL: failed. */
MUST_USE char *builder_reserve(struct builder *b, size_t n);
void builder_advance(struct builder *b, size_t n);

/* Each may make the builder fail. */
COLD void builder_grow_and_add(struct builder *b, const void *bytes, size_t n);
void builder_add_u64(struct builder *b, uint64_t value);
void builder_add_i64(struct builder *b, int64_t value);
void builder_printf(struct builder *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* How much can be added before the builder has to grow. */
static inline size_t builder_room(const struct builder *b)
{
    return b->room - b->n;
}

/* Where builder_room bytes can be written, and what says that n of them were: builder_reserve
 * without a call, for who has looked at the room. */
static inline char *builder_end(struct builder *b)
{
    return b->p + b->n;
}

static inline void builder_took(struct builder *b, size_t n)
{
    b->n += n;
}

static inline void builder_add_bytes(struct builder *b, const void *bytes, size_t n)
{
    if (LIKELY(n <= b->room - b->n)) {
        if (n)
            memcpy(b->p + b->n, bytes, n);
        b->n += n;
    } else {
        builder_grow_and_add(b, bytes, n);
    }
}

static inline void builder_add(struct builder *b, struct span s)
{
    builder_add_bytes(b, s.p, s.n);
}

static inline void builder_add_char(struct builder *b, char c)
{
    builder_add_bytes(b, &c, 1);
}

static inline void builder_add_cstr(struct builder *b, const char *text)
{
    builder_add_bytes(b, text, strlen(text));
}

/* What was built. Only meaningful while builder_check says ERR_OK. */
static inline struct span builder_span(const struct builder *b)
{
    return (struct span){b->p, b->n};
}

MUST_USE static inline enum err builder_check(const struct builder *b)
{
    return b->failed;
}

#endif
