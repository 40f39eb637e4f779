#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

struct mem_door mem_door = {.realloc = realloc, .free = free};

void *mem_alloc(size_t n)
{
    return mem_door.realloc(NULL, n ? n : 1);
}

void *mem_calloc(size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *p = mem_alloc(n);
    if (p)
        memset(p, 0, n);
    return p;
}

void *mem_realloc(void *old, size_t n)
{
    return mem_door.realloc(old, n ? n : 1);
}

void *mem_dup(const void *bytes, size_t n)
{
    void *p = mem_alloc(n);
    if (p && n)
        memcpy(p, bytes, n);
    return p;
}

void mem_free(void *p)
{
    if (p)
        mem_door.free(p);
}

void mem_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void mem_wipe(void *p, size_t n)
{
    memset(p, 0, n);
    __asm__ volatile("" : : "r"(p) : "memory");
}
