/* skip.h -- steps over parts of JSON that was found valid.
 *
 * Why: walks, trees and edits cut bodies that the scanner has checked; they need to find ends, not
 * faults. On bytes that were not checked these functions run away. Private to this room.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_SKIP_H
#define PENSTOCK_JSON_SKIP_H

#include "json/kernel.h"

static inline const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
        p++;
    return p;
}

/* Behind the string whose opening quote is at p. */
static inline const char *skip_string(const char *p, const char *end)
{
    const struct json_kernel *const kernel = json_kernel();
    for (p = kernel->text(p + 1, end); *p != '"'; p = kernel->text(p, end))
        p += 2; /* whatever stands behind a backslash, it is not the end */
    return p + 1;
}

/* Behind the value at p; `end` is the end of what the value is in, which closes it. */
static inline const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;
    do {
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            break;
        case '{':
        case '[':
            depth++;
            p++;
            break;
        case '}':
        case ']':
            depth--;
            p++;
            break;
        default:
            p++;
        }
    } while (depth > 0);
    return p;
}

static inline const char *skip_scalar(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != '}' && *p != ']' && (unsigned char)*p > ' ')
        p++;
    return p;
}

#endif
