/* text.h -- what the mock says, and how it counts: made from the request, the same every time.
 *
 * Why: a test compares an answer with what it computes by itself, so the rules are few: a token is
 * four bytes of a text, rounded up for each text; the usual answer is made of words of three
 * letters and a blank, so that a word is a token. A text is not stored but made where it is needed:
 * the n-th byte of a text of a megabyte costs no more than the first.
 *
 * Owns:      nothing.
 * Lends:     nothing; a text of fixed bytes borrows them.
 * Bounds:    the caller's.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_MOCK_TEXT_H
#define PENSTOCK_MOCK_TEXT_H

#include "base/builder.h"

/* A fingerprint of what was asked; zero-initialised is the empty one. Not for secrets: anybody can
 * make two texts with one fingerprint. */
struct mock_print {
    uint64_t value;
};
void mock_print_add(struct mock_print *print, struct span text);

/* The n-th number that a seed gives. */
uint64_t mock_mix(uint64_t seed, uint64_t n);

static inline uint64_t mock_tokens(uint64_t bytes)
{
    return (bytes + 3) / 4;
}

struct mock_text {
    uint64_t seed;
    struct span fixed;   /* p == NULL: made of words */
    uint64_t full_bytes; /* before anything was cut off */
    uint64_t bytes;
};

/* So many bytes of words, with a full stop at the end. */
struct mock_text mock_text_of_words(uint64_t seed, uint64_t bytes);
struct mock_text mock_text_of(struct span fixed);

/* Leaves at most so many tokens, never half a character. True when something was cut off. */
bool mock_text_limit(struct mock_text *t, uint64_t tokens);

/* Cuts before the first place where one of the stop words stands, looked for in the first
 * MOCK_STOP_SEARCH bytes. True when one was found. ERR_NO_MEMORY. */
enum { MOCK_STOP_SEARCH = 64 * 1024 };
MUST_USE enum err mock_text_stop(struct mock_text *t, const struct span *stops, size_t count,
                                 bool *was_found);

/* Where the i-th of `count` pieces of about the same length ends; between characters. */
uint64_t mock_text_piece_end(const struct mock_text *t, uint64_t i, uint64_t count);

/* The bytes [from, end) as they are, and as a JSON string with its quotes. */
void mock_text_add(struct builder *out, const struct mock_text *t, uint64_t from, uint64_t end);
void mock_text_add_json(struct builder *out, const struct mock_text *t, uint64_t from,
                        uint64_t end);

#endif
