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

struct json_names { /* private to this room; `count` may be read */
    const struct span *list;
    uint32_t count;
    uint32_t first_value, value_count; /* see json_names_nest */
    uint64_t lengths;                  /* bit n - 1: there is a name of n bytes */
    const struct json_names *inside[JSON_NAMES_MAX];
    uint64_t head[JSON_NAMES_MAX], tail[JSON_NAMES_MAX]; /* see names.c */
    uint8_t first[JSON_NAME_SLOTS]; /* 1 + index of the first name in the slot; 0: none */
    uint8_t next[JSON_NAMES_MAX];   /* 1 + index of the next name in the same slot; 0: none */
};

/* The names are as decoded text, all different. */
void json_names_init(struct json_names *names, const struct span *list, size_t count);

/* Members of the object that list[index] names are wanted, too, down to JSON_NEST_MAX levels:
 * json_scan hands them out behind those of `names`, in the order of these calls. Both lists are
 * initialised, and what is wanted in `inside` was said to it before; each is inside of one only. */
enum { JSON_NEST_MAX = 4 };
void json_names_nest(struct json_names *names, size_t index, struct json_names *inside);

static inline unsigned json_names_slot(struct span name)
{
    unsigned first = (unsigned char)name.p[0], last = (unsigned char)name.p[name.n - 1];
    return (first * 5 + last * 3 + (unsigned)name.n) % JSON_NAME_SLOTS;
}

/* As json_names_find, for a name that is as long as one of the list. Private. */
int json_names_find_among(const struct json_names *names, struct span name);

/* The index in the list of a decoded name, or -1. */
static inline int json_names_find(const struct json_names *names, struct span name)
{
    /* Most names are not wanted, and most of those are of another length. */
    if (name.n - 1 >= JSON_NAME_BYTES_MAX || !(names->lengths >> (name.n - 1) & 1))
        return -1;
    return json_names_find_among(names, name);
}

#endif
