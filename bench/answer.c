#include "answer.h"

#include "base/mem.h"

static const struct span EVENT_END = SPAN_INIT("\n\n");
static const struct span STREAM_END = SPAN_INIT("data: [DONE]\n\n");

static size_t count_events(struct span body, size_t *ends)
{
    size_t count = 0;
    const char *p = body.p, *end = body.p + body.n;
    while ((p = memmem(p, (size_t)(end - p), EVENT_END.p, EVENT_END.n))) {
        p += EVENT_END.n;
        if (ends)
            ends[count] = (size_t)(p - body.p);
        count++;
    }
    return count;
}

enum err reference_init(struct reference *r, struct span body, enum reference_kind kind)
{
    *r = (struct reference){.body = body, .is_prefix = kind == REFERENCE_STREAM_PREFIX};
    if (kind == REFERENCE_PLAIN)
        return ERR_OK;
    if (kind == REFERENCE_STREAM && !span_ends(body, STREAM_END))
        return ERR_BAD_REQUEST;
    r->event_count = count_events(body, NULL);
    r->event_ends = mem_calloc(r->event_count + 1, sizeof(*r->event_ends));
    TRY_ALLOC(r->event_ends);
    (void)count_events(body, r->event_ends);
    return ERR_OK;
}

void reference_deinit(struct reference *r)
{
    mem_free((void *)(uintptr_t)r->body.p);
    mem_free(r->event_ends);
    *r = (struct reference){0};
}

void answer_start(struct answer *a, struct builder *keep)
{
    a->state = ANSWER_HEAD;
    a->status = 0;
    a->closes = a->has_digits = false;
    a->left = 0;
    a->at = a->events = a->head_n = 0;
    a->keep = keep;
}

/* --- the payload --------------------------------------------------------------------------------
 */

static enum verdict take_payload(struct answer *a, const struct reference *r, struct span part)
{
    if (a->keep) {
        builder_add(a->keep, part);
        a->at += part.n;
        return VERDICT_MORE;
    }
    size_t known = r->body.n - MIN(a->at, r->body.n);
    size_t n = MIN(part.n, known);
    if (n < part.n && !r->is_prefix)
        return VERDICT_WRONG_BODY;
    if (n && memcmp(part.p, r->body.p + a->at, n) != 0)
        return VERDICT_WRONG_BODY;
    a->at += part.n;
    while (a->events < r->event_count && r->event_ends[a->events] <= a->at)
        a->events++;
    return VERDICT_MORE;
}

static enum verdict finish(const struct answer *a, const struct reference *r)
{
    if (!a->keep && (a->at < r->body.n || r->is_prefix))
        return VERDICT_WRONG_BODY; /* it is shorter; or a stream to be held has ended */
    return VERDICT_DONE;
}

/* --- the head -----------------------------------------------------------------------------------
 */

static enum verdict take_field(struct answer *a, struct span name, struct span value)
{
    if (span_eq_nocase(name, SPAN("content-length"))) {
        if (span_to_u64(value, &a->left) != ERR_OK)
            return VERDICT_BAD_HTTP;
        if (a->state == ANSWER_UNTIL_CLOSE)
            a->state = ANSWER_LENGTH;
    } else if (span_eq_nocase(name, SPAN("transfer-encoding"))) {
        if (!span_eq_nocase(value, SPAN("chunked")))
            return VERDICT_BAD_HTTP;
        a->state = ANSWER_CHUNK_SIZE;
    } else if (span_eq_nocase(name, SPAN("connection"))) {
        a->closes = span_eq_nocase(value, SPAN("close"));
    }
    return VERDICT_MORE;
}

/* `head` ends with the blank line. */
static enum verdict take_head(struct answer *a, struct span head)
{
    if (!span_starts(head, SPAN("HTTP/1.1 ")) || head.n < 12)
        return VERDICT_BAD_HTTP;
    uint64_t status;
    if (span_to_u64(span(head.p + 9, 3), &status) != ERR_OK)
        return VERDICT_BAD_HTTP;
    a->status = (int)status;
    if (a->status < 200 || a->status > 299)
        return VERDICT_BAD_STATUS;
    a->state = ANSWER_UNTIL_CLOSE;
    struct span line, rest, name, value;
    (void)span_cut(head, '\n', &line, &rest);
    while (span_cut(rest, '\n', &line, &rest)) {
        line.n -= line.n && line.p[line.n - 1] == '\r';
        if (!line.n)
            break;
        if (!span_cut(line, ':', &name, &value))
            return VERDICT_BAD_HTTP;
        enum verdict v = take_field(a, name, span_trim(value));
        if (v != VERDICT_MORE)
            return v;
    }
    if (a->state == ANSWER_CHUNK_SIZE)
        a->left = 0; /* a length beside the coding does not count */
    a->closes |= a->state == ANSWER_UNTIL_CLOSE;
    return VERDICT_MORE;
}

