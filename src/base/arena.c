#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    ALIGN = 16,
    BLOCK_SIZE = 4096 - 32, /* with malloc's own header still one page */
};

#if defined(PENSTOCK_DEBUG) || WITH_ASAN
enum { ONE_BLOCK_EACH = 1 };
#else
enum { ONE_BLOCK_EACH = 0 };
#endif

struct arena_block {
    struct arena_block *next;
    size_t pad_; /* keeps what follows aligned */
};
static_assert(sizeof(struct arena_block) % ALIGN == 0, "objects follow the block's head");

struct arena_defer {
    struct arena_defer *next;
    void (*fn)(void *arg);
    void *arg;
};

static void use_first(struct arena *a)
{
    a->at = a->first;
    a->end = a->first ? a->first + a->first_size : NULL;
    if (ONE_BLOCK_EACH)
        a->at = a->end;
}

void arena_init(struct arena *a, size_t bytes_max, void *first, size_t first_size)
{
    ASSERT(((uintptr_t)first & (ALIGN - 1)) == 0);
    *a = (struct arena){.bytes_max = bytes_max, .first = first, .first_size = first_size};
    use_first(a);
}

void arena_reset(struct arena *a)
{
    while (a->defers) {
        struct arena_defer *d = a->defers;
        a->defers = d->next; /* unlinked first: what it releases may look at the arena */
        d->fn(d->arg);
    }
    while (a->blocks) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        mem_free(block);
    }
    a->bytes_used = 0;
    use_first(a);
}

void arena_deinit(struct arena *a)
{
    arena_reset(a);
    *a = (struct arena){0};
}

static char *add_block(struct arena *a, size_t n)
{
    struct arena_block *block = mem_alloc(sizeof *block + n);
    if (!block)
        return NULL;
    block->next = a->blocks;
    a->blocks = block;
    return (char *)(block + 1);
}

/* An object that does not fit: a block of its own when it is large, a fresh common block else. */
static COLD char *alloc_slowly(struct arena *a, size_t n)
{
    if (ONE_BLOCK_EACH || n > BLOCK_SIZE / 4)
        return add_block(a, n);
    char *p = add_block(a, BLOCK_SIZE);
    if (!p)
        return NULL;
    a->at = p + n;
    a->end = p + BLOCK_SIZE;
    return p;
}

static char *take(struct arena *a, size_t n, size_t align)
{
    if (UNLIKELY(n > a->bytes_max - a->bytes_used))
        return NULL;
    a->bytes_used += n;
    uintptr_t at = ((uintptr_t)a->at + (align - 1)) & ~(uintptr_t)(align - 1);
    if (LIKELY(a->at && at <= (uintptr_t)a->end && n <= (uintptr_t)a->end - at &&
               !ONE_BLOCK_EACH)) {
        char *p = a->at + (at - (uintptr_t)a->at);
        a->at = p + n;
        return p;
    }
    return alloc_slowly(a, n);
}

void *arena_alloc(struct arena *a, size_t n)
{
    return take(a, n, ALIGN);
}

char *arena_bytes(struct arena *a, size_t n)
{
    return take(a, n, 1);
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = take(a, n, ALIGN);
    if (p)
        memset(p, 0, n);
    return p;
}

void *arena_zalloc_array(struct arena *a, size_t count, size_t size)
{
    size_t n;
    return __builtin_mul_overflow(count, size, &n) ? NULL : arena_zalloc(a, n);
}

bool arena_dup(struct arena *a, struct span s, struct span *copy)
{
    char *p = arena_bytes(a, s.n);
    if (!p)
        return false;
    if (s.n)
        memcpy(p, s.p, s.n);
    *copy = span(p, s.n);
    return true;
}

char *arena_cstr(struct arena *a, struct span s)
{
    char *p = arena_bytes(a, s.n + 1);
    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    char *p = arena_bytes(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

bool arena_defer(struct arena *a, void (*fn)(void *arg), void *arg)
{
    struct arena_defer *d = arena_alloc(a, sizeof *d);
    if (!d)
        return false;
    *d = (struct arena_defer){.next = a->defers, .fn = fn, .arg = arg};
    a->defers = d;
    return true;
}
