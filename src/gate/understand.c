#include "gate/exchange.h"

enum { WORD_MAX = 256, TAGS_MAX = 1024 };

/* What callers say about themselves goes to records: bounded, and only text that can stand there.
 */
static enum err read_word(struct exchange *x, enum http_known field, size_t max, struct span *word)
{
    *word = http_get(&x->rq->head, field);
    if (word->n > max)
        return fail(x->failure, ERR_BAD_REQUEST, "%.*s is longer than %zu bytes",
                    SPAN_ARG(http_known_name(field)), max);
    return ERR_OK;
}

enum err gate_understand(struct exchange *x, enum endpoint endpoint)
{
    struct span body;
    TRY(read_word(x, HTTP_KNOWN_X_PENSTOCK_PROJECT, WORD_MAX, &x->project));
    TRY(read_word(x, HTTP_KNOWN_X_PENSTOCK_USER, WORD_MAX, &x->user));
    TRY(read_word(x, HTTP_KNOWN_X_PENSTOCK_TAGS, TAGS_MAX, &x->tags));
    TRY(http_read_body(x->rq, &body));
    x->read_ns = loop_now(); /* the round that brought its last byte */
    return openai_decode(&x->call, endpoint, body, &x->rq->arena, x->failure);
}
