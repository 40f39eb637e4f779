#include "http/message.h"

#include "http/known.h"
#include "http/scan.h"

#include <arpa/inet.h>

#define X(name, text, slot) static_assert(sizeof(text) <= KNOWN_NAME_ROOM, "too long: " text);
#include "http/known.def"
#undef X

/* The bit that letters lose in upper case, for each byte of a name. */
#define FOLD_1(c) ((c) >= 'a' && (c) <= 'z' ? 0x20 : 0)
#define FOLD_AT(text, i) FOLD_1((text)[(i) < sizeof(text) ? (i) : sizeof(text) - 1])
#define FOLD_8(text, i)                                                                            \
    FOLD_AT(text, i), FOLD_AT(text, (i) + 1), FOLD_AT(text, (i) + 2), FOLD_AT(text, (i) + 3),      \
        FOLD_AT(text, (i) + 4), FOLD_AT(text, (i) + 5), FOLD_AT(text, (i) + 6),                    \
        FOLD_AT(text, (i) + 7)

const struct known_name known_names[HTTP_KNOWN_COUNT] = {
#define X(name, lower, slot)                                                                       \
    [HTTP_KNOWN_##name] = {                                                                        \
        .text = lower ":",                                                                         \
        .fold = {FOLD_8(lower, 0u), FOLD_8(lower, 8u), FOLD_8(lower, 16u), FOLD_8(lower, 24u)},    \
    },
#include "http/known.def"
#undef X
};

const uint8_t known_at[256] = {
#define X(name, text, slot) [slot] = HTTP_KNOWN_##name,
#include "http/known.def"
#undef X
};

static const uint8_t known_lengths[HTTP_KNOWN_COUNT] = {
#define X(name, text, slot) [HTTP_KNOWN_##name] = sizeof(text) - 1,
#include "http/known.def"
#undef X
};

static bool is_same_name(const char *name, const struct known_name *known, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((name[i] | known->fold[i]) != known->text[i])
            return false;
    return true;
}

enum http_known http_known_of(struct span name)
{
    if (name.n < 2)
        return HTTP_KNOWN_NONE;
    const enum http_known known = (enum http_known)known_at[known_slot(name.p, name.n)];
    if (known_lengths[known] != name.n || !is_same_name(name.p, &known_names[known], name.n))
        return HTTP_KNOWN_NONE;
    return known;
}

struct span http_known_name(enum http_known known)
{
    return span(known_names[known].text, known_lengths[known]);
}

void http_head_init(struct http_head *head, struct http_field *fields, uint32_t field_max)
{
    ASSERT(field_max <= HTTP_HEAD_FIELDS_LIMIT);
    memset(head, 0, offsetof(struct http_head, first_of)); /* the rest is read only where filled */
    head->fields = fields;
    head->field_max = field_max;
}

void http_head_clear_fields(struct http_head *head)
{
    head->field_count = 0;
    head->present = head->repeated = 0;
}

enum err http_head_add(struct http_head *head, struct span name, struct span value)
{
    if (UNLIKELY(head->field_count == head->field_max))
        return ERR_HEAD_TOO_LARGE;
    head_put(head, name, value, http_known_of(name));
    return ERR_OK;
}

/* The old bytes may be gone: only the number of their address is used. */
static void rebase(struct span *s, const char *from, const char *to)
{
    if (s->p)
        s->p = to + ((uintptr_t)s->p - (uintptr_t)from);
}

void http_head_rebase(struct http_head *head, const char *from, const char *to)
{
    struct span *own[] = {&head->method_text, &head->target,    &head->path,
                          &head->query,       &head->authority, &head->reason};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        rebase(own[i], from, to);
    const uintptr_t by = (uintptr_t)to - (uintptr_t)from;
    struct http_field *const end = head->fields + head->field_count;
    for (struct http_field *f = head->fields; f < end; f++) {
        f->name.p = (const char *)((uintptr_t)f->name.p + by);
        f->value.p = (const char *)((uintptr_t)f->value.p + by);
    }
}

const struct http_field *http_find_from(const struct http_head *head, const struct http_field *from,
                                        struct span name)
{
    const struct http_field *end = head->fields + head->field_count;
    for (const struct http_field *f = from ? from : head->fields; f < end; f++)
        if (span_eq_nocase(f->name, name))
            return f;
    return NULL;
}

bool http_list_has(struct span list, struct span token)
{
    if (list.n < token.n)
        return false;
    struct span rest = list;
    while (rest.n) {
        struct span one;
        (void)span_cut(rest, ',', &one, &rest);
        if (span_eq_nocase(span_trim(one), token))
            return true;
    }
    return false;
}

bool http_is_named_by_connection(const struct http_head *head, struct span name)
{
    const struct http_field *f = http_get_field(head, HTTP_KNOWN_CONNECTION);
    const struct span connection = http_known_name(HTTP_KNOWN_CONNECTION);
    while (f) {
        if (http_list_has(f->value, name))
            return true;
        f = http_find_from(head, f + 1, connection);
    }
    return false;
}

bool http_is_hop_by_hop(const struct http_head *head, const struct http_field *field)
{
    return (HTTP_HOP_BY_HOP >> http_known_of(field->name) & 1) != 0 ||
           http_is_named_by_connection(head, field->name);
}