/* Where the head ends in `s`, or 0. */
static size_t head_end(struct span s)
{
    const char *p = memmem(s.p, s.n, "\r\n\r\n", 4);
    return p ? (size_t)(p - s.p) + 4 : 0;
}

static enum verdict feed_head(struct answer *a, struct span bytes, size_t *used)
{
    size_t end;
    if (!a->head_n && (end = head_end(bytes))) { /* the usual case: whole in the first bytes */
        *used = end;
        return take_head(a, span(bytes.p, end));
    }
    size_t n = MIN(bytes.n, sizeof(a->head) - a->head_n);
    if (!n)
        return VERDICT_BAD_HTTP;
    memcpy(a->head + a->head_n, bytes.p, n);
    end = head_end(span(a->head, a->head_n + n));
    *used = end ? end - a->head_n : n;
    a->head_n += *used;
    return end ? take_head(a, span(a->head, end)) : VERDICT_MORE;
}

/* --- chunks -------------------------------------------------------------------------------------
 */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of the line "SIZE[;extension]\r\n". */
static enum verdict feed_chunk_line(struct answer *a, char c)
{
    if (c == '\n') {
        if (!a->has_digits)
            return VERDICT_BAD_HTTP;
        a->state = a->left ? ANSWER_CHUNK_DATA : ANSWER_TRAILER;
        a->has_digits = false;
        return VERDICT_MORE;
    }
    int digit = a->state == ANSWER_CHUNK_SIZE ? hex_digit(c) : -1;
    if (digit < 0) {
        a->state = ANSWER_CHUNK_EXTENSION;
        return VERDICT_MORE;
    }
    if (a->left >> 40)
        return VERDICT_BAD_HTTP;
    a->left = a->left * 16 + (uint64_t)digit;
    a->has_digits = true;
    return VERDICT_MORE;
}

/* One byte of framing between or after the chunks. */
static enum verdict feed_framing(struct answer *a, const struct reference *r, char c)
{
    if (a->state == ANSWER_CHUNK_END) {
        if (c == '\n')
            a->state = ANSWER_CHUNK_SIZE;
        return c == '\n' || c == '\r' ? VERDICT_MORE : VERDICT_BAD_HTTP;
    }
    if (a->state == ANSWER_TRAILER) {
        if (c == '\n' && a->left == 0)
            return finish(a, r);
        if (c == '\n')
            a->left = 0;
        else
            a->left += c != '\r';
        return VERDICT_MORE;
    }
    return feed_chunk_line(a, c);
}

static bool is_payload(enum answer_state state)
{
    return state == ANSWER_LENGTH || state == ANSWER_CHUNK_DATA || state == ANSWER_UNTIL_CLOSE;
}

static enum verdict feed_payload(struct answer *a, const struct reference *r, struct span bytes,
                                 size_t *used)
{
    *used = bytes.n;
    if (a->state != ANSWER_UNTIL_CLOSE) {
        *used = (size_t)MIN((uint64_t)bytes.n, a->left);
        a->left -= *used;
    }
    enum verdict v = take_payload(a, r, span(bytes.p, *used));
    if (v == VERDICT_MORE && a->state == ANSWER_LENGTH && !a->left)
        return finish(a, r);
    if (a->state == ANSWER_CHUNK_DATA && !a->left)
        a->state = ANSWER_CHUNK_END;
    return v;
}

enum verdict answer_feed(struct answer *a, const struct reference *r, struct span bytes,
                         size_t *used)
{
    enum verdict v = VERDICT_MORE;
    *used = 0;
    while (*used < bytes.n && v == VERDICT_MORE) {
        struct span rest = span_from(bytes, *used);
        size_t n = 1;
        if (a->state == ANSWER_HEAD)
            v = feed_head(a, rest, &n);
        else if (is_payload(a->state))
            v = feed_payload(a, r, rest, &n);
        else
            v = feed_framing(a, r, *rest.p);
        *used += n;
        if (v == VERDICT_MORE && a->state == ANSWER_LENGTH && !a->left)
            v = finish(a, r); /* Content-Length: 0 */
    }
    return v;
}

enum verdict answer_closed(const struct answer *a, const struct reference *r)
{
    return a->state == ANSWER_UNTIL_CLOSE ? finish(a, r) : VERDICT_BAD_HTTP;
}
