#include "http/h2_head.h"

#include "base/builder.h"

enum { FIELD_OVERHEAD = 4, PSEUDO_MAX = 5 }; /* as ": " and a line end would take */

struct entry {
    uint32_t name_n, value_n;
};

/* --- receiving -------------------------------------------------------------------------------- */

static bool make_room(struct h2_block *b, size_t n)
{
    if (b->text && b->text->room - b->text->n >= n)
        return true;
    const size_t have = b->text ? b->text->n : 0;
    struct buffer *wider = buffer_take(MAX(have * 2, have + n));
    if (!wider)
        return false;
    if (have)
        memcpy(wider->p, b->text->p, have);
    wider->n = have;
    buffer_put(b->text);
    b->text = wider;
    return true;
}

static void put(struct buffer *to, const void *bytes, size_t n)
{
    if (n)
        memcpy(to->p + to->n, bytes, n);
    to->n += n;
}

void h2_block_add(struct h2_block *b, struct span name, struct span value)
{
    b->bytes += name.n + value.n + FIELD_OVERHEAD;
    b->count++;
    if (b->failed != ERR_OK)
        return;
    if (b->bytes > HTTP_HEAD_MAX || b->count > HTTP_FIELDS_MAX + PSEUDO_MAX) {
        b->failed = ERR_HEAD_TOO_LARGE;
        return;
    }
    const struct entry entry = {(uint32_t)name.n, (uint32_t)value.n};
    if (!make_room(b, sizeof entry + name.n + value.n)) {
        b->failed = ERR_NO_MEMORY;
        return;
    }
    put(b->text, &entry, sizeof entry);
    put(b->text, name.p, name.n);
    put(b->text, value.p, value.n);
}

void h2_block_clear(struct h2_block *b)
{
    buffer_put(b->text);
    *b = (struct h2_block){0};
}

/* --- both heads ------------------------------------------------------------------------------- */

struct reader {
    struct http_head *head;
    struct span scheme;
    const char *why;
};

static enum err refuse(struct reader *r, enum err code, const char *why)
{
    if (!r->why)
        r->why = why;
    return code;
}

static bool next(const char **at, const char *end, struct span *name, struct span *value)
{
    struct entry entry;
    if (*at == end)
        return false;
    memcpy(&entry, *at, sizeof entry);
    *name = span(*at + sizeof entry, entry.name_n);
    *value = span(name->p + name->n, entry.value_n);
    *at = value->p + value->n;
    return true;
}

bool h2_is_connection_field(struct span name)
{
    switch (http_known_of(name)) {
    case HTTP_KNOWN_CONNECTION:
    case HTTP_KNOWN_KEEP_ALIVE:
    case HTTP_KNOWN_PROXY_CONNECTION:
    case HTTP_KNOWN_TRANSFER_ENCODING:
    case HTTP_KNOWN_UPGRADE:
        return true;
    default: /* known.def has every other name */
        return false;
    }
}

static bool has_capital(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 'A' && name.p[i] <= 'Z')
            return true;
    return false;
}

static enum err take_field(struct reader *r, struct span name, struct span value)
{
    if (!http_is_token(name) || has_capital(name))
        return refuse(r, ERR_BAD_REQUEST, "a field has a name that is none");
    if (!http_is_value(value) || span_trim(value).n != value.n)
        return refuse(r, ERR_BAD_REQUEST, "a field has a value that cannot stand in a head");
    if (h2_is_connection_field(name))
        return refuse(r, ERR_BAD_REQUEST, "a field speaks about an HTTP/1 connection");
    if (http_head_add(r->head, name, value) != ERR_OK)
        return refuse(r, ERR_HEAD_TOO_LARGE, "too many fields");
    return ERR_OK;
}

static enum err take_status(struct reader *r, struct span value)
{
    uint64_t status;
    if (value.n != 3 || span_to_u64(value, &status) != ERR_OK || status < 100 || status > 599)
        return refuse(r, ERR_PROTOCOL, "the status is none");
    r->head->status = (int)status;
    return ERR_OK;
}

static enum err take_pseudo(struct reader *r, struct span name, struct span value)
{
    struct http_head *head = r->head;
    if (span_eq(name, SPAN(":method")))
        head->method_text = value;
    else if (span_eq(name, SPAN(":path")))
        head->target = value;
    else if (span_eq(name, SPAN(":authority")))
        head->authority = value;
    else if (span_eq(name, SPAN(":scheme")))
        r->scheme = value;
    else if (span_eq(name, SPAN(":status")))
        return take_status(r, value);
    else
        return refuse(r, ERR_BAD_REQUEST, "there is no such pseudo-header");
    return ERR_OK;
}

/* The block's bytes move to the arena, and the head's spans point there. */
static enum err read_fields(struct reader *r, const struct h2_block *b, struct arena *arena)
{
    const size_t n = b->text ? b->text->n : 0;
    char *own = arena_bytes(arena, n);
    struct http_field *fields = ARENA_NEW_ARRAY(arena, struct http_field, MAX(b->count, 1u));
    TRY_ALLOC(own);
    TRY_ALLOC(fields);
    if (n)
        memcpy(own, b->text->p, n);
    http_head_init(r->head, fields, b->count);
    r->head->is_http2 = true;
    r->head->keep_alive = true;
    const char *at = own;
    struct span name, value;
    while (next(&at, own + n, &name, &value)) {
        if (name.n && name.p[0] == ':')
            TRY(take_pseudo(r, name, value));
        else
            TRY(take_field(r, name, value));
    }
    return ERR_OK;
}

