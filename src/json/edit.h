/* edit.h -- changes a few places of a body without copying or touching the rest.
 *
 * Why: the gateway renames a model or asks for usage in a body that must otherwise arrive byte for
 * byte as it was sent, so that prompt caches and signatures survive. The edited body is a list of
 * pieces for writev: runs of the original between the new texts.
 *
 * Owns:      nothing.
 * Lends:     pieces of the body, of the new texts, and of constants: valid as long as these.
 * Bounds:    JSON_EDITS_MAX edits a body.
 * Errors:    ERR_TOO_LARGE for more; ERR_BAD_REQUEST when edits contradict (one inside another, or
 *            two of one value), a place is not of this body or not of the kind, or a name to insert
 *            would need escaping.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_EDIT_H
#define PENSTOCK_JSON_EDIT_H

#include "base/span.h"

#include "base/err.h"

enum { JSON_EDITS_MAX = 16, JSON_PIECES_MAX = JSON_EDITS_MAX * 6 + 1 };

enum json_change {
    JSON_REPLACE, /* the value `at` by `value` */
    JSON_REMOVE,  /* the member or element whose value is `at`, and one comma */
    JSON_INSERT   /* a member `name`: `value` in front of all others of the object `at` */
};

struct json_edit {
    enum json_change change;
    struct span at;    /* a raw value inside the body, from json_scan, a walk or a tree's node */
    struct span name;  /* JSON_INSERT; not checked against names that are there already */
    struct span value; /* JSON_REPLACE, JSON_INSERT: one valid JSON value */
};

struct json_pieces {
    struct span piece[JSON_PIECES_MAX]; /* none is empty */
    size_t count;
    size_t bytes; /* sum of their lengths: the new Content-Length */
};

/* `body` was found valid by json_scan. Edits come in any order; members that are inserted into one
 * object stand in the order of the edits. */
MUST_USE enum err json_edit(struct span body, const struct json_edit *edits, size_t count,
                            struct json_pieces *pieces);

#endif
