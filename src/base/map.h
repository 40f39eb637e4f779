/* map.h -- a table from text to a pointer, filled once or rarely, read often.
 *
 * Why: models, routes, providers and origins are found by name on every call.
 *
 * Owns:      its slots. Names and values are borrowed: they must outlive the map.
 * Lends:     values, as they were put in.
 * Bounds:    the caller's: it grows with what is put in.
 * Errors:    map_put answers ERR_NO_MEMORY and has changed nothing then.
 * Suspends:  never.     Threads: one writer, or any number of readers.
 */
#ifndef PENSTOCK_BASE_MAP_H
#define PENSTOCK_BASE_MAP_H

#include "base/span.h"

struct map_slot {
    uint64_t hash; /* 0: empty */
    struct span name;
    void *value;
};

struct map { /* private; zero-initialised is an empty map */
    struct map_slot *slots;
    size_t count, room; /* room is 0 or a power of two, at most 3/4 full */
};

void map_deinit(struct map *m);

/* Replaces the value (and the borrowed name) when the name is there already. */
MUST_USE enum err map_put(struct map *m, struct span name, void *value);

/* NULL when the name is not there. */
void *map_get(const struct map *m, struct span name);

/* False when it was not there. */
bool map_remove(struct map *m, struct span name);

/* Slots in no particular order: for (struct map_slot *s = NULL; (s = map_next(m, s));) */
struct map_slot *map_next(const struct map *m, struct map_slot *after);

#endif
