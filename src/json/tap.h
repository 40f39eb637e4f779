/* tap.h -- reads a document that passes by in pieces, and keeps a few of its members.
 *
 * Why: an answer is relayed as it arrives, cut at any byte, and is never held as a whole; yet its
 * usage and model are wanted, and whether it was complete. The tap is the scanner turned inside
 * out: same grammar, same checks, a state between any two bytes.
 *
 * Owns:      nothing: the kept bytes go to the caller's buffer.
 * Lends:     kept values until the buffer or the tap is reused.
 * Bounds:    constant memory; JSON_DEPTH_MAX levels; a value that finds no room in the buffer is
 *            dropped and said to be (`dropped`), the others stay.
 * Errors:    ERR_BAD_JSON at the first wrong byte; sticky.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_JSON_TAP_H
#define PENSTOCK_JSON_TAP_H

#include "base/limits.h"
#include "json/names.h"

enum { JSON_TAP_VALUES_MAX = 8 };

struct json_tap_value {
    uint32_t at, n; /* in the buffer */
    bool seen, dropped;
};

struct json_tap { /* private; read through the functions below */
    const struct json_names *names;
    char *room;
    uint32_t room_bytes, used;
    enum err failed;
    const char *reason;
    uint64_t at; /* bytes read before this piece; after a failure, where it is wrong */
    uint64_t objects[JSON_DEPTH_MAX / 64]; /* bit d: level d + 1 is an object */
    uint32_t depth;
    uint8_t state;          /* enum state in tap.c */
    uint8_t string_is_name; /* the string being read is a member's name */
    uint8_t low, high;      /* bounds of the next UTF-8 continuation byte */
    uint8_t more;           /* continuation bytes or hex digits still to come */
    const char *literal;    /* what must follow of true, false, null */
    uint32_t escape;        /* the value of the hex digits so far */
    uint32_t half;          /* a first surrogate that waits for its other half, or 0 */
    int keeping;            /* index of the value being kept, or -1 */
    uint32_t name_bytes;
    char name[JSON_NAME_BYTES_MAX + 4]; /* decoded name of a top-level member, so far */
    struct json_tap_value values[JSON_TAP_VALUES_MAX];
};

/* At most JSON_TAP_VALUES_MAX names. `room` holds the kept bytes of all values together. */
void json_tap_init(struct json_tap *t, const struct json_names *names, void *room,
                   size_t room_bytes);

/* Starts over for another document, same names and buffer. */
void json_tap_reset(struct json_tap *t);

/* The next bytes of the document. */
MUST_USE enum err json_tap_feed(struct json_tap *t, struct span piece);

/* True when what was fed is one whole valid document. */
bool json_tap_is_complete(const struct json_tap *t);

/* The raw value of the i-th name once it was read whole, else {NULL, 0}: absent, not yet complete,
 * or dropped. */
struct span json_tap_value(const struct json_tap *t, size_t i);

/* True when the member was there but found no room. */
bool json_tap_dropped(const struct json_tap *t, size_t i);

/* Why and where it failed; NULL while it did not. */
const char *json_tap_reason(const struct json_tap *t, uint64_t *at);

#endif
