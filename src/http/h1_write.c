#include "http/h1_write.h"

#include "http/kernel.h"
#include "http/scan.h"

static void give_up(struct h1_writer *w)
{
    if (w->failed == ERR_OK)
        w->failed = ERR_BAD_REQUEST;
}

/* What follows the method may be a path, all of the server, or the place that CONNECT asks for. */
static bool is_target(struct span method, struct span target)
{
    if (span_eq(method, SPAN("CONNECT")))
        return http_is_authority(target);
    return http_is_path_and_query(target) || span_eq(target, SPAN("*"));
}

void h1_begin_request(struct h1_writer *w, struct builder *out, struct span method,
                      struct span target)
{
    *w = (struct h1_writer){.out = out, .begin = builder_span(out).n, .lines = 1};
    if (!http_is_token(method) || !is_target(method, target)) {
        give_up(w);
        return;
    }
    builder_add(out, method);
    builder_add_char(out, ' ');
    builder_add(out, target);
    builder_add(out, SPAN(" HTTP/1.1\r\n"));
}

void h1_begin_response(struct h1_writer *w, struct builder *out, int status)
{
    ASSERT(status >= 100);
    ASSERT(status <= 599);
    *w = (struct h1_writer){.out = out, .begin = builder_span(out).n, .lines = 1};
    if (LIKELY(status == 200)) {
        builder_add(out, SPAN("HTTP/1.1 200 OK\r\n"));
        return;
    }
    const char digits[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                           (char)('0' + status % 10), ' '};
    builder_add(out, SPAN("HTTP/1.1 "));
    builder_add_bytes(out, digits, sizeof digits);
    builder_add(out, http_reason(status));
    builder_add(out, SPAN("\r\n"));
}

/* Copies a short text without a call: the last bytes are copied again, with what is before them. */
static inline char *copy_short(char *to, struct span s)
{
    if (s.n >= 16) {
        for (size_t i = 0; i < s.n - 16; i += 16)
            memcpy(to + i, s.p + i, 16);
        memcpy(to + s.n - 16, s.p + s.n - 16, 16);
    } else if (s.n >= 8) {
        memcpy(to, s.p, 8);
        memcpy(to + s.n - 8, s.p + s.n - 8, 8);
    } else if (s.n >= 4) {
        memcpy(to, s.p, 4);
        memcpy(to + s.n - 4, s.p + s.n - 4, 4);
    } else {
        for (size_t i = 0; i < s.n; i++)
            to[i] = s.p[i];
    }
    return to + s.n;
}

/* The end of the builder's text is near, or it has to grow. */
COLD static void put_by_pieces(struct h1_writer *w, struct span name, struct span value)
{
    builder_add(w->out, name);
    builder_add(w->out, SPAN(": "));
    builder_add(w->out, value);
    builder_add(w->out, SPAN("\r\n"));
}

void h1_own_field(struct h1_writer *w, struct span name, struct span value)
{
    if (UNLIKELY(w->failed != ERR_OK))
        return;
    w->lines++;
    const size_t n = name.n + value.n + 4;
    if (UNLIKELY(builder_room(w->out) < n)) {
        put_by_pieces(w, name, value);
        return;
    }
    char *to = copy_short(builder_end(w->out), name);
    memcpy(to, ": ", 2);
    to = copy_short(to + 2, value);
    memcpy(to, "\r\n", 2);
    builder_took(w->out, n);
}

void h1_field(struct h1_writer *w, struct span name, struct span value)
{
    if (http_is_token(name))
        h1_own_field(w, name, value);
    else
        give_up(w);
}

void h1_own_field_u64(struct h1_writer *w, struct span name, uint64_t value)
{
    char digits[20];
    char *const end = digits + sizeof digits, *p = end;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    h1_own_field(w, name, span_between(p, end));
}

COLD static size_t controls(struct span text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += !scan_is(text.p[i], SCAN_VALUE);
    return count;
}

enum err h1_end(struct h1_writer *w)
{
    TRY(w->failed);
    builder_add(w->out, SPAN("\r\n"));
    w->lines++;
    TRY(builder_check(w->out));
    const struct span all = span_from(builder_span(w->out), w->begin);
    /* The line ends are unusual, and nearly always nothing else is. */
    const size_t ours = (size_t)w->lines * 2;
    if (UNLIKELY(http_kernel()->unusual(all.p, all.p + all.n) != ours) && controls(all) != ours)
        give_up(w);
    return w->failed;
}
