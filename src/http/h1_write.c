#include "http/h1_write.h"

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
    *w = (struct h1_writer){.out = out};
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
    *w = (struct h1_writer){.out = out};
    const char digits[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                           (char)('0' + status % 10), ' '};
    builder_add(out, SPAN("HTTP/1.1 "));
    builder_add_bytes(out, digits, sizeof digits);
    builder_add(out, http_reason(status));
    builder_add(out, SPAN("\r\n"));
}

static void put_field(struct h1_writer *w, struct span name, struct span value)
{
    builder_add(w->out, name);
    builder_add(w->out, SPAN(": "));
    builder_add(w->out, value);
    builder_add(w->out, SPAN("\r\n"));
}

void h1_field(struct h1_writer *w, struct span name, struct span value)
{
    if (w->failed != ERR_OK)
        return;
    if (http_is_token(name) && http_is_value(value))
        put_field(w, name, value);
    else
        give_up(w);
}

void h1_own_field(struct h1_writer *w, struct span name, struct span value)
{
    ASSERT(http_is_token(name));
    ASSERT(http_is_value(value));
    if (w->failed == ERR_OK)
        put_field(w, name, value);
}

void h1_own_field_u64(struct h1_writer *w, struct span name, uint64_t value)
{
    ASSERT(http_is_token(name));
    if (w->failed != ERR_OK)
        return;
    builder_add(w->out, name);
    builder_add(w->out, SPAN(": "));
    builder_add_u64(w->out, value);
    builder_add(w->out, SPAN("\r\n"));
}

enum err h1_end(struct h1_writer *w)
{
    TRY(w->failed);
    builder_add(w->out, SPAN("\r\n"));
    return builder_check(w->out);
}
