#include "http/message.h"

#include "http/scan.h"

#include <arpa/inet.h>

enum { KNOWN_NAME_MAX = 24 };

static const struct {
    char text[KNOWN_NAME_MAX];
    uint8_t n;
} known_names[HTTP_KNOWN_COUNT] = {
#define X(name, text, slot) [HTTP_KNOWN_##name] = {text, sizeof(text) - 1},
#include "http/known.def"
#undef X
};

static const uint8_t known_at[256] = {
#define X(name, text, slot) [slot] = HTTP_KNOWN_##name,
#include "http/known.def"
#undef X
};

#define X(name, text, slot) static_assert(sizeof(text) <= KNOWN_NAME_MAX, "a longer name: " text);
#include "http/known.def"
#undef X

static uint64_t load64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t load32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* True when the token `name` is `lower`, which is made of lower-case letters, digits and '-'. The
 * case bit may be set in all of them: no other token character becomes one of these by it. Words
 * overlap at the end rather than reach beyond it. */
static bool is_same_name(const char *name, const char *lower, size_t n)
{
    const uint64_t fold = 0x2020202020202020u;
    if (n >= 8) {
        uint64_t differ = (load64(name + n - 8) | fold) ^ load64(lower + n - 8);
        for (size_t i = 0; i + 8 < n; i += 8)
            differ |= (load64(name + i) | fold) ^ load64(lower + i);
        return differ == 0;
    }
    if (n >= 4) {
        const uint32_t half = (uint32_t)fold;
        return (((load32(name) | half) ^ load32(lower)) |
                ((load32(name + n - 4) | half) ^ load32(lower + n - 4))) == 0;
    }
    for (size_t i = 0; i < n; i++)
        if ((name[i] | 0x20) != lower[i])
            return false;
    return true;
}

enum http_known http_known_of(struct span name)
{
    ASSERT(name.n > 0);
    const enum http_known known = known_at[http_known_slot(name)];
    if (known_names[known].n != name.n || !is_same_name(name.p, known_names[known].text, name.n))
        return HTTP_KNOWN_NONE;
    return known;
}

struct span http_known_name(enum http_known known)
{
    return span(known_names[known].text, known_names[known].n);
}

void http_head_init(struct http_head *head, struct http_field *fields, uint32_t field_max)
{
    ASSERT(field_max < UINT8_MAX); /* known[] holds an index and one more */
    *head = (struct http_head){.fields = fields, .field_max = field_max};
}

enum err http_head_add(struct http_head *head, struct span name, struct span value)
{
    if (UNLIKELY(head->field_count == head->field_max))
        return ERR_HEAD_TOO_LARGE;
    head->fields[head->field_count++] = (struct http_field){name, value};
    const enum http_known known = http_known_of(name);
    if (known == HTTP_KNOWN_NONE)
        return ERR_OK;
    if (UNLIKELY(head->known[known]))
        head->repeated |= (uint64_t)1 << known;
    else
        head->known[known] = (uint8_t)head->field_count;
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
    for (uint32_t i = 0; i < head->field_count; i++) {
        rebase(&head->fields[i].name, from, to);
        rebase(&head->fields[i].value, from, to);
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

bool http_is_hop_by_hop(const struct http_head *head, const struct http_field *field)
{
    switch (http_known_of(field->name)) {
    case HTTP_KNOWN_CONNECTION:
    case HTTP_KNOWN_KEEP_ALIVE:
    case HTTP_KNOWN_PROXY_CONNECTION:
    case HTTP_KNOWN_PROXY_AUTHORIZATION:
    case HTTP_KNOWN_TE:
    case HTTP_KNOWN_TRAILER:
    case HTTP_KNOWN_TRANSFER_ENCODING:
    case HTTP_KNOWN_UPGRADE:
        return true;
    default: /* known.def has every other name */
        break;
    }
    if (!http_has(head, HTTP_KNOWN_CONNECTION))
        return false;
    const struct span connection = http_known_name(HTTP_KNOWN_CONNECTION);
    const struct http_field *f = http_find(head, connection);
    while (f) {
        if (http_list_has(f->value, field->name))
            return true;
        f = http_find_from(head, f + 1, connection);
    }
    return false;
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
