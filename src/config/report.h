/* report.h -- what is wrong with a configuration: every mistake with its place.
 *
 * Why: who edits a file wants all mistakes at once, in the order of the file, each with what would
 * be right; a start or a reload wants one answer, yes or no.
 *
 * Owns:      nothing: messages live in the arena that it was given.
 * Bounds:    MESSAGES_MAX errors and as many warnings are kept; more are counted.
 * Errors:    a message that finds no memory sets `no_memory`, which report_write tells.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_CONFIG_REPORT_H
#define PENSTOCK_CONFIG_REPORT_H

#include "base/arena.h"
#include "base/builder.h"

/* Both count from 1; the column counts bytes. */
struct place {
    uint32_t line, column;
};

enum { MESSAGES_MAX = 100 };

struct message {
    struct place at;
    const char *text;
    bool is_warning;
};

struct report {
    struct arena *arena;
    struct message messages[2 * MESSAGES_MAX];
    size_t count; /* of messages */
    size_t error_count, warning_count;
    bool no_memory;
};

void report_init(struct report *r, struct arena *arena);

/* A sentence without a full stop: what is wrong, and what would be right. */
void report_error(struct report *r, struct place at, const char *format, ...) PRINTF_LIKE(3, 4);
void report_warning(struct report *r, struct place at, const char *format, ...) PRINTF_LIKE(3, 4);

/* The text in double quotes, printable and not too long, for use in a message. Never NULL. */
const char *report_quote(struct report *r, struct span text);

/* True when nothing forbids to use the configuration. */
static inline bool report_is_clean(const struct report *r)
{
    return r->error_count == 0 && !r->no_memory;
}

/* One line a message, in the order of the file: FILE:LINE:COLUMN: text */
void report_write(struct report *r, const char *file, struct builder *out);

#endif
