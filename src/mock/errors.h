/* errors.h -- the errors that providers really send, once, for every dialect to put in its shape.
 *
 * Why: a gateway decides by status, type and code; what the mock sends must be what the provider
 * would.
 *
 * Owns:      nothing.     Lends: static rows.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_MOCK_ERRORS_H
#define PENSTOCK_MOCK_ERRORS_H

#include "base/span.h"

struct mock_error {
    int status;
    struct span type, code; /* OpenAI's words; an empty code is null */
    struct span message;
    struct span param; /* empty: null */
};

/* NULL when there is none of this code. */
const struct mock_error *mock_error_of_code(struct span code);

/* The usual one of a status (300 to 599), the row's status set to it. */
struct mock_error mock_error_of_status(int status);

#endif
