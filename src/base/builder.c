#include "base/builder.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum { FIRST_ROOM = 256 };

void builder_init(struct builder *b, size_t max)
{
    *b = (struct builder){.max = max};
}

void builder_init_fixed(struct builder *b, void *buffer, size_t size)
{
    *b = (struct builder){.p = buffer, .room = size, .max = size, .is_fixed = true};
}

void builder_deinit(struct builder *b)
{
    if (!b->is_fixed)
        mem_free(b->p);
    *b = (struct builder){0};
}

void builder_clear(struct builder *b)
{
    /* A failed builder closed its room (see give_up); open it again. */
    if (b->failed != ERR_OK && !b->is_fixed) {
        mem_free(b->p);
        b->p = NULL;
        b->room = 0;
    } else if (b->failed != ERR_OK) {
        b->room = b->max;
    }
    b->n = 0;
    b->failed = ERR_OK;
}

/* No room from here on, so that the inline appends all end in builder_grow_and_add. */
static void give_up(struct builder *b, enum err why)
{
    b->failed = why;
    b->room = b->n;
}

static bool grow(struct builder *b, size_t n)
{
    if (b->failed != ERR_OK)
        return false;
    if (n > b->max - b->n || b->is_fixed) {
        give_up(b, ERR_TOO_LARGE);
        return false;
    }
    size_t room = MAX(b->room * 2, (size_t)FIRST_ROOM);
    room = MIN(MAX(room, b->n + n), b->max);
    char *p = mem_realloc(b->p, room);
    if (!p) {
        give_up(b, ERR_NO_MEMORY);
        return false;
    }
    b->p = p;
    b->room = room;
    return true;
}

void builder_grow_and_add(struct builder *b, const void *bytes, size_t n)
{
    if (!grow(b, n))
        return;
    memcpy(b->p + b->n, bytes, n);
    b->n += n;
}

char *builder_reserve(struct builder *b, size_t n)
{
    if (n > b->room - b->n && !grow(b, n))
        return NULL;
    return b->failed == ERR_OK ? b->p + b->n : NULL;
}

void builder_advance(struct builder *b, size_t n)
{
    ASSERT(n <= b->room - b->n);
    b->n += n;
}

void builder_add_u64(struct builder *b, uint64_t value)
{
    char digits[20];
    char *end = digits + sizeof digits, *p = end;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    builder_add_bytes(b, p, (size_t)(end - p));
}

void builder_add_i64(struct builder *b, int64_t value)
{
    if (value < 0)
        builder_add_char(b, '-');
    builder_add_u64(b, value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value);
}

void builder_printf(struct builder *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    /* vsnprintf writes a NUL that is not ours: ask for one byte more, do not count it. */
    char *p = builder_reserve(b, (size_t)n + 1);
    if (p) {
        vsnprintf(p, (size_t)n + 1, format, again);
        builder_advance(b, (size_t)n);
    }
    va_end(again);
}
