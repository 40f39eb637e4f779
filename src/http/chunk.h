/* chunk.h -- the chunked transfer coding of RFC 9112 section 7.1.
 *
 * Why: a body of unknown length, cut by the sender at places of its choice and by the network at
 * others. Payload is handed out where it lies; sizes, extensions and trailers are checked and
 * dropped.
 *
 * Owns:      nothing, allocates nothing.
 * Lends:     payload spans into the bytes that were given.
 * Bounds:    `total_max` bytes of payload, HTTP_CHUNK_LINE_MAX a size line, HTTP_TRAILER_MAX of
 * trailers. Errors:    ERR_AGAIN (more bytes are needed), ERR_BAD_REQUEST (not the coding; a client
 * says ERR_PROTOCOL instead), ERR_TOO_LARGE (over total_max). Failures are final. Suspends:  never.
 * Threads: any; a decoder has one owner.
 */
#ifndef PENSTOCK_HTTP_CHUNK_H
#define PENSTOCK_HTTP_CHUNK_H

#include "base/limits.h"
#include "base/span.h"

struct chunk_decoder {
    const char *why; /* after a failure: what is wrong, a static text; else NULL */

    /* Private. */
    uint64_t left; /* of the chunk that is being read */
    uint64_t total_left;
    uint32_t line_bytes, trailer_bytes;
    uint8_t state;
    enum err failed;
};

void chunk_decoder_init(struct chunk_decoder *d, uint64_t total_max);

/* Takes bytes from the front of *bytes, until some payload is found, the body ends, or nothing is
 * left. ERR_OK: *payload is a run of the body, or it is empty and the body has ended
 * (chunk_is_done); *bytes is what follows. ERR_AGAIN: all was taken. */
MUST_USE enum err chunk_next(struct chunk_decoder *d, struct span *bytes, struct span *payload);

/* The last chunk and the trailers are read; what follows belongs to the next message. */
bool chunk_is_done(const struct chunk_decoder *d);

/* To send: chunk_write_head, the n bytes (n > 0), CHUNK_END; and at the end of all CHUNK_LAST. */
enum { CHUNK_HEAD_MAX = 18 };
#define CHUNK_END SPAN("\r\n")
#define CHUNK_LAST SPAN("0\r\n\r\n")

/* Writes the size line of a chunk of n > 0 bytes; returns the bytes written. */
size_t chunk_write_head(char out[CHUNK_HEAD_MAX], uint64_t n);

#endif
