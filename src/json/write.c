#include "json/write.h"

#include "json/kernel.h"
#include "json/utf8.h"

#include <string.h>

void json_writer_init(struct json_writer *w, struct builder *b)
{
    *w = (struct json_writer){.b = b, .state = JSON_WRITES_FIRST};
}

static bool is_too_deep(const struct json_writer *w)
{
    return w->depth > JSON_DEPTH_MAX;
}

static bool in_object(const struct json_writer *w)
{
    const uint32_t level = w->depth - 1;
    return w->depth > 0 && (w->objects[level / 64] >> level % 64 & 1);
}

enum err json_writer_end(struct json_writer *w)
{
    if (is_too_deep(w))
        return ERR_TOO_LARGE;
    ASSERT(w->state == JSON_WRITES_DONE);
    return builder_check(w->b);
}

/* Whatever comes next may: a comma is set where one belongs. False: nothing is to be written. */
static inline bool begin_value(struct json_writer *w)
{
    if (UNLIKELY(is_too_deep(w)))
        return false;
    ASSERT(w->state != JSON_WRITES_DONE);
    if (w->state != JSON_WRITES_VALUE) {
        ASSERT(!in_object(w));
        if (w->state == JSON_WRITES_NEXT)
            builder_add_char(w->b, ',');
    }
    return true;
}

static inline void end_value(struct json_writer *w)
{
    w->state = w->depth > 0 ? JSON_WRITES_NEXT : JSON_WRITES_DONE;
}

/* --- levels --------------------------------------------------------------------------------- */

static void open_level(struct json_writer *w, bool is_object)
{
    if (!begin_value(w))
        return;
    const uint32_t level = w->depth++;
    if (is_too_deep(w)) /* for good: the writer stays there and swallows what follows */
        return;
    const uint64_t bit = (uint64_t)1 << level % 64;
    w->objects[level / 64] = (w->objects[level / 64] & ~bit) | (is_object ? bit : 0);
    w->state = JSON_WRITES_FIRST;
    builder_add_char(w->b, is_object ? '{' : '[');
}

static void close_level(struct json_writer *w, bool is_object)
{
    if (is_too_deep(w))
        return;
    ASSERT(w->depth > 0);
    ASSERT(w->state != JSON_WRITES_VALUE);
    ASSERT(in_object(w) == is_object);
    builder_add_char(w->b, is_object ? '}' : ']');
    w->depth--;
    end_value(w);
}

void json_write_object(struct json_writer *w)
{
    open_level(w, true);
}

void json_write_object_end(struct json_writer *w)
{
    close_level(w, true);
}

void json_write_array(struct json_writer *w)
{
    open_level(w, false);
}

void json_write_array_end(struct json_writer *w)
{
    close_level(w, false);
}

/* --- strings -------------------------------------------------------------------------------- */

