#include "config/cursor.h"

#include "config/interpolate.h"

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void step_forward(struct cursor *c)
{
    c->lines += c->text.p[c->offset] == '\n';
    c->offset++;
    c->index++;
    while (c->offset < c->text.n && is_continuation(c->text.p[c->offset]))
        c->offset++;
}

static void step_back(struct cursor *c)
{
    do
        c->offset--;
    while (c->offset > 0 && is_continuation(c->text.p[c->offset]));
    c->index--;
    c->lines -= c->text.p[c->offset] == '\n';
}

size_t cursor_offset(struct cursor *c, size_t index)
{
    while (c->index < index && c->offset < c->text.n)
        step_forward(c);
    while (c->index > index && c->offset > 0)
        step_back(c);
    return c->offset;
}

static uint32_t column_of(struct span text, size_t offset)
{
    const char *line = offset > 0 ? memrchr(text.p, '\n', offset) : NULL;
    return (uint32_t)(line ? offset - (size_t)(line - text.p) : offset + 1);
}

struct place cursor_place(struct cursor *c, size_t index)
{
    size_t offset = cursor_offset(c, index);
    return (struct place){.line = c->lines + 1, .column = column_of(c->text, offset)};
}

struct place place_of_offset(struct span text, size_t offset)
{
    uint32_t line = 1;
    for (size_t i = 0; i < offset && i < text.n; i++)
        line += text.p[i] == '\n';
    return (struct place){.line = line, .column = column_of(text, MIN(offset, text.n))};
}

/* Reads one character of UTF-8 (RFC 3629); 0 bytes when it is not one. */
static size_t read_utf8(struct span rest, uint32_t *c)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)rest.p[0];
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (n == 0 || first > 0xf4 || n > rest.n)
        return 0;
    *c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (!is_continuation(rest.p[i]))
            return 0;
        *c = *c << 6 | ((unsigned char)rest.p[i] & 0x3f);
    }
    bool is_surrogate = *c >= 0xd800 && *c <= 0xdfff;
    return *c < least[n] || *c > 0x10ffff || is_surrogate ? 0 : n;
}

/* YAML 1.1, c-printable, without the byte order mark. */
static bool is_printable(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0x7e) || c == 0x85 ||
           (c >= 0xa0 && c <= 0xfffd && c != 0xfeff) || c >= 0x10000;
}

size_t text_find_unprintable(struct span text, const char **why)
{
    for (size_t at = 0; at < text.n;) {
        uint32_t c = 0;
        size_t n = read_utf8(span_from(text, at), &c);
        *why = n == 0 ? "this byte is not UTF-8; save the file as UTF-8"
                      : "this character cannot be in YAML text; write it as an escape in double "
                        "quotes";
        if (n == 0 || !is_printable(c) || is_hiding_character(span_from(text, at)))
            return at;
        at += n;
    }
    return text.n;
}
