/* cursor.h -- from libyaml's character positions to lines and columns of the file.
 *
 * Why: libyaml counts characters and knows line breaks that no editor knows; messages count bytes
 * and '\n'. Positions come nearly in order, so a cursor that walks both ways is enough.
 *
 * Owns:      nothing; the text is borrowed.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_CONFIG_CURSOR_H
#define PENSTOCK_CONFIG_CURSOR_H

#include "base/span.h"
#include "config/report.h"

struct cursor { /* private; zero but for `text` to begin with */
    struct span text;
    size_t index, offset; /* characters and bytes before it */
    uint32_t lines;       /* '\n' before it */
};

/* The byte offset of the index-th character, which may be the end. */
size_t cursor_offset(struct cursor *c, size_t index);

/* Where the byte at `offset` stands. Moves the cursor there. */
struct place cursor_place(struct cursor *c, size_t index);

/* As cursor_place, for a byte offset, by counting from the start. */
struct place place_of_offset(struct span text, size_t offset);

/* Checks that the text is what YAML may be written in: UTF-8 and printable. Answers the offset of
 * the first byte that is not, and why; text.n when all is well. */
size_t text_find_unprintable(struct span text, const char **why);

#endif