/* Writes an escape of 2 or 6 bytes. */
static unsigned put_escape(char *to, unsigned char c)
{
    static const char names[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    static const char hex[] = "0123456789abcdef";
    to[0] = '\\';
    if (c >= 0x20 || names[c]) {
        to[1] = c >= 0x20 ? (char)c : names[c];
        return 2;
    }
    memcpy(to + 1, "u00", 3);
    to[4] = hex[c >> 4];
    to[5] = hex[c & 15];
    return 6;
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t w = 0;
    memcpy(&w, p, n);
    return w;
}

/* True when all 8 bytes stand for themselves in a string. A borrow may make it false for some that
 * do; what is not plain ASCII is never missed. */
static inline bool is_plain(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101, tops = ones * 0x80;
    const uint64_t quote = (w ^ ones * '"') - ones, backslash = (w ^ ones * '\\') - ones;
    return ((w | (w - ones * 0x20) | quote | backslash) & tops) == 0;
}

/* Most texts are short and plain: copied by words, the last of which overlaps the one before it.
 * False when something needs a closer look; then the copy does not count. */
static bool copy_plain(char *to, const char *p, size_t n)
{
    if (n < 8) {
        if (n < 4) {
            for (size_t i = 0; i < n; i++)
                to[i] = p[i];
            return is_plain(load("        ", 8) << 8 * n | (n ? load(p, 1) : 0) |
                            (n > 1 ? load(p + 1, 1) << 8 : 0) | (n > 2 ? load(p + 2, 1) << 16 : 0));
        }
        memcpy(to, p, 4);
        memcpy(to + n - 4, p + n - 4, 4);
        return is_plain(load(p, 4) | load(p + n - 4, 4) << 32);
    }
    for (size_t i = 0; i < n - 8; i += 8) {
        const uint64_t w = load(p + i, 8);
        if (UNLIKELY(!is_plain(w)))
            return false;
        memcpy(to + i, &w, 8);
    }
    memcpy(to + n - 8, p + n - 8, 8);
    return is_plain(load(p + n - 8, 8));
}

/* Any text, any length. */
static size_t escape_all(char *to, size_t room, struct span text)
{
    const struct json_kernel *const kernel = json_kernel();
    const char *p = text.p, *const end = text.p + text.n;
    char *const first = to, *const limit = to + room;
    while (p < end) {
        const char *const stop = kernel->text(p, end);
        const size_t n = (size_t)(stop - p);
        if (n > (size_t)(limit - to))
            return JSON_NO_ROOM;
        memcpy(to, p, n);
        to += n;
        p = stop;
        if (p == end)
            break;
        char unit[6] = "\xEF\xBF\xBD";
        unsigned unit_n = 3;
        bool is_whole;
        if ((unsigned char)*p < 0x80)
            unit_n = put_escape(unit, (unsigned char)*p++);
        else
            p += utf8_part(p, end, &is_whole);
        if (unit_n > (size_t)(limit - to))
            return JSON_NO_ROOM;
        memcpy(to, unit, unit_n);
        to += unit_n;
    }
    return (size_t)(to - first);
}

size_t json_escape(char *to, size_t room, struct span text)
{
    enum { SHORT = 64 }; /* longer ones are read faster by the kernel */
    if (LIKELY(text.n <= MIN(room, (size_t)SHORT)) && copy_plain(to, text.p, text.n))
        return text.n;
    return escape_all(to, room, text);
}

/* The text in quotes, escaped. */
static void add_text(struct builder *b, struct span text)
{
    enum { WORST = 6 }; /* bytes that one byte can become */
    char *p = builder_reserve(b, text.n + 2);
    if (!p)
        return;
    size_t n = json_escape(p + 1, b->room - b->n - 2, text);
    if (UNLIKELY(n == JSON_NO_ROOM)) {
        p = builder_reserve(b, text.n * WORST + 2);
        if (!p)
            return;
        n = json_escape(p + 1, text.n * WORST, text);
    }
    p[0] = '"';
    p[n + 1] = '"';
    builder_advance(b, n + 2);
}

static inline bool begin_name(struct json_writer *w)
{
    if (UNLIKELY(is_too_deep(w)))
        return false;
    ASSERT(in_object(w));
    ASSERT(w->state == JSON_WRITES_FIRST || w->state == JSON_WRITES_NEXT);
    if (w->state == JSON_WRITES_NEXT)
        builder_add_char(w->b, ',');
    w->state = JSON_WRITES_VALUE;
    return true;
}

void json_write_name(struct json_writer *w, struct span name)
{
    if (!begin_name(w))
        return;
    add_text(w->b, name);
    builder_add_char(w->b, ':');
}

void json_write_quoted_name(struct json_writer *w, struct span quoted)
{
    if (begin_name(w))
        builder_add(w->b, quoted);
}

void json_write_string(struct json_writer *w, struct span text)
{
    if (!begin_value(w))
        return;
    add_text(w->b, text);
    end_value(w);
}

/* --- other values --------------------------------------------------------------------------- */

void json_write_raw(struct json_writer *w, struct span raw)
{
    if (!begin_value(w))
        return;
    ASSERT(raw.n > 0);
    builder_add(w->b, raw);
    end_value(w);
}

void json_write_i64(struct json_writer *w, int64_t value)
{
    if (!begin_value(w))
        return;
    builder_add_i64(w->b, value);
    end_value(w);
}

void json_write_u64(struct json_writer *w, uint64_t value)
{
    if (!begin_value(w))
        return;
    builder_add_u64(w->b, value);
    end_value(w);
}

void json_write_decimal(struct json_writer *w, int64_t value, unsigned places)
{
    ASSERT(places <= 18);
    if (!begin_value(w))
        return;
    const uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t one = 1;
    for (unsigned i = 0; i < places; i++)
        one *= 10;
    if (value < 0)
        builder_add_char(w->b, '-');
    builder_add_u64(w->b, size / one);
    if (places > 0) {
        char digits[18];
        uint64_t rest = size % one;
        for (unsigned i = places; i-- > 0; rest /= 10)
            digits[i] = (char)('0' + rest % 10);
        builder_add_char(w->b, '.');
        builder_add_bytes(w->b, digits, places);
    }
    end_value(w);
}

void json_write_bool(struct json_writer *w, bool value)
{
    json_write_raw(w, value ? SPAN("true") : SPAN("false"));
}

void json_write_null(struct json_writer *w)
{
    json_write_raw(w, SPAN("null"));
}
