#include "fiber/stack.h"

#include "base/mem.h"
#include "base/sys.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13: a guard that is not a mapping of its own */
#endif

enum {
    SLAB_STACKS = 16,
    PITCH = STACK_SIZE + STACK_GUARD,
    MAP_COUNT_RESERVE = 4096, /* mappings for everything that is not a stack */
};

struct stack_slab {
    struct stack_slab *next;
    char *memory;
};

/* Lies at the top of a free stack, in the page that every use touches anyway. */
struct stack_free {
    struct stack_free *next;
    bool is_trimmed;
};

static size_t read_max_map_count(void)
{
    char text[32] = {0};
    int fd = sys.open("/proc/sys/vm/max_map_count", O_RDONLY, 0);
    if (fd < 0)
        return 65530; /* the kernel's default */
    ssize_t n = sys.read(fd, text, sizeof text - 1);
    sys.close(fd);
    return n > 0 ? strtoul(text, NULL, 10) : 65530;
}

void stacks_init(struct stacks *s, size_t count_max)
{
    size_t maps = read_max_map_count();
    *s = (struct stacks){
        .count_max = count_max,
        .guards_max = maps > MAP_COUNT_RESERVE ? (maps - MAP_COUNT_RESERVE) / 2 : 0,
    };
}

void stacks_deinit(struct stacks *s)
{
    while (s->slabs) {
        struct stack_slab *slab = s->slabs;
        s->slabs = slab->next;
        munmap(slab->memory, (size_t)SLAB_STACKS * PITCH);
        mem_free(slab);
    }
    s->free = NULL;
}

static bool install_guard(struct stacks *s, char *guard)
{
    if (madvise(guard, STACK_GUARD, MADV_GUARD_INSTALL) == 0) {
        s->has_cheap_guards = true;
        return true;
    }
    return s->count < s->guards_max && mprotect(guard, STACK_GUARD, PROT_NONE) == 0;
}

static struct stack_free *free_node(char *stack_low)
{
    return (struct stack_free *)(void *)(stack_low + STACK_SIZE) - 1;
}

static void push_free(struct stacks *s, char *stack_low, bool is_trimmed)
{
    struct stack_free *node = free_node(stack_low);
    *node = (struct stack_free){s->free, is_trimmed};
    s->free = node;
    s->warm += !is_trimmed;
}

static bool add_slab(struct stacks *s)
{
    struct stack_slab *slab = mem_alloc(sizeof *slab);
    char *memory = slab ? sys.map((size_t)SLAB_STACKS * PITCH) : NULL;
    if (!memory) {
        mem_free(slab);
        return false;
    }
    /* A huge page would make 2 MiB resident for the one page that a fiber touches. */
    madvise(memory, (size_t)SLAB_STACKS * PITCH, MADV_NOHUGEPAGE);
    *slab = (struct stack_slab){s->slabs, memory};
    s->slabs = slab;
    size_t made = 0;
    for (size_t i = SLAB_STACKS; i-- > 0;) {
        char *guard = memory + i * PITCH;
        if (!install_guard(s, guard))
            continue; /* a stack without a guard is no stack */
        push_free(s, guard + STACK_GUARD, true);
        s->count++;
        made++;
    }
    if (made > 0)
        return true;
    s->slabs = slab->next; /* the next call would only map another one */
    munmap(memory, (size_t)SLAB_STACKS * PITCH);
    mem_free(slab);
    return false;
}

char *stack_take(struct stacks *s)
{
    if (!s->free && (s->count >= s->count_max || !add_slab(s)))
        return NULL;
    struct stack_free *node = s->free;
    s->free = node->next;
    s->warm -= !node->is_trimmed;
    s->warm_least = MIN(s->warm_least, s->warm);
    char *stack_low = (char *)(node + 1) - STACK_SIZE;
    ASAN_UNPOISON_MEMORY_REGION(stack_low, STACK_SIZE);
    return stack_low;
}

void stack_put(struct stacks *s, char *stack_low)
{
    ASAN_UNPOISON_MEMORY_REGION(stack_low, STACK_SIZE);
    push_free(s, stack_low, false);
}

size_t stacks_trim(struct stacks *s, size_t keep)
{
    size_t surplus = s->warm_least > keep ? s->warm_least - keep : 0;
    size_t skip = s->warm - surplus, trimmed = 0;
    for (struct stack_free *node = s->free; node && surplus; node = node->next) {
        if (node->is_trimmed)
            continue;
        if (skip > 0) { /* the warmest lie in front */
            skip--;
            continue;
        }
        /* The node's own page stays: the list is threaded through it. */
        char *stack_low = (char *)(node + 1) - STACK_SIZE;
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        madvise(stack_low, STACK_SIZE - page, MADV_DONTNEED);
        node->is_trimmed = true;
        trimmed++;
    }
    s->warm -= trimmed;
    s->warm_least = s->warm;
    return trimmed;
}

bool stack_guard_hit(const char *stack_low, const void *address)
{
    const char *p = address;
    return p < stack_low && p >= stack_low - STACK_GUARD;
}
