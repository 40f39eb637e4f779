/* write.h -- writes JSON into a builder, and cannot write anything that is not JSON.
 *
 * Why: error bodies, log lines and requests to providers are made of bytes that strangers chose.
 * Quoting by hand goes wrong once. The writer keeps track of where it stands: commas are its own
 * affair, a value without a name in an object is an assertion, a bad byte becomes U+FFFD.
 *
 * Owns:      nothing; writes into the caller's builder.
 * Bounds:    the builder's; JSON_DEPTH_MAX levels.
 * Errors:    json_writer_end: the builder's, or ERR_TOO_LARGE for too many levels. Misuse by our
 *            code (a name outside of an object, two roots, an open level at the end) is asserted.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_JSON_WRITE_H
#define PENSTOCK_JSON_WRITE_H

#include "base/builder.h"
#include "base/limits.h"

enum json_writer_state {                    /* private */
                         JSON_WRITES_FIRST, /* nothing yet at this level */
                         JSON_WRITES_NEXT,  /* something is there: a comma comes first */
                         JSON_WRITES_VALUE, /* a name was written: its value must follow */
                         JSON_WRITES_DONE   /* the root is complete */
};

struct json_writer { /* private to write.c and the inlines below */
    struct builder *b;
    uint64_t objects[JSON_DEPTH_MAX / 64]; /* bit d: level d + 1 is an object */
    uint32_t depth;                        /* goes on counting beyond the bound, writes nothing */
    uint8_t state;
};

/* Begins one value at the end of what the builder holds. */
void json_writer_init(struct json_writer *w, struct builder *b);

/* ERR_OK when the value is whole and the builder did not fail. */
MUST_USE enum err json_writer_end(struct json_writer *w);

void json_write_object(struct json_writer *w);
void json_write_object_end(struct json_writer *w);
void json_write_array(struct json_writer *w);
void json_write_array_end(struct json_writer *w);

/* The name of the next member; any text. */
void json_write_name(struct json_writer *w, struct span name);

/* Any bytes: what is not UTF-8 is written as U+FFFD, one for each maximal wrong part (Unicode,
 * section 3.9, as browsers do). */
void json_write_string(struct json_writer *w, struct span text);
void json_write_i64(struct json_writer *w, int64_t value);
void json_write_u64(struct json_writer *w, uint64_t value);

/* value / 10^places, exactly, as in 1.250 for (1250, 3); at most 18 places. */
void json_write_decimal(struct json_writer *w, int64_t value, unsigned places);
void json_write_bool(struct json_writer *w, bool value);
void json_write_null(struct json_writer *w);

/* One valid value as it stands: only bytes that came from json_scan, a tree, a tap or a writer. */
void json_write_raw(struct json_writer *w, struct span raw);

/* As json_write_name, for a word that needs no escaping; `quoted` is "\"word\":". */
void json_write_quoted_name(struct json_writer *w, struct span quoted);

/* Members by a literal name: JSON_MEMBER(w, "model", string, model). */
#define JSON_MEMBER(w, name, kind, ...)                                                            \
    (json_write_quoted_name((w), SPAN("\"" name "\":")), json_write_##kind((w), __VA_ARGS__))

/* For members that open a level or take no value: JSON_NAME(w, "usage"); json_write_object(w); */
#define JSON_NAME(w, name) json_write_quoted_name((w), SPAN("\"" name "\":"))

/* For writers that set their own brackets: the text as it stands between quotes, written at `to`.
 * How many bytes it took, or JSON_NO_ROOM when that is more than `room`; what lies there then says
 * nothing. */
#define JSON_NO_ROOM SIZE_MAX
MUST_USE size_t json_escape(char *to, size_t room, struct span text);

#endif
