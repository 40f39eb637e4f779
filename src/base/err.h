/* err.h -- one type for every failure, one table for what it means.
 *
 * Why: a failure decides a status code, a body in the caller's dialect, whether a fallback is
 * worth trying, and a metric label. Said in one table, these can never disagree.
 *
 * Owns:      nothing; a struct failure lives in its owner (a request, a loader).
 * Bounds:    a failure's text is cut at FAILURE_TEXT_MAX bytes.
 * Errors:    ERR_OK is 0, everything else is a failure.
 * Suspends:  never.     Threads: any; a struct failure has one owner.
 */
#ifndef PENSTOCK_BASE_ERR_H
#define PENSTOCK_BASE_ERR_H

#include "base/base.h"

enum err {
    ERR_OK = 0,
#define X(name, status, type, code, elsewhere, text) ERR_##name,
#include "base/err.def"
#undef X
    ERR_COUNT
};

struct err_info {
    const char *name; /* "BAD_KEY", for logs and metrics */
    int status;       /* HTTP status that a caller sees */
    const char *type; /* OpenAI's error.type */
    const char *code; /* error.code of the contract */
    bool elsewhere;   /* another target may do better */
    const char *text; /* one sentence without a full stop */
};

/* Never NULL. */
const struct err_info *err_info(enum err code);

enum { FAILURE_TEXT_MAX = 512 };

/* The one slot that tells why something failed. The first failure wins: what follows is usually
 * its consequence. Zero-initialised means "nothing failed". */
struct failure {
    enum err code;
    char text[FAILURE_TEXT_MAX]; /* NUL-terminated; printable, but not escaped */
};

/* Notes the failure unless one is there already. Returns `code`, so that `return fail(...)` reads
 * well; `f` may be NULL. */
enum err fail(struct failure *f, enum err code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Leaves the function with the first error. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (expr);                                                                \
        if (UNLIKELY(try_err_ != ERR_OK))                                                          \
            return try_err_;                                                                       \
    } while (0)

/* Leaves the function when an allocation failed. */
#define TRY_ALLOC(ptr)                                                                             \
    do {                                                                                           \
        if (UNLIKELY(!(ptr)))                                                                      \
            return ERR_NO_MEMORY;                                                                  \
    } while (0)

#endif
