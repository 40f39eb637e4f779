#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

enum { FIRST_ROOM = 16 };

void map_deinit(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}

static uint64_t hash_of(struct span name)
{
    uint64_t h = hash_for_table(name);
    return h ? h : 1; /* 0 marks an empty slot */
}

/* The slot of the name, or the empty one where it would go. There always is an empty one. */
static struct map_slot *find(const struct map *m, uint64_t hash, struct span name)
{
    size_t mask = m->room - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (s->hash == 0 || (s->hash == hash && span_eq(s->name, name)))
            return s;
    }
}

static enum err grow(struct map *m)
{
    struct map wider = {.room = m->room ? m->room * 2 : FIRST_ROOM, .count = m->count};
    wider.slots = mem_calloc(wider.room, sizeof *wider.slots);
    TRY_ALLOC(wider.slots);
    for (struct map_slot *s = NULL; (s = map_next(m, s)) != NULL;)
        *find(&wider, s->hash, s->name) = *s;
    mem_free(m->slots);
    *m = wider;
    return ERR_OK;
}

enum err map_put(struct map *m, struct span name, void *value)
{
    if (m->count + 1 > m->room / 4 * 3)
        TRY(grow(m));
    uint64_t hash = hash_of(name);
    struct map_slot *s = find(m, hash, name);
    m->count += s->hash == 0;
    *s = (struct map_slot){hash, name, value};
    return ERR_OK;
}

void *map_get(const struct map *m, struct span name)
{
    if (m->count == 0)
        return NULL;
    const struct map_slot *s = find(m, hash_of(name), name);
    return s->hash ? s->value : NULL;
}

bool map_remove(struct map *m, struct span name)
{
    if (m->count == 0)
        return false;
    struct map_slot *s = find(m, hash_of(name), name);
    if (s->hash == 0)
        return false;
    /* Close the gap: what probed past it moves back (Knuth 6.4, algorithm R). */
    size_t mask = m->room - 1, gap = (size_t)(s - m->slots);
    for (size_t i = (gap + 1) & mask; m->slots[i].hash != 0; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue; /* its home lies behind the gap */
        m->slots[gap] = m->slots[i];
        gap = i;
    }
    m->slots[gap] = (struct map_slot){0};
    m->count--;
    return true;
}

struct map_slot *map_next(const struct map *m, struct map_slot *after)
{
    for (size_t i = after ? (size_t)(after - m->slots) + 1 : 0; i < m->room; i++)
        if (m->slots[i].hash != 0)
            return &m->slots[i];
    return NULL;
}
