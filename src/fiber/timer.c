#include "fiber/timer.h"

#include <string.h>

enum { SLOT_BITS = 6, SLOT_MASK = WHEEL_SLOTS - 1 };

static const int64_t FURTHEST = (INT64_C(1) << (SLOT_BITS * WHEEL_LEVELS)) - 1;

void wheel_init(struct wheel *w, int64_t now_ns)
{
    memset(w, 0, sizeof *w); /* a literal of it would lie on the stack first */
    w->tick = now_ns >> TICK_SHIFT;
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
    *t = (struct timer){.fn = fn};
    list_init(&t->link);
}

/* The tick after which the whole of at_ns has passed. */
static int64_t tick_of(int64_t at_ns)
{
    return (at_ns >> TICK_SHIFT) + 1;
}

/* A level's slot is one turn of the level below, so that it is emptied downwards in time. */
static void file(struct wheel *w, struct timer *t, int64_t earliest)
{
    int64_t tick = MAX(tick_of(t->at_ns), earliest);
    int64_t delta = MIN(tick - w->tick, FURTHEST);
    tick = w->tick + delta;
    int level = 0;
    while (delta >> (SLOT_BITS * (level + 1)))
        level++;
    t->level = (uint8_t)level;
    t->slot = (uint8_t)(tick >> (SLOT_BITS * level) & SLOT_MASK);
    list_append(&w->slots[level][t->slot], &t->link);
    w->filled[level] |= UINT64_C(1) << t->slot;
}

void timer_set(struct wheel *w, struct timer *t, int64_t at_ns)
{
    list_remove(&t->link);
    t->at_ns = at_ns;
    file(w, t, w->tick + 1);
}

/* The slot's bit stays until its time comes: a stopped timer costs one early wake-up at most. */
void timer_stop(struct timer *t)
{
    list_remove(&t->link);
}

/* Takes a slot's timers off; those set meanwhile go to the wheel, not to `taken`. */
static void take_slot(struct wheel *w, int level, struct list *taken)
{
    int slot = (int)(w->tick >> (SLOT_BITS * level) & SLOT_MASK);
    list_init(taken);
    list_splice(taken, &w->slots[level][slot]);
    w->filled[level] &= ~(UINT64_C(1) << slot);
}

static void cascade(struct wheel *w)
{
    for (int level = 1; level < WHEEL_LEVELS; level++) {
        struct list taken;
        take_slot(w, level, &taken);
        while (!list_is_empty(&taken)) {
            struct timer *t = CONTAINER_OF(taken.next, struct timer, link);
            list_remove(&t->link);
            file(w, t, w->tick); /* this tick's are expired right after */
        }
        if ((w->tick >> (SLOT_BITS * level) & SLOT_MASK) != 0)
            return;
    }
}

static void expire(struct wheel *w)
{
    struct list taken;
    take_slot(w, 0, &taken);
    while (!list_is_empty(&taken)) {
        struct timer *t = CONTAINER_OF(taken.next, struct timer, link);
        list_remove(&t->link);
        if (tick_of(t->at_ns) > w->tick)
            file(w, t, w->tick + 1); /* it lay beyond the furthest slot */
        else
            t->fn(t);
    }
}

void wheel_turn(struct wheel *w, int64_t now_ns)
{
    int64_t now = now_ns >> TICK_SHIFT;
    while (w->tick < now) {
        /* Nothing on the lowest wheel: go to where it turns over. */
        if (w->filled[0] == 0 && (w->tick | SLOT_MASK) < now)
            w->tick |= SLOT_MASK;
        w->tick++;
        if ((w->tick & SLOT_MASK) == 0)
            cascade(w);
        if (w->filled[0])
            expire(w);
    }
}

int64_t wheel_next_ns(const struct wheel *w)
{
    int64_t next = INT64_MAX;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        if (w->filled[level] == 0)
            continue;
        int64_t at = w->tick >> (SLOT_BITS * level);
        int turn = (int)((at + 1) & SLOT_MASK);
        uint64_t bits = w->filled[level];
        uint64_t ahead = turn ? bits >> turn | bits << (WHEEL_SLOTS - turn) : bits;
        int64_t tick = (at + 1 + __builtin_ctzll(ahead)) << (SLOT_BITS * level);
        next = MIN(next, tick);
    }
    return next == INT64_MAX ? next : next << TICK_SHIFT;
}
