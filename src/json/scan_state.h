/* scan_state.h -- what a running scan knows; private to this room's scan.c and unique.c.
 *
 * Why: the check for equal names is a subject of its own, and needs little of the scan.
 *
 * Owns:      the list of open names, when it has outgrown its first room.
 * Suspends:  never.     Threads: one scan, one thread.
 */
#ifndef PENSTOCK_JSON_SCAN_STATE_H
#define PENSTOCK_JSON_SCAN_STATE_H

#include "base/limits.h"
#include "json/scan.h"

struct open_name {
    uint64_t hash;
    struct span raw; /* with its quotes */
};

/* The names of all objects that are open, those of the innermost last. */
struct unique {
    struct open_name *list;
    uint32_t count, room;
    uint32_t first[JSON_DEPTH_MAX + 1]; /* by level: its first name in the list */
    struct open_name fixed[40];
};

void unique_init(struct unique *u);
void unique_deinit(struct unique *u);

/* Notes a member's name. ERR_TOO_LARGE, ERR_NO_MEMORY. */
MUST_USE enum err unique_add(struct unique *u, struct span raw);

/* Forgets the names of the object at `level`. Answers the latest of them that repeats another, or
 * {NULL, 0}. */
struct span unique_close(struct unique *u, unsigned level);

struct wanting {
    const struct json_names *names;
    struct span *values, *member;
};

struct scan {
    const char *begin, *end;
    const struct json_names *names;  /* those wanted at want_depth */
    struct span *values;             /* their first */
    struct span *member;             /* takes the value of the member being read at want_depth */
    struct span ignored;             /* ... which is here unless it is wanted */
    const struct json_names *inside; /* what is wanted in it, if it is an object; or NULL */
    unsigned want_depth;             /* 0: nothing is wanted */
    struct wanting outer[JSON_NEST_MAX]; /* by want_depth: the levels around it */
    struct unique *unique;               /* NULL: not asked for */
    const char *failed_at, *reason;
    enum err failed;
    unsigned flags;
    bool has_lone_surrogate;
    unsigned depth;
    char closer[JSON_DEPTH_MAX + 1]; /* by level: ']' or '}' */
};

#endif
