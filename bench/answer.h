/* answer.h -- one HTTP/1.1 answer, read as it comes and compared byte by byte.
 *
 * Why: a load generator that does not read what it gets measures how fast errors are made. Every
 * payload byte, after de-chunking, is compared with the payload that the upstream itself gave to
 * the same request; so an event stream that lacks a chunk, repeats one, or ends early is wrong
 * without being parsed.
 *
 * Owns:      struct answer nothing; struct reference its two arrays, until reference_deinit.
 * Bounds:    a head of ANSWER_HEAD_MAX bytes.
 * Errors:    enum verdict.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_BENCH_ANSWER_H
#define PENSTOCK_BENCH_ANSWER_H

#include "base/builder.h"
#include "base/span.h"

enum { ANSWER_HEAD_MAX = 4096 };

/* What every payload must be. */
struct reference {
    struct span body;
    bool is_prefix;     /* the stream was cut when the reference was taken: what follows is free */
    size_t *event_ends; /* where each server-sent event ends; NULL when not a stream */
    size_t event_count;
};

/* Takes over `body` (from mem.h). For a stream finds its events; ERR_NO_MEMORY, or ERR_BAD_REQUEST
 * when a whole stream does not end with [DONE]. */
enum reference_kind { REFERENCE_PLAIN, REFERENCE_STREAM, REFERENCE_STREAM_PREFIX };
MUST_USE enum err reference_init(struct reference *r, struct span body, enum reference_kind kind);
void reference_deinit(struct reference *r);

enum verdict {
    VERDICT_MORE,       /* so far it is right */
    VERDICT_DONE,       /* complete and right */
    VERDICT_BAD_STATUS, /* not 2xx */
    VERDICT_BAD_HTTP,   /* not an answer of HTTP/1.1 that we understand */
    VERDICT_WRONG_BODY,
};

enum answer_state {
    ANSWER_HEAD,
    ANSWER_LENGTH, /* a body of `left` more bytes */
    ANSWER_CHUNK_SIZE,
    ANSWER_CHUNK_EXTENSION,
    ANSWER_CHUNK_DATA,
    ANSWER_CHUNK_END,
    ANSWER_TRAILER, /* `left` counts the bytes of the present line */
    ANSWER_UNTIL_CLOSE,
};

struct answer {
    enum answer_state state;
    int status;
    bool closes;     /* the connection ends with this answer */
    bool has_digits; /* a chunk size needs one */
    uint64_t left;
    size_t at;            /* payload bytes so far */
    size_t events;        /* reference events that are complete */
    size_t head_n;        /* bytes of a head that came in pieces */
    struct builder *keep; /* collects the payload instead of comparing it */
    char head[ANSWER_HEAD_MAX];
};

/* `keep` is NULL but for the taking of a reference. */
void answer_start(struct answer *a, struct builder *keep);

/* Takes bytes as they came; `used` says how many belonged to this answer. `r` is unused when the
 * payload is kept. */
MUST_USE enum verdict answer_feed(struct answer *a, const struct reference *r, struct span bytes,
                                  size_t *used);

/* The peer closed: VERDICT_DONE when that was the answer's rightful end. */
MUST_USE enum verdict answer_closed(const struct answer *a, const struct reference *r);

#endif
