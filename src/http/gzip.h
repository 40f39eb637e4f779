/* gzip.h -- unpacking gzip bodies through a hard cap on the output.
 *
 * Why: two megabytes can unpack to gigabytes. The cap is on what comes out, and nothing beyond it
 * is unpacked, let alone kept.
 *
 * Owns:      a struct gunzip and zlib's state (about 40 KiB, from mem.h).
 * Bounds:    output_max bytes in all: ERR_TOO_LARGE beyond it.
 * Errors:    ERR_BAD_REQUEST (not gzip, a wrong checksum, bytes behind the end, cut short),
 *            ERR_TOO_LARGE, ERR_NO_MEMORY. Failures are final.
 * Suspends:  never.     Threads: any; an unpacker has one owner.
 */
#ifndef PENSTOCK_HTTP_GZIP_H
#define PENSTOCK_HTTP_GZIP_H

#include "base/builder.h"

struct gunzip;

/* NULL when there is no memory. */
MUST_USE struct gunzip *gunzip_new(size_t output_max);
void gunzip_free(struct gunzip *g); /* NULL is fine */

/* Unpacks a piece of the body behind what `out` holds. Several gzip members in a row are one text
 * (RFC 1952 section 2.2). A failure of `out` is returned too. */
MUST_USE enum err gunzip_feed(struct gunzip *g, struct span piece, struct builder *out);

/* After the last piece: ERR_BAD_REQUEST when the body was cut short. */
MUST_USE enum err gunzip_finish(const struct gunzip *g);

#endif
