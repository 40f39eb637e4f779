#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MESSAGE_BYTES_MAX = 600,
    QUOTED_BYTES_MAX = 80, /* of the file's text: enough to find it, short enough to read */
};

void report_init(struct report *r, struct arena *arena)
{
    r->arena = arena;
    r->count = r->error_count = r->warning_count = 0;
    r->no_memory = false;
}

static void note(struct report *r, struct message m, const char *format, va_list args)
{
    char text[MESSAGE_BYTES_MAX];
    int n = vsnprintf(text, sizeof text, format, args);
    ASSERT(n >= 0);
    m.text = arena_cstr(r->arena, span_of_cstr(text));
    if (m.text)
        r->messages[r->count++] = m;
    else
        r->no_memory = true;
}

void report_error(struct report *r, struct place at, const char *format, ...)
{
    if (r->error_count++ >= MESSAGES_MAX)
        return;
    va_list args;
    va_start(args, format);
    note(r, (struct message){.at = at}, format, args);
    va_end(args);
}

void report_warning(struct report *r, struct place at, const char *format, ...)
{
    if (r->warning_count++ >= MESSAGES_MAX)
        return;
    va_list args;
    va_start(args, format);
    note(r, (struct message){.at = at, .is_warning = true}, format, args);
    va_end(args);
}

/* Control bytes become \xNN, so that a value cannot forge a line; other bytes are UTF-8, checked
 * when the file was read or else (from the environment) escaped too. */
static void add_printable(struct builder *b, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x20 || c == 0x7f)
            builder_printf(b, "\\x%02x", c);
        else
            builder_add_char(b, text.p[i]);
    }
}

/* A cut never leaves half a UTF-8 sequence. */
static struct span shorten(struct span text)
{
    if (text.n <= QUOTED_BYTES_MAX)
        return text;
    size_t n = QUOTED_BYTES_MAX;
    while (n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    return span(text.p, n);
}

const char *report_quote(struct report *r, struct span text)
{
    char room[QUOTED_BYTES_MAX * 4 + 8];
    struct builder b;
    builder_init_fixed(&b, room, sizeof room);
    struct span shown = shorten(text);
    builder_add_char(&b, '"');
    add_printable(&b, shown);
    if (shown.n < text.n)
        builder_add_cstr(&b, "...");
    builder_add_char(&b, '"');
    const char *quoted = arena_cstr(r->arena, builder_span(&b));
    if (!quoted)
        r->no_memory = true;
    return quoted ? quoted : "?";
}

static int by_place(const void *one, const void *other)
{
    const struct message *a = one, *b = other;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column)
        return a->at.column < b->at.column ? -1 : 1;
    if (a->is_warning != b->is_warning)
        return a->is_warning ? 1 : -1;
    return strcmp(a->text, b->text);
}

void report_write(struct report *r, const char *file, struct builder *out)
{
    qsort(r->messages, r->count, sizeof r->messages[0], by_place);
    for (size_t i = 0; i < r->count; i++) {
        const struct message *m = &r->messages[i];
        builder_printf(out, "%s:%u:%u: %s%s\n", file, m->at.line, m->at.column,
                       m->is_warning ? "warning: " : "", m->text);
    }
    if (r->error_count > MESSAGES_MAX)
        builder_printf(out, "%s:1:1: %zu more mistakes are not shown; mend these first\n", file,
                       r->error_count - MESSAGES_MAX);
    if (r->no_memory)
        builder_printf(out, "%s:1:1: there is not enough memory to read this configuration\n",
                       file);
}
