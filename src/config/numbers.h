/* numbers.h -- numbers with units, as people write them, to integers and back.
 *
 * Why: money and time are never floating point, so "0.05" and "20s" are read exactly.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_NUMBERS_H
#define PENSTOCK_CONFIG_NUMBERS_H

#include "config/schema.h"

enum { NUMBER_BYTES_MAX = 48 };

/* Reads a value of KIND_INTEGER, KIND_DECIMAL, KIND_DURATION or KIND_SIZE; false when it is none,
 * or larger than an int64_t. */
MUST_USE bool number_read(const struct shape *shape, struct span text, int64_t *number);

/* Writes it as it would be written in a configuration, with a NUL. */
void number_write(const struct shape *shape, int64_t number, char out[NUMBER_BYTES_MAX]);

/* RFC 3339: a date (its first moment, UTC) or a timestamp, to nanoseconds since 1970. */
MUST_USE bool time_read(struct span text, int64_t *wall_ns);

#endif
