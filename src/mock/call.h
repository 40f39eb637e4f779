/* call.h -- one call to the mock, and what every dialect does with it; private to this room.
 *
 * Why: a dialect says how requests and answers look. When an answer comes, how fast, and how it
 * goes wrong is the same in all of them, and stands here once.
 *
 * Owns:      nothing: a call lives on the stack of its fiber, its memory in the request's arena.
 * Errors:    what the server says when the caller is gone; ERR_CLOSED when the script broke the
 *            answer off. Either way the dialect just returns it.
 * Suspends:  as marked.     Threads: the loop's.
 */
#ifndef PENSTOCK_MOCK_CALL_H
#define PENSTOCK_MOCK_CALL_H

#include "mock/calls.h"
#include "mock/mock.h"
#include "mock/script.h"
#include "mock/text.h"

struct mock_call;

struct mock_endpoint {
    enum http_method method;
    struct span path;
    bool takes_more; /* what follows the path is the endpoint's: call->rest */
    SUSPENDS enum err (*serve)(struct mock_call *c);
};

/* One a file: openai.c, ... */
struct mock_dialect {
    const struct mock_endpoint *endpoints;
    size_t endpoint_count;
    void (*init)(void); /* once, before any call */
    /* The body of an error answer, and the event that tells of one inside a stream. */
    enum err (*write_error)(struct builder *out, const struct mock_error *error);
    enum err (*write_error_event)(struct builder *out, const struct mock_error *error);
};

extern const struct mock_dialect mock_openai;

struct mock_call {
    struct mock *mock;
    struct http_request *rq;
    const struct mock_dialect *dialect;
    struct span rest; /* of the path */
    struct span body;
    struct span model; /* decoded */
    struct mock_script script;
    struct mock_print print; /* of what was asked */
    uint64_t number;         /* in the list of calls; 0: not yet noted */
    enum mock_outcome outcome;
    int64_t next_ns; /* when the next chunk is due */
    uint32_t chunks_sent;
};

/* Of mock.c: what a call needs of its mock. */
struct mock_calls *mock_calls_of(struct mock *m);
MUST_USE enum err mock_script_of(const struct mock *m, struct span model,
                                 struct mock_script *script, struct failure *why);

/* The key that a request brought, whichever field holds it; empty when there is none. */
struct span mock_key_of(const struct http_head *head);

/* Notes the call and does what its script says should happen instead of an answer. *go_on: the
 * answer is still to be made. Once a call. */
MUST_USE SUSPENDS enum err mock_begin(struct mock_call *c, struct span model, bool streams,
                                      bool *go_on);

/* Answers 400 with this code and param (either may be empty), and a text. */
MUST_USE SUSPENDS enum err mock_refuse(struct mock_call *c, struct span code, struct span param,
                                       const char *format, ...) PRINTF_LIKE(4, 5);
MUST_USE SUSPENDS enum err mock_reply_error(struct mock_call *c, const struct mock_error *error,
                                            int64_t retry_after_s);

/* A whole answer with status 200. */
MUST_USE SUSPENDS enum err mock_reply_json(struct mock_call *c, struct span body);

/* An answer in events. A chunk is what the script counts and paces; the events around them (a
 * role, the finish reason, the usage, the end) come without a pause. Before those at the end,
 * mock_stream_tail. */
MUST_USE SUSPENDS enum err mock_stream_begin(struct mock_call *c, struct span content_type);
MUST_USE SUSPENDS enum err mock_stream_event(struct mock_call *c, struct span event);
MUST_USE SUSPENDS enum err mock_stream_chunk(struct mock_call *c, struct span event);
MUST_USE SUSPENDS enum err mock_stream_tail(struct mock_call *c);
MUST_USE SUSPENDS enum err mock_stream_end(struct mock_call *c);

/* A builder that is released with the request. */
MUST_USE struct builder *mock_builder(struct mock_call *c, size_t first_room);

#endif
