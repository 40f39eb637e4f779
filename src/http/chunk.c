#include "http/chunk.h"

#include "http/scan.h"

/* The states in the order of the wire. A state consumes bytes of its kind; STATE_DATA hands out. */
enum state {
    STATE_FIRST_DIGIT,
    STATE_SIZE,
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_LAST_LF,
    STATE_DONE
};

void chunk_decoder_init(struct chunk_decoder *d, uint64_t total_max)
{
    *d = (struct chunk_decoder){.total_left = total_max, .state = STATE_FIRST_DIGIT};
}

bool chunk_is_done(const struct chunk_decoder *d)
{
    return d->state == STATE_DONE;
}

COLD static enum err give_up(struct chunk_decoder *d, enum err code, const char *why)
{
    d->failed = code;
    d->why = why;
    return code;
}

COLD static enum err refuse(struct chunk_decoder *d, const char *why)
{
    return give_up(d, ERR_BAD_REQUEST, why);
}

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static enum err take_size(struct chunk_decoder *d, char c)
{
    if (scan_is(c, SCAN_HEX)) {
        if (d->left >> 60)
            return refuse(d, "a chunk size is too large for any number");
        d->left = d->left << 4 | hex_value(c);
        d->state = STATE_SIZE;
    } else if (d->state == STATE_FIRST_DIGIT) {
        return refuse(d, "a chunk size does not begin with a hex digit");
    } else if (c == ';') {
        d->state = STATE_EXTENSION;
    } else if (c == '\r') {
        d->state = STATE_SIZE_LF;
    } else {
        return refuse(d, "a chunk size is followed by neither ';' nor CR LF");
    }
    return ERR_OK;
}

static enum err take_extension(struct chunk_decoder *d, char c)
{
    if (c == '\r')
        d->state = STATE_SIZE_LF;
    else if (!scan_is(c, SCAN_VALUE))
        return refuse(d, "a chunk extension has a control character");
    return ERR_OK;
}

static enum err end_size_line(struct chunk_decoder *d, char c)
{
    if (c != '\n')
        return refuse(d, "a chunk size line does not end in CR LF");
    if (d->left > d->total_left)
        return give_up(d, ERR_TOO_LARGE, "the body is too large");
    d->total_left -= d->left;
    d->line_bytes = 0;
    d->state = d->left ? STATE_DATA : STATE_TRAILER_START;
    return ERR_OK;
}

static enum err take_trailer(struct chunk_decoder *d, char c)
{
    switch (d->state) {
    case STATE_TRAILER_START:
        if (c == '\r')
            d->state = STATE_LAST_LF;
        else if (scan_is(c, SCAN_TOKEN))
            d->state = STATE_TRAILER_NAME;
        else
            return refuse(d, "a trailer has no name");
        break;
    case STATE_TRAILER_NAME:
        if (c == ':')
            d->state = STATE_TRAILER_VALUE;
        else if (!scan_is(c, SCAN_TOKEN))
            return refuse(d, "a trailer's name has a byte that cannot be there");
        break;
    case STATE_TRAILER_VALUE:
        if (c == '\r')
            d->state = STATE_TRAILER_LF;
        else if (!scan_is(c, SCAN_VALUE))
            return refuse(d, "a trailer's value has a control character");
        break;
    default:
        if (c != '\n')
            return refuse(d, "a trailer does not end in CR LF");
        d->state = d->state == STATE_LAST_LF ? STATE_DONE : STATE_TRAILER_START;
        break;
    }
    if (++d->trailer_bytes > HTTP_TRAILER_MAX)
        return refuse(d, "the trailers are too large");
    return ERR_OK;
}

/* One byte that is not payload. */
static enum err take_byte(struct chunk_decoder *d, char c)
{
    switch ((enum state)d->state) {
    case STATE_FIRST_DIGIT:
    case STATE_SIZE:
    case STATE_EXTENSION:
        if (++d->line_bytes > HTTP_CHUNK_LINE_MAX)
            return refuse(d, "a chunk size line is too long");
        return d->state == STATE_EXTENSION ? take_extension(d, c) : take_size(d, c);
    case STATE_SIZE_LF:
        return end_size_line(d, c);
    case STATE_DATA_CR:
    case STATE_DATA_LF:
        if (c != (d->state == STATE_DATA_CR ? '\r' : '\n'))
            return refuse(d, "a chunk is not followed by CR LF");
        d->state = d->state == STATE_DATA_CR ? STATE_DATA_LF : STATE_FIRST_DIGIT;
        return ERR_OK;
    case STATE_TRAILER_START:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
    case STATE_TRAILER_LF:
    case STATE_LAST_LF:
        return take_trailer(d, c);
    case STATE_DATA:
    case STATE_DONE:
        break; /* these have no bytes of their own: chunk_next */
    }
    return ERR_INTERNAL;
}

/* A size line as nearly all are, digits and CR LF, that is here whole; else nothing is taken, and
 * the states above judge it byte by byte. */
static inline void take_usual_line(struct chunk_decoder *d, struct span *bytes)
{
    const char *p = bytes->p;
    const char *const end = p + MIN(bytes->n, (size_t)9);
    uint64_t size = 0;
    for (; p < end && scan_is(*p, SCAN_HEX); p++)
        size = size << 4 | hex_value(*p);
    if (p == bytes->p || bytes->p + bytes->n - p < 2 || memcmp(p, "\r\n", 2) != 0 ||
        size > d->total_left)
        return;
    d->left = size;
    d->total_left -= size;
    d->state = size ? STATE_DATA : STATE_TRAILER_START;
    *bytes = span_from(*bytes, (size_t)(p + 2 - bytes->p));
}

/* What stands between two runs of payload, or behind the last, as far as it is here. */
static inline void take_usual(struct chunk_decoder *d, struct span *bytes)
{
    if (d->state == STATE_DATA_CR && bytes->n >= 2 && memcmp(bytes->p, "\r\n", 2) == 0) {
        *bytes = span_from(*bytes, 2);
        d->state = STATE_FIRST_DIGIT;
    }
    if (d->state == STATE_FIRST_DIGIT)
        take_usual_line(d, bytes);
    if (d->state == STATE_TRAILER_START && d->trailer_bytes == 0 && bytes->n >= 2 &&
        memcmp(bytes->p, "\r\n", 2) == 0) {
        *bytes = span_from(*bytes, 2);
        d->state = STATE_DONE;
    }
}

static struct span take_data(struct chunk_decoder *d, struct span *bytes)
{
    const struct span data = span(bytes->p, d->left < bytes->n ? (size_t)d->left : bytes->n);
    *bytes = span_from(*bytes, data.n);
    d->left -= data.n;
    if (d->left == 0)
        d->state = STATE_DATA_CR;
    return data;
}

enum err chunk_next(struct chunk_decoder *d, struct span *bytes, struct span *payload)
{
    *payload = (struct span){0};
    TRY(d->failed);
    take_usual(d, bytes);
    while (d->state != STATE_DONE) {
        if (bytes->n == 0)
            return ERR_AGAIN;
        if (d->state == STATE_DATA) {
            *payload = take_data(d, bytes);
            return ERR_OK;
        }
        TRY(take_byte(d, bytes->p[0]));
        *bytes = span_from(*bytes, 1);
    }
    return ERR_OK;
}

size_t chunk_write_head(char out[CHUNK_HEAD_MAX], uint64_t n)
{
    ASSERT(n > 0); /* a chunk of no bytes would end the body */
    const size_t digits = ((size_t)(63 - __builtin_clzll(n)) >> 2) + 1;
    for (size_t i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[n >> (digits - 1 - i) * 4 & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}
