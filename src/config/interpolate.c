#include "config/interpolate.h"

#include "base/limits.h"

/* A hidden byte b is the private-use character U+10F800 + b: four bytes of UTF-8. Plane 16 is not
 * used by anybody's text; a file that does hold such a character is refused. */
enum { HIDING_BYTES = 4, VALUE_BYTES_MAX = 1 << 20 };

static void hide(struct builder *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x80) {
            builder_add_char(out, text.p[i]); /* letters of a default: no harm in YAML */
            continue;
        }
        const char hidden[HIDING_BYTES] = {'\xf4', '\x8f', (char)(0xa0 | (c >> 6)),
                                           (char)(0x80 | (c & 0x3f))};
        builder_add_bytes(out, hidden, sizeof hidden);
    }
}

bool is_hiding_character(struct span rest)
{
    return rest.n >= HIDING_BYTES && rest.p[0] == '\xf4' && rest.p[1] == '\x8f' &&
           (rest.p[2] == '\xa0' || rest.p[2] == '\xa1');
}

static bool is_name_byte(char c, bool is_first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!is_first && c >= '0' && c <= '9');
}

/* What follows "${" up to its '}'. */
static bool read_braces(struct span rest, struct reference *r)
{
    size_t n = 0;
    while (n < rest.n && is_name_byte(rest.p[n], n == 0))
        n++;
    r->name = span(rest.p, n);
    r->has_fallback = false;
    r->fallback = span(NULL, 0);
    struct span behind = span_from(rest, n);
    if (n == 0 || behind.n == 0)
        return false;
    if (behind.p[0] == '}') {
        r->length = 2 + n + 1;
        return true;
    }
    if (!span_starts(behind, SPAN(":-")))
        return false;
    size_t end = 2;
    while (end < behind.n && behind.p[end] != '}' && behind.p[end] != '\n')
        end++;
    if (end == behind.n || behind.p[end] == '\n')
        return false;
    r->has_fallback = true;
    r->fallback = span(behind.p + 2, end - 2);
    r->length = 2 + n + end + 1;
    return true;
}

bool reference_at(struct span text, size_t at, struct reference *r)
{
    struct span rest = span_from(text, at);
    if (span_starts(rest, SPAN("$${"))) {
        *r = (struct reference){.length = 3};
        return true;
    }
    return span_starts(rest, SPAN("${")) && read_braces(span_from(rest, 2), r);
}

size_t reference_find(struct span text, size_t at)
{
    for (; at < text.n; at++) {
        struct span rest = span_from(text, at);
        if (rest.p[0] == '$' && (span_starts(rest, SPAN("${")) || span_starts(rest, SPAN("$${"))))
            return at;
    }
    return text.n;
}

/* Of an escape the braces are hidden too where they pair up as those of a reference would, so that
 * {key: $${NAME}} is one value. */
static size_t hidden_length(struct span text, size_t at)
{
    struct reference r;
    if (!reference_at(text, at, &r))
        return 0;
    struct reference inner;
    if (r.name.n == 0 && reference_at(text, at + 1, &inner))
        return 1 + inner.length;
    return r.length;
}

void references_hide(struct span text, struct builder *out)
{
    for (size_t at = 0; at < text.n;) {
        size_t next = reference_find(text, at);
        builder_add(out, span(text.p + at, next - at));
        if (next == text.n)
            return;
        size_t n = hidden_length(text, next);
        if (n > 0)
            hide(out, span(text.p + next, n));
        else
            builder_add(out, span(text.p + next, n = 1));
        at = next + n;
    }
}

bool references_show(struct arena *a, struct span text, struct span *shown)
{
    char *p = arena_bytes(a, text.n);
    if (!p)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        if (is_hiding_character(span_from(text, i))) {
            p[n++] = (char)((text.p[i + 2] & 1) << 6 | (text.p[i + 3] & 0x3f));
            i += HIDING_BYTES;
        } else {
            p[n++] = text.p[i++];
        }
    }
    *shown = span(p, n);
    return true;
}

/* The value of one reference; false when there is none. */
static bool look_up(const struct reference *r, const char *(*env)(const char *name),
                    struct expansion *e, struct span *value)
{
    char name[NAME_MAX_BYTES + 1];
    const char *found = NULL;
    if (r->name.n <= NAME_MAX_BYTES) {
        memcpy(name, r->name.p, r->name.n);
        name[r->name.n] = '\0';
        found = env(name);
    }
    if (found && (found[0] != '\0' || !r->has_fallback)) {
        *value = span_of_cstr(found);
        return true;
    }
    e->by_default = r->has_fallback;
    *value = r->fallback;
    return r->has_fallback;
}

static void note_problem(struct expansion *e, enum expand_problem found, size_t ordinal)
{
    e->found = found;
    e->ordinal = ordinal;
}

/* Appends the value of the reference at `at`; answers its length, 0 after a problem. */
static size_t expand_one(struct span written, size_t at, const char *(*env)(const char *name),
                         struct builder *out, struct expansion *e, size_t ordinal)
{
    struct reference r;
    if (!reference_at(written, at, &r) || reference_find(r.fallback, 0) < r.fallback.n) {
        note_problem(e, EXPAND_MALFORMED, ordinal);
        return 0;
    }
    struct span value = SPAN("${");
    if (r.name.n > 0 && !look_up(&r, env, e, &value)) {
        note_problem(e, EXPAND_NOT_SET, ordinal);
        e->name = r.name;
        return 0;
    }
    builder_add(out, value);
    return r.length;
}

void references_expand(struct arena *a, struct span written, const char *(*env)(const char *name),
                       struct expansion *result)
{
    *result = (struct expansion){.text = written};
    if (reference_find(written, 0) == written.n)
        return;
    struct builder out;
    builder_init(&out, VALUE_BYTES_MAX);
    size_t ordinal = 0;
    for (size_t at = 0; at < written.n; ordinal++) {
        size_t next = reference_find(written, at);
        builder_add(&out, span(written.p + at, next - at));
        if (next == written.n)
            break;
        size_t n = expand_one(written, next, env, &out, result, ordinal);
        if (n == 0)
            break;
        at = next + n;
    }
    if (result->found == EXPAND_OK &&
        (builder_check(&out) != ERR_OK || !arena_dup(a, builder_span(&out), &result->text)))
        result->found = EXPAND_NO_MEMORY;
    builder_deinit(&out);
}
