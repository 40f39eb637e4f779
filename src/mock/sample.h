/* sample.h -- a JSON value that a JSON Schema allows.
 *
 * Why: a tool call's arguments and an answer in a demanded format must be what the caller's own
 * checker takes; so the mock makes them from the schema of the request.
 *
 * Owns:      nothing.
 * Bounds:    SAMPLE_DEPTH_MAX levels and SAMPLE_VALUES_MAX values; null beyond them.
 * Errors:    the builder's.
 * Suspends:  never.     Threads: any.
 *
 * Covered: const, enum, $ref into the schema itself, anyOf, oneOf, allOf (the first), type,
 * properties, items with minItems, minLength, maxLength, minimum, and a few formats. Patterns and
 * the rest are not looked at.
 */
#ifndef PENSTOCK_MOCK_SAMPLE_H
#define PENSTOCK_MOCK_SAMPLE_H

#include "base/builder.h"

enum { SAMPLE_DEPTH_MAX = 16, SAMPLE_VALUES_MAX = 1000 };

/* `schema` is a raw value that json_scan has checked. Appends the value. */
MUST_USE enum err mock_sample(struct builder *out, struct span schema, uint64_t seed);

#endif
