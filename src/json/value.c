#include "json/value.h"

#include "json/skip.h"
#include "json/utf8.h"

enum json_kind json_kind(struct span raw)
{
    if (raw.n == 0)
        return JSON_NONE;
    switch (*raw.p) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

const char *json_kind_text(enum json_kind kind)
{
    static const char *const text[] = {"nothing",  "null",     "a boolean", "a number",
                                       "a string", "an array", "an object"};
    return text[kind];
}

/* --- scalars -------------------------------------------------------------------------------- */

enum err json_to_bool(struct span raw, bool *value)
{
    if (json_kind(raw) != JSON_BOOL)
        return ERR_BAD_REQUEST;
    *value = *raw.p == 't';
    return ERR_OK;
}

enum err json_to_u64(struct span raw, uint64_t *value)
{
    /* A valid number whose every byte is a digit is an integer in its only form. */
    return json_kind(raw) == JSON_NUMBER ? span_to_u64(raw, value) : ERR_BAD_REQUEST;
}

enum err json_to_i64(struct span raw, int64_t *value)
{
    uint64_t size;
    if (json_kind(raw) != JSON_NUMBER)
        return ERR_BAD_REQUEST;
    const bool is_negative = *raw.p == '-';
    TRY(span_to_u64(span_from(raw, is_negative), &size));
    if (size > (uint64_t)INT64_MAX + is_negative)
        return ERR_BAD_REQUEST;
    *value = is_negative ? (int64_t)(0 - size) : (int64_t)size;
    return ERR_OK;
}

/* --- strings -------------------------------------------------------------------------------- */

static uint32_t hex_unit(const char *p)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    return unit;
}

const char *json_decode_step(const char *p, const char *end, char bytes[4], unsigned *count)
{
    static const char plain[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    if (*p != '\\') {
        const unsigned char first = (unsigned char)*p;
        *count = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        memcpy(bytes, p, *count);
        return p + *count;
    }
    if (p[1] != 'u') {
        bytes[0] = plain[(unsigned char)p[1]];
        *count = 1;
        return p + 2;
    }
    uint32_t c = hex_unit(p + 2);
    p += 6;
    if (utf16_is_first_half(c) && end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
        utf16_is_second_half(hex_unit(p + 2))) {
        c = utf16_join(c, hex_unit(p + 2));
        p += 6;
    }
    *count = utf8_encode(c, bytes);
    return p;
}

/* ED A0..BF: half of a pair, which only an escape can have brought. */
static bool is_half(const char bytes[4], unsigned count)
{
    return count == 3 && (unsigned char)bytes[0] == 0xED && (unsigned char)bytes[1] >= 0xA0;
}

static const char *find_backslash(const char *p, const char *end)
{
    const char *found = p < end ? memchr(p, '\\', (size_t)(end - p)) : NULL;
    return found ? found : end;
}

/* `to` has room for as many bytes as [p, end): decoding never makes text longer. */
static size_t decode(const char *p, const char *end, char *to)
{
    char *const first = to;
    while (p < end) {
        const char *const backslash = find_backslash(p, end);
        memcpy(to, p, (size_t)(backslash - p));
        to += backslash - p;
        if (backslash == end)
            break;
        char bytes[4];
        unsigned count;
        p = json_decode_step(backslash, end, bytes, &count);
        memcpy(to, is_half(bytes, count) ? "\xEF\xBF\xBD" : bytes, count);
        to += count;
    }
    return (size_t)(to - first);
}

enum err json_to_string(struct span raw, struct arena *a, struct span *text)
{
    if (json_kind(raw) != JSON_STRING)
        return ERR_BAD_REQUEST;
    const char *const p = raw.p + 1, *const end = raw.p + raw.n - 1;
    if (find_backslash(p, end) == end) {
        *text = span_between(p, end);
        return ERR_OK;
    }
    char *to = arena_bytes(a, (size_t)(end - p));
    TRY_ALLOC(to);
    *text = (struct span){to, decode(p, end, to)};
    return ERR_OK;
}

bool json_string_is(struct span raw, struct span text)
{
    if (json_kind(raw) != JSON_STRING)
        return false;
    const char *p = raw.p + 1, *const end = raw.p + raw.n - 1;
    if (find_backslash(p, end) == end)
        return span_eq(span_between(p, end), text);
    while (p < end) {
        char bytes[4];
        unsigned count;
        p = json_decode_step(p, end, bytes, &count);
        const char *const seen = is_half(bytes, count) ? "\xEF\xBF\xBD" : bytes;
        if (text.n < count || memcmp(text.p, seen, count) != 0)
            return false;
        text = span_from(text, count);
    }
    return text.n == 0;
}

int json_string_cmp(struct span a, struct span b)
{
    const char *p = a.p + 1, *const p_end = a.p + a.n - 1;
    const char *q = b.p + 1, *const q_end = b.p + b.n - 1;
    while (p < p_end && q < q_end) {
        char x[4], y[4];
        unsigned x_n, y_n;
        p = json_decode_step(p, p_end, x, &x_n);
        q = json_decode_step(q, q_end, y, &y_n);
        /* No character's bytes begin another's: the shorter length decides enough. */
        const int order = memcmp(x, y, MIN(x_n, y_n));
        if (order)
            return order;
    }
    return (p < p_end) - (q < q_end);
}

/* --- walking -------------------------------------------------------------------------------- */

struct json_walk json_walk(struct span raw)
{
    const enum json_kind kind = json_kind(raw);
    struct json_walk w = {.is_object = kind == JSON_OBJECT, .index = SIZE_MAX};
    if (kind == JSON_OBJECT || kind == JSON_ARRAY) {
        w.at = raw.p;
        w.end = raw.p + raw.n;
    }
    return w;
}

bool json_walk_next(struct json_walk *w)
{
    if (!w->at)
        return false;
    const char *p = skip_space(w->at);
    /* In front of the first is the opening bracket, of the others a comma. */
    if (w->index != SIZE_MAX && *p != ',')
        return false;
    p = skip_space(p + 1);
    if (*p == '}' || *p == ']')
        return false;
    w->index++;
    if (w->is_object) {
        const char *const name = p;
        p = skip_string(p, w->end);
        w->name = span_between(name, p);
        p = skip_space(skip_space(p) + 1);
    }
    const bool is_scalar = *p != '"' && *p != '{' && *p != '[';
    w->at = is_scalar ? skip_scalar(p, w->end) : skip_value(p, w->end);
    w->value = span_between(p, w->at);
    return true;
}

struct span json_member(struct span raw, struct span name)
{
    struct json_walk w = json_walk(raw);
    if (w.is_object)
        while (json_walk_next(&w))
            if (json_string_is(w.name, name))
                return w.value;
    return (struct span){NULL, 0};
}
