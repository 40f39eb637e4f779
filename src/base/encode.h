/* encode.h -- bytes as hexadecimal and Base64 text, and back (RFC 4648).
 *
 * Owns:      nothing: the caller gives the room.
 * Errors:    decoding answers false for anything that the encoder would not have written.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_BASE_ENCODE_H
#define PENSTOCK_BASE_ENCODE_H

#include "base/span.h"

/* Writes 2 * n lower-case digits, no NUL. */
void hex_encode(const void *bytes, size_t n, char *out);

/* Writes s.n / 2 bytes; either case. */
MUST_USE bool hex_decode(struct span s, void *out);

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes BASE64_LEN(n) characters, with padding, no NUL. */
void base64_encode(const void *bytes, size_t n, char *out);

/* Room for s.n / 4 * 3 bytes; `n` is what was written. Padding is required, stray bits refused. */
MUST_USE bool base64_decode(struct span s, void *out, size_t *n);

#endif
