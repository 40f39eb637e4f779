/* span.h -- a borrowed run of bytes: pointer and length.
 *
 * Why: text is a slice of the bytes that were received, wherever it can be. A span is never
 * NUL-terminated and owns nothing; whoever lends one says until when it is valid.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_BASE_SPAN_H
#define PENSTOCK_BASE_SPAN_H

#include "base/base.h"
#include "base/err.h"

#include <string.h>

struct span {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
};

/* A span of a string literal; SPAN_INIT where a constant expression is needed. */
#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})
#define SPAN_INIT(literal)                                                                         \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

/* For "%.*s". Cut at INT_MAX, which no span that is printed reaches. */
#define SPAN_ARG(s) (int)(s).n, (s).n ? (s).p : ""

static inline struct span span(const char *p, size_t n)
{
    return (struct span){p, n};
}

static inline struct span span_of_cstr(const char *text)
{
    return (struct span){text, strlen(text)};
}

static inline struct span span_between(const char *first, const char *end)
{
    return (struct span){first, (size_t)(end - first)};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The part from byte `at` on; empty when `at` is past the end. */
static inline struct span span_from(struct span s, size_t at)
{
    return at >= s.n ? (struct span){s.p + s.n, 0} : (struct span){s.p + at, s.n - at};
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

static inline bool span_ends(struct span s, struct span suffix)
{
    return s.n >= suffix.n && memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0;
}

/* Equal when ASCII letters are folded; other bytes must be the same. */
bool span_eq_nocase(struct span a, struct span b);

/* The index of the first byte `c`, or s.n. */
size_t span_find(struct span s, char c);

/* The index of the first `text` (not empty), or s.n. Quick where its first and last bytes seldom
 * stand at that distance. */
size_t span_search(struct span s, struct span text);

/* Cuts `s` at the first `c`: `head` is what stands before it, `tail` what follows. False when
 * there is no `c`: then `head` is all and `tail` is empty. */
bool span_cut(struct span s, char c, struct span *head, struct span *tail);

/* Without leading and trailing blanks (space, tab). */
struct span span_trim(struct span s);

/* Digits only, no sign, no blanks, no leading '+'. ERR_BAD_REQUEST for anything else or overflow.
 */
MUST_USE enum err span_to_u64(struct span s, uint64_t *value);

/* Orders as strcmp does, shorter first when one is a prefix of the other. */
int span_cmp(struct span a, struct span b);

/* True when equal; takes the same time wherever the first difference is. Lengths are not secret. */
bool span_eq_secret(struct span a, struct span b);

#endif
