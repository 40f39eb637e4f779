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
    const struct json_names *inside[JSON_NAMES_MAX];
    uint64_t head[JSON_NAMES_MAX], tail[JSON_NAMES_MAX]; /* see json_name_ends */
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

/* The first and the last bytes of a name: of up to 16 bytes, they and its length are all of it. */
static inline void json_name_ends(struct span name, uint64_t *head, uint64_t *tail)
{
    const char *const p = name.p;
    const size_t n = name.n;
    *head = *tail = 0;
    if (n >= 8) {
        memcpy(head, p, 8);
        memcpy(tail, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(head, p, 4);
        memcpy(tail, p + n - 4, 4);
    } else {
        memcpy(head, p, 1);
        *tail = (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    }
}

static inline bool json_names_is(const struct json_names *names, unsigned i, struct span name)
{
    uint64_t head, tail;
    if (names->list[i].n != name.n)
        return false;
    json_name_ends(name, &head, &tail);
    if (names->head[i] != head || names->tail[i] != tail)
        return false;
    return name.n <= 16 || memcmp(names->list[i].p + 8, name.p + 8, name.n - 16) == 0;
}

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
    while (i && !json_names_is(names, i - 1, name))
        i = names->next[i - 1];
    return (int)i - 1;
}

#endif