static const struct span methods[HTTP_METHOD_COUNT] = {
    [HTTP_GET] = SPAN_INIT("GET"),         [HTTP_HEAD] = SPAN_INIT("HEAD"),
    [HTTP_POST] = SPAN_INIT("POST"),       [HTTP_PUT] = SPAN_INIT("PUT"),
    [HTTP_PATCH] = SPAN_INIT("PATCH"),     [HTTP_DELETE] = SPAN_INIT("DELETE"),
    [HTTP_OPTIONS] = SPAN_INIT("OPTIONS"), [HTTP_CONNECT] = SPAN_INIT("CONNECT"),
    [HTTP_TRACE] = SPAN_INIT("TRACE"),
};

enum http_method http_method_of(struct span text)
{
    for (unsigned i = HTTP_GET; i < HTTP_METHOD_COUNT; i++)
        if (span_eq(methods[i], text)) /* methods are case-sensitive */
            return (enum http_method)i;
    return HTTP_METHOD_OTHER;
}

struct span http_method_text(enum http_method method)
{
    return methods[method];
}

struct span http_reason(int status)
{
    switch (status) {
#define R(code, text)                                                                              \
    case code:                                                                                     \
        return SPAN(text);
        R(100, "Continue")
        R(101, "Switching Protocols")
        R(103, "Early Hints")
        R(200, "OK")
        R(201, "Created")
        R(202, "Accepted")
        R(203, "Non-Authoritative Information")
        R(204, "No Content")
        R(205, "Reset Content")
        R(206, "Partial Content")
        R(300, "Multiple Choices")
        R(301, "Moved Permanently")
        R(302, "Found")
        R(303, "See Other")
        R(304, "Not Modified")
        R(307, "Temporary Redirect")
        R(308, "Permanent Redirect")
        R(400, "Bad Request")
        R(401, "Unauthorized")
        R(402, "Payment Required")
        R(403, "Forbidden")
        R(404, "Not Found")
        R(405, "Method Not Allowed")
        R(406, "Not Acceptable")
        R(407, "Proxy Authentication Required")
        R(408, "Request Timeout")
        R(409, "Conflict")
        R(410, "Gone")
        R(411, "Length Required")
        R(412, "Precondition Failed")
        R(413, "Content Too Large")
        R(414, "URI Too Long")
        R(415, "Unsupported Media Type")
        R(416, "Range Not Satisfiable")
        R(417, "Expectation Failed")
        R(421, "Misdirected Request")
        R(422, "Unprocessable Content")
        R(424, "Failed Dependency")
        R(425, "Too Early")
        R(426, "Upgrade Required")
        R(428, "Precondition Required")
        R(429, "Too Many Requests")
        R(431, "Request Header Fields Too Large")
        R(451, "Unavailable For Legal Reasons")
        R(499, "Client Closed Request")
        R(500, "Internal Server Error")
        R(501, "Not Implemented")
        R(502, "Bad Gateway")
        R(503, "Service Unavailable")
        R(504, "Gateway Timeout")
        R(505, "HTTP Version Not Supported")
        R(529, "Site Is Overloaded")
#undef R
    }
    return SPAN("Unknown");
}

bool http_is_token(struct span text)
{
    return text.n > 0 && scan_token(text.p, text.p + text.n) == text.p + text.n;
}

bool http_is_value(struct span text)
{
    return text.n == 0 || scan_value(text.p, text.p + text.n) == text.p + text.n;
}

static bool is_port(struct span text)
{
    uint64_t port = 0; /* RFC 3986 lets it be empty */
    return text.n == 0 || (text.n <= 5 && span_to_u64(text, &port) == ERR_OK && port <= 65535);
}

/* `text` begins behind the '['. */
static bool is_bracketed(struct span text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    const size_t n = span_find(text, ']');
    if (n == text.n || n >= sizeof address)
        return false;
    memcpy(address, text.p, n);
    address[n] = 0;
    if (strlen(address) != n || inet_pton(AF_INET6, address, &parsed) != 1)
        return false;
    const struct span rest = span_from(text, n + 1);
    return rest.n == 0 || (rest.p[0] == ':' && is_port(span_from(rest, 1)));
}

bool http_is_authority(struct span text)
{
    if (text.n == 0)
        return false;
    if (text.p[0] == '[')
        return is_bracketed(span_from(text, 1));
    const char *p = text.p, *end = text.p + text.n;
    while ((p = scan_host(p, end)) < end && *p == '%') {
        if (end - p < 3 || !scan_is(p[1], SCAN_HEX) || !scan_is(p[2], SCAN_HEX))
            return false;
        p += 3;
    }
    if (p == end)
        return true;
    return p > text.p && *p == ':' && is_port(span_between(p + 1, end));
}

bool http_is_path_and_query(struct span text)
{
    if (text.n == 0 || text.p[0] != '/')
        return false;
    const char *p = text.p, *end = text.p + text.n;
    while ((p = scan_target(p, end)) < end) {
        if (*p == '?') {
            p++;
            continue;
        }
        if (*p != '%' || end - p < 3 || !scan_is(p[1], SCAN_HEX) || !scan_is(p[2], SCAN_HEX) ||
            (p[1] == '0' && p[2] == '0'))
            return false;
        p += 3;
    }
    return true;
}
