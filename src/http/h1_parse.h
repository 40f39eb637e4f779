/* h1_parse.h -- the heads of HTTP/1 requests and answers, strictly.
 *
 * Why: two readers that disagree about where a message ends are how requests are smuggled. This
 * one takes what RFC 9112 calls valid and nothing that any other reader could see differently: an
 * ambiguous head is refused, never repaired. See tests/http1_cases.txt for what that means.
 *
 * Owns:      nothing, allocates nothing.
 * Lends:     the head's spans point into the bytes that were given.
 * Bounds:    HTTP_HEAD_MAX, HTTP_TARGET_MAX, the head's field array. The work is linear in the
 *            bytes however they arrive: a line that is known to be incomplete is not read again.
 * Errors:    a request: ERR_AGAIN (not all here yet), ERR_BAD_REQUEST, ERR_HEAD_TOO_LARGE,
 *            ERR_URI_TOO_LONG, ERR_NOT_IMPLEMENTED (a transfer coding), ERR_BAD_VERSION,
 *            ERR_BAD_EXPECTATION. An answer: ERR_AGAIN, ERR_PROTOCOL.
 *            After any but ERR_AGAIN the connection cannot be used further.
 * Suspends:  never.     Threads: any; a parser has one owner.
 */
#ifndef PENSTOCK_HTTP_H1_PARSE_H
#define PENSTOCK_HTTP_H1_PARSE_H

#include "http/message.h"

struct h1_parser {
    const char *why; /* after a failure: what is wrong, a static text; else NULL */
    size_t consumed; /* after ERR_OK: the bytes of the head, its empty line included */

    /* Private. */
    const char *base; /* where the bytes were at the last call */
    size_t at;        /* the first line that is not taken yet */
    size_t seen;      /* how far that line is known not to end */
    uint8_t stage;
    bool skipped_line; /* the one empty line that may stand before a request */
};

/* Before each head, with http_head_init for the head itself. */
void h1_parser_init(struct h1_parser *p);

/* Reads a request's head from all bytes received of it so far: the same ones again after ERR_AGAIN,
 * and more behind them; they may have moved. On ERR_OK the body begins at p->consumed and
 * head->framing is NONE, LENGTH or CHUNKED. */
MUST_USE enum err h1_parse_request(struct h1_parser *p, struct span bytes, struct http_head *head);

/* As h1_parse_request, for the answer to a request by `method`: that decides whether a body
 * follows. Interim answers (1xx) come out as answers of their own, without a body. */
MUST_USE enum err h1_parse_response(struct h1_parser *p, struct span bytes, enum http_method method,
                                    struct http_head *head);

#endif
