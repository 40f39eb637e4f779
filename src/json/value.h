/* value.h -- reads raw values: the bytes of one valid JSON value, as the scanner lends them.
 *
 * Why: a value that was checked once needs no second check to be read, walked or copied. These
 * functions trust the bytes: give them only what came from json_scan, a tree, or the writer.
 *
 * Owns:      nothing; what must be unescaped goes to the caller's arena.
 * Lends:     spans of the body, or of the arena where an escape had to be undone.
 * Errors:    ERR_BAD_REQUEST when the value is of another kind or does not fit; ERR_NO_MEMORY.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_VALUE_H
#define PENSTOCK_JSON_VALUE_H

#include "base/arena.h"

enum json_kind {
    JSON_NONE, /* an absent value: no bytes */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

enum json_kind json_kind(struct span raw);

/* "null", "a boolean", "a number", "a string", "an array", "an object", "nothing": for messages. */
const char *json_kind_text(enum json_kind kind);

MUST_USE enum err json_to_bool(struct span raw, bool *value);

/* Exact: the text must be an integer (no fraction, no exponent) that fits. */
MUST_USE enum err json_to_i64(struct span raw, int64_t *value);
MUST_USE enum err json_to_u64(struct span raw, uint64_t *value);

/* The decoded text. A string without escapes is lent as it stands in the body; another is decoded
 * into `a`. Half a surrogate pair becomes U+FFFD. May hold NUL bytes. */
MUST_USE enum err json_to_string(struct span raw, struct arena *a, struct span *text);

/* True when `raw` is a string that says `text`; decodes as it compares, allocates nothing. */
bool json_string_is(struct span raw, struct span text);

/* Compares two raw strings as decoded text (halves of pairs count as themselves): <0, 0, >0. */
int json_string_cmp(struct span a, struct span b);

/* Walks an array or object without building anything:
 *
 *     struct json_walk w = json_walk(raw);
 *     while (json_walk_next(&w))
 *         use(w.name, w.value);
 */
struct json_walk {
    struct span name;     /* raw, with its quotes; empty in an array */
    struct span value;    /* raw */
    size_t index;         /* of this element or member, from 0 */
    const char *at, *end; /* private */
    bool is_object;
};

/* Anything but an array or object is walked as an empty one. */
struct json_walk json_walk(struct span raw);

/* False at the end. */
bool json_walk_next(struct json_walk *w);

/* The raw value of a member, {NULL, 0} when `raw` has none or is no object. Linear. */
struct span json_member(struct span raw, struct span name);

/* One step of decoding the inside of a string, for readers that do not want a copy. `p` stands in
 * front of a character; gives its bytes (1 to 4; half a pair as 3 bytes, U+D800..DFFF encoded like
 * other code points) and answers what stands behind it. */
const char *json_decode_step(const char *p, const char *end, char bytes[4], unsigned *count);

#endif