static enum err take_length(struct reader *r, bool has_body)
{
    struct http_head *head = r->head;
    head->framing = has_body ? HTTP_BODY_STREAM : HTTP_BODY_NONE;
    head->has_content_length = http_has(head, HTTP_KNOWN_CONTENT_LENGTH);
    if (!head->has_content_length)
        return ERR_OK;
    if (http_is_repeated(head, HTTP_KNOWN_CONTENT_LENGTH) ||
        span_to_u64(http_get(head, HTTP_KNOWN_CONTENT_LENGTH), &head->content_length) != ERR_OK)
        return refuse(r, ERR_BAD_REQUEST, "the content length is not one number");
    return ERR_OK;
}

/* --- a request -------------------------------------------------------------------------------- */

static enum err check_method(struct reader *r)
{
    struct http_head *head = r->head;
    if (!http_is_token(head->method_text))
        return refuse(r, ERR_BAD_REQUEST, "the method is not a token");
    head->method = http_method_of(head->method_text);
    if (head->method == HTTP_CONNECT)
        return refuse(r, ERR_BAD_METHOD, "CONNECT is not offered");
    if (!span_eq(r->scheme, SPAN("https")) && !span_eq(r->scheme, SPAN("http")))
        return refuse(r, ERR_BAD_REQUEST, "the scheme is neither http nor https");
    return ERR_OK;
}

static enum err check_target(struct reader *r)
{
    struct http_head *head = r->head;
    if (head->target.n > HTTP_TARGET_MAX)
        return refuse(r, ERR_URI_TOO_LONG, "the path is too long");
    const bool is_asterisk = head->method == HTTP_OPTIONS && span_eq(head->target, SPAN("*"));
    if (!is_asterisk && !http_is_path_and_query(head->target))
        return refuse(r, ERR_BAD_REQUEST, "the path is not valid");
    (void)span_cut(head->target, '?', &head->path, &head->query);
    return ERR_OK;
}

/* RFC 9113 section 8.3.1: a Host field must not say otherwise. */
static enum err check_authority(struct reader *r)
{
    struct http_head *head = r->head;
    const struct span host = http_get(head, HTTP_KNOWN_HOST);
    if (http_is_repeated(head, HTTP_KNOWN_HOST))
        return refuse(r, ERR_BAD_REQUEST, "there are several hosts");
    if (!head->authority.n)
        head->authority = host;
    else if (host.p && !span_eq_nocase(host, head->authority))
        return refuse(r, ERR_BAD_REQUEST, "the host is not the authority");
    if (!http_is_authority(head->authority))
        return refuse(r, ERR_BAD_REQUEST, "the authority is not valid");
    return ERR_OK;
}

/* RFC 9113 section 8.2.3: crumbs of a cookie are one cookie for everybody else. The first field
 * becomes the whole, the others go. */
static enum err join_cookies(struct reader *r, struct arena *arena)
{
    struct http_head *head = r->head;
    if (!http_is_repeated(head, HTTP_KNOWN_COOKIE))
        return ERR_OK;
    struct builder whole;
    char *room = arena_bytes(arena, HTTP_HEAD_MAX);
    TRY_ALLOC(room);
    builder_init_fixed(&whole, room, HTTP_HEAD_MAX);
    const uint32_t count = head->field_count;
    struct http_field *first = NULL;
    http_head_clear_fields(head);
    for (uint32_t i = 0; i < count; i++) {
        const struct http_field field = head->fields[i];
        const bool is_crumb = http_known_of(field.name) == HTTP_KNOWN_COOKIE;
        if (is_crumb && first)
            builder_add(&whole, SPAN("; "));
        if (is_crumb)
            builder_add(&whole, field.value);
        if (is_crumb && first)
            continue;
        if (is_crumb)
            first = &head->fields[head->field_count];
        TRY(http_head_add(head, field.name, field.value));
    }
    first->value = builder_span(&whole);
    return builder_check(&whole);
}

static enum err check_expectation(struct reader *r)
{
    struct http_head *head = r->head;
    if (!http_has(head, HTTP_KNOWN_EXPECT))
        return ERR_OK;
    if (http_is_repeated(head, HTTP_KNOWN_EXPECT) ||
        !span_eq_nocase(http_get(head, HTTP_KNOWN_EXPECT), SPAN("100-continue")))
        return refuse(r, ERR_BAD_EXPECTATION, "only 100-continue can be expected");
    head->expects_continue = true;
    return ERR_OK;
}

static enum err read_request(struct reader *r, const struct h2_block *b, bool has_body,
                             struct arena *arena)
{
    TRY(b->failed);
    TRY(read_fields(r, b, arena));
    TRY(check_method(r));
    TRY(check_target(r));
    TRY(check_authority(r));
    TRY(take_length(r, has_body));
    TRY(check_expectation(r));
    return join_cookies(r, arena);
}

enum err h2_block_to_request(const struct h2_block *b, bool has_body, struct arena *arena,
                             struct http_head *head, const char **why)
{
    struct reader r = {.head = head};
    enum err e = read_request(&r, b, has_body, arena);
    *why = r.why ? r.why : err_info(e)->text;
    return e;
}

/* --- an answer -------------------------------------------------------------------------------- */

enum err h2_block_to_response(const struct h2_block *b, bool has_body, struct arena *arena,
                              struct http_head *head)
{
    struct reader r = {.head = head};
    enum err e = b->failed;
    if (e == ERR_OK)
        e = read_fields(&r, b, arena);
    if (e == ERR_OK)
        e = take_length(&r, has_body);
    if (e == ERR_NO_MEMORY)
        return e;
    return e == ERR_OK && head->status != 0 ? ERR_OK : ERR_PROTOCOL;
}
