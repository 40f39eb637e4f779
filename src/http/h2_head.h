/* h2_head.h -- from the fields of an HTTP/2 header block to a struct http_head.
 *
 * Why: what HTTP/2 carries must never mean something else once it is written as HTTP/1 text to an
 * upstream. nghttp2 checks most of that; it is checked here as well, because a request that splits
 * into two is the one thing that must not happen, whatever version of it is linked.
 *
 * Owns:      the bytes of the one block that is being received (a connection has one at a time).
 * Lends:     nothing: a finished head lies in the caller's arena.
 * Bounds:    HTTP_HEAD_MAX bytes and HTTP_FIELDS_MAX fields: what comes beyond is not kept.
 * Errors:    a request: ERR_BAD_REQUEST, ERR_URI_TOO_LONG, ERR_BAD_METHOD, ERR_BAD_EXPECTATION,
 *            ERR_HEAD_TOO_LARGE, ERR_NO_MEMORY. An answer: ERR_PROTOCOL, ERR_NO_MEMORY.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_HTTP_H2_HEAD_H
#define PENSTOCK_HTTP_H2_HEAD_H

#include "base/arena.h"
#include "http/message.h"
#include "net/buffer.h"

struct h2_block { /* zero-initialised: empty */
    struct buffer *text;
    size_t bytes; /* received so far, kept or not */
    uint32_t count;
    enum err failed; /* ERR_HEAD_TOO_LARGE, ERR_NO_MEMORY */
};

void h2_block_add(struct h2_block *b, struct span name, struct span value);

/* Empty again; the memory goes back. */
void h2_block_clear(struct h2_block *b);

/* The head of a request. On failure `why` is a static text. */
MUST_USE enum err h2_block_to_request(const struct h2_block *b, bool has_body, struct arena *arena,
                                      struct http_head *head, const char **why);

/* The head of an answer, interim ones (1xx) included: look at the status. */
MUST_USE enum err h2_block_to_response(const struct h2_block *b, bool has_body, struct arena *arena,
                                       struct http_head *head);

/* Fields that speak about an HTTP/1 connection and must not be sent in HTTP/2. */
bool h2_is_connection_field(struct span name);

#endif
