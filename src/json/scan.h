/* scan.h -- checks a whole body and hands out the values of the members that were asked for.
 *
 * Why: the gateway decides by a few top-level members (model, stream, max_tokens) of a body whose
 * bulk is text it only forwards. One pass proves the body valid, so that nothing behind us can
 * read it differently than we did, and lends the raw bytes of those values. Nothing is built.
 *
 * This is also the reader for large bodies: it is bound by the speed at which strings can be
 * skipped (see bench/bench_json.c), and what it lends (a raw, valid value) can be walked further
 * on demand by value.h, without a tree.
 *
 * The grammar is RFC 8259, strictly: UTF-8 without overlong forms and surrogates, no bytes below
 * 0x20 in strings, no byte order mark, nothing behind the value but white space. Numbers are
 * checked by grammar and never converted. Two members with one wanted name are always refused:
 * two readers that disagree which one counts are an attack. Names are compared as decoded text
 * ("mod\u0065l" is "model").
 *
 * Owns:      nothing; JSON_UNIQUE_NAMES may allocate while it runs.
 * Lends:     spans of the body, as long as the body lives.
 * Bounds:    JSON_DEPTH_MAX levels; JSON_OPEN_NAMES_MAX members in objects that are open at one
 *            time, with JSON_UNIQUE_NAMES only. Time is linear, with JSON_UNIQUE_NAMES n log n.
 * Errors:    ERR_BAD_JSON with place and reason in the report; with JSON_UNIQUE_NAMES also
 *            ERR_TOO_LARGE and ERR_NO_MEMORY.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_SCAN_H
#define PENSTOCK_JSON_SCAN_H

#include "json/names.h"

enum { JSON_OPEN_NAMES_MAX = 64 * 1024 };

enum json_flag {
    JSON_UNIQUE_NAMES = 1,  /* refuse two equal names in any object, however deep */
    JSON_PAIRED_ESCAPES = 2 /* refuse \ud800 without its other half; else only reported */
};

struct json_report {
    size_t at;          /* byte that is wrong, from 0; the body's length when it ends too early */
    const char *reason; /* static text: "invalid JSON at byte %zu: %s"; NULL when all is well */
    bool has_lone_surrogate; /* an escape names half a pair; it reads as U+FFFD */
};

/* Checks `body`. `values` has a place for each name, in the order of the list, and of the lists
 * inside (see json_names_nest): the raw value of the member, quotes and brackets included, no white
 * space around it; {NULL, 0} when the member is absent or the body is not an object. `names` may be
 * NULL: then `values` may be too. `flags` are of enum json_flag. When it fails, `values` say
 * nothing. */
MUST_USE enum err json_scan(struct span body, const struct json_names *names, unsigned flags,
                            struct span *values, struct json_report *report);

#endif
