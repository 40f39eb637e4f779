/* h2_client.h -- calls to an upstream that share one HTTP/2 connection.
 *
 * Why: a provider that speaks HTTP/2 takes a hundred calls on one connection; which connection is
 * client.c's business, how calls share it is this one's.
 *
 * Owns:      a session owns its stream, from h2_session_new to its end. A call holds its session:
 *            the memory goes when the session was closed and its last call has ended.
 * Lends:     an answer's head lies in the caller's arena; a piece of the body is valid until the
 *            next function on that call.
 * Bounds:    H2_WINDOW bytes of an answer that nobody has read, lent ones included; HTTP_HEAD_MAX
 * of head; as many calls as the peer allows, at most H2_STREAMS_MAX. Errors:    as client.h:
 * ERR_UPSTREAM_TIMEOUT, ERR_PROTOCOL, ERR_CLOSED, ERR_IO, ERR_CANCELLED, ERR_NO_MEMORY;
 * ERR_BAD_REQUEST for a head that cannot be sent. Suspends:  h2_call_start, h2_call_read. Threads:
 * the loop's.
 */
#ifndef PENSTOCK_HTTP_H2_CLIENT_H
#define PENSTOCK_HTTP_H2_CLIENT_H

#include "http/client.h"

struct h2_session;

/* A call ended, the peer changed how many it takes, or the session goes away or is dead: ask which.
 * Called at the end of a round of the loop; may close the session. */
typedef void (*h2_session_changed)(struct h2_session *s, void *context);

/* Takes the connected stream over (it is moved), and speaks first. NULL: the stream is closed. */
MUST_USE struct h2_session *h2_session_new(struct stream *stream, h2_session_changed changed,
                                           void *context);

/* True when one more call may start now. */
bool h2_session_can_take(const struct h2_session *s);

/* Calls that have not ended. */
size_t h2_session_calls(const struct h2_session *s);

/* No further call will ever be taken: the peer said GOAWAY or is gone. Close it; calls that are
 * under way go on if they can. */
bool h2_session_is_going(const struct h2_session *s);

/* The owner lets go: calls under way come to their end, then the connection is closed. `changed` is
 * not called any more. */
void h2_session_close(struct h2_session *s);

/* As h2_session_close; calls under way fail with ERR_CLOSED. */
void h2_session_abort(struct h2_session *s);

/* Sends the request and waits for the final head of the answer, which lies in `arena`. The bytes of
 * the body are looked at until this returns, not later: a peer that refuses before it has read all
 * is not sent the rest. On failure nothing is held, and *is_untouched says whether the peer surely
 * did nothing, so that another connection may be tried. */
MUST_USE SUSPENDS enum err h2_call_start(struct h2_session *s,
                                         const struct http_call_request *request,
                                         struct arena *arena, struct http_call *call,
                                         bool *is_untouched, struct failure *why);

/* As http_call_read, http_call_try_read, http_call_end, for a call with call->h2_stream. */
MUST_USE SUSPENDS enum err h2_call_read(struct http_call *call, struct span *piece,
                                        int64_t deadline);
MUST_USE enum err h2_call_try_read(struct http_call *call, struct span *piece);
void h2_call_end(struct http_call *call);

#endif
