#include "json/write.h"

#include "json/kernel.h"
#include "json/utf8.h"

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

static void add_escape(struct builder *b, unsigned char c)
{
    static const char names[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    static const char hex[] = "0123456789abcdef";
    if (c >= 0x20 || names[c]) {
        const char pair[2] = {'\\', c >= 0x20 ? (char)c : names[c]};
        builder_add_bytes(b, pair, 2);
        return;
    }
    const char unit[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    builder_add_bytes(b, unit, 6);
}

/* The text in quotes, escaped. */
static void add_text(struct builder *b, struct span text)
{
    const struct json_kernel *const kernel = json_kernel();
    const char *p = text.p, *const end = text.p + text.n;
    builder_add_char(b, '"');
    while (text.n > 0) {
        const char *const stop = kernel->text(p, end);
        builder_add(b, span_between(p, stop));
        p = stop;
        if (LIKELY(p == end))
            break;
        if ((unsigned char)*p < 0x80) {
            add_escape(b, (unsigned char)*p++);
        } else {
            bool is_whole;
            builder_add(b, SPAN("\xEF\xBF\xBD"));
            p += utf8_part(p, end, &is_whole);
        }
        if (p == end)
            break;
    }
    builder_add_char(b, '"');
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
