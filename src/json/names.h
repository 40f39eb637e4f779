/* names.h -- the member names that a reader is asked for, prepared once.
 *
 * Why: every request looks for the same dozen names among a body's members. Prepared at start, a
 * look-up costs a few instructions and touches no memory of ours but one table.
 *
 * Owns:      nothing; the list of names is borrowed and must outlive the struct.
 * Bounds:    JSON_NAMES_MAX names of 1 to JSON_NAME_BYTES_MAX bytes, asserted: lists are ours.
 * Suspends:  never.     Threads: any; immutable once initialised.
 */
#ifndef PENSTOCK_JSON_NAMES_H
#define PENSTOCK_JSON_NAMES_H

#include "base/span.h"

enum { JSON_NAMES_MAX = 32, JSON_NAME_BYTES_MAX = 64, JSON_NAME_SLOTS = 64 };

struct json_names { /* private to names.c; `count` may be read */
    const struct span *list;
    uint32_t count;
    uint8_t first[JSON_NAME_SLOTS]; /* 1 + index of the first name in the slot; 0: none */
    uint8_t next[JSON_NAMES_MAX];   /* 1 + index of the next name in the same slot; 0: none */
};

/* The names are as decoded text, all different. */
void json_names_init(struct json_names *names, const struct span *list, size_t count);

static inline unsigned json_names_slot(struct span name)
{
    unsigned first = (unsigned char)name.p[0], last = (unsigned char)name.p[name.n - 1];
    return (first * 5 + last * 3 + (unsigned)name.n) % JSON_NAME_SLOTS;
}

/* The index in the list of a decoded name, or -1. */
static inline int json_names_find(const struct json_names *names, struct span name)
{
    if (name.n == 0)
        return -1;
    unsigned i = names->first[json_names_slot(name)];
    while (i && !span_eq(names->list[i - 1], name))
        i = names->next[i - 1];
    return (int)i - 1;
}

#endif
