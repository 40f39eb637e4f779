/* h1_write.h -- the heads of HTTP/1 requests and answers, to be sent.
 *
 * Why: a value that holds a line end splits one message into two. Nothing that came from outside is
 * written unchecked, so no request can split a head: h1_end counts the control characters of all
 * that was written, and they must be the line ends that the writer itself put there.
 *
 * Owns:      nothing; the text goes into the caller's builder, whose maximum is the bound.
 * Errors:    h1_end: ERR_OK, ERR_BAD_REQUEST (a value that cannot stand in a head), or the
 * builder's own. A writer that failed stays failed and writes no more; what it wrote must not be
 * sent. Suspends:  never.     Threads: any; a writer has one owner.
 */
#ifndef PENSTOCK_HTTP_H1_WRITE_H
#define PENSTOCK_HTTP_H1_WRITE_H

#include "base/builder.h"
#include "http/message.h"

struct h1_writer { /* private */
    struct builder *out;
    size_t begin;   /* of the head in the builder's text */
    uint32_t lines; /* how many were ended */
    enum err failed;
};

/* "POST /v1/models HTTP/1.1". The method must be a token, the target as http_is_path_and_query says
 * (or "*" ; or host:port after CONNECT): ERR_BAD_REQUEST else. */
void h1_begin_request(struct h1_writer *w, struct builder *out, struct span method,
                      struct span target);

/* "HTTP/1.1 200 OK", with the standard phrase; 100 <= status <= 599 asserted. */
void h1_begin_response(struct h1_writer *w, struct builder *out, int status);

/* A field whose name is a constant of ours, or came with a head that was read: those are tokens.
 * The value may come from anywhere: h1_end sees whether it is free of control characters. */
void h1_own_field(struct h1_writer *w, struct span name, struct span value);
void h1_own_field_u64(struct h1_writer *w, struct span name, uint64_t value);

/* A field whose name comes from elsewhere: a configuration, a JSON text. */
void h1_field(struct h1_writer *w, struct span name, struct span value);

/* The empty line; says whether all went well. */
MUST_USE enum err h1_end(struct h1_writer *w);

#endif
