/* message.h -- the head of an HTTP message, whichever version carried it.
 *
 * Why: what stands above the wire (routing, identity, relaying) must not care whether a request
 * came by HTTP/1.1 or HTTP/2. Both readers fill this one struct; fields that we look for are noted
 * while they are read, so that nobody walks the list for them.
 *
 * Owns:      nothing, allocates nothing: the field array is the caller's.
 * Lends:     every span points into the bytes that were parsed and lives as long as they do.
 * Bounds:    the caller's field array, at most HTTP_FIELDS_MAX; beyond it ERR_HEAD_TOO_LARGE.
 * Errors:    ERR_HEAD_TOO_LARGE.
 * Suspends:  never.     Threads: any; a head has one owner.
 */
#ifndef PENSTOCK_HTTP_MESSAGE_H
#define PENSTOCK_HTTP_MESSAGE_H

#include "base/limits.h"
#include "base/span.h"

enum http_method {
    HTTP_METHOD_OTHER, /* a token that we do not know; its text is in the head */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_CONNECT,
    HTTP_TRACE,
    HTTP_METHOD_COUNT
};

/* HTTP_KNOWN_HOST, HTTP_KNOWN_CONTENT_LENGTH, ...: a row of known.def each. */
enum http_known {
    HTTP_KNOWN_NONE = 0,
#define X(name, text, slot) HTTP_KNOWN_##name,
#include "http/known.def"
#undef X
    HTTP_KNOWN_COUNT
};
static_assert(HTTP_KNOWN_COUNT <= 64, "a set of known names is one word");

struct http_field {
    struct span name;  /* as received; compare without case */
    struct span value; /* without surrounding blanks */
};

/* How the end of a body is told. */
enum http_framing {
    HTTP_BODY_NONE,        /* there is none */
    HTTP_BODY_LENGTH,      /* content_length bytes, possibly 0 */
    HTTP_BODY_CHUNKED,     /* by chunk.h */
    HTTP_BODY_UNTIL_CLOSE, /* an answer that ends with its connection */
    HTTP_BODY_STREAM,      /* HTTP/2: the stream's end tells; content_length may bound it */
};

/* HTTP_FIELDS_MAX, and what HTTP/2 puts among them. */
enum { HTTP_HEAD_FIELDS_LIMIT = HTTP_FIELDS_MAX + 28 };

struct http_head {
    /* A request. */
    enum http_method method;
    struct span method_text;
    struct span target;    /* as received */
    struct span path;      /* "/v1/models": the target up to '?', still percent-encoded; or "*" */
    struct span query;     /* what follows '?'; empty when there is none */
    struct span authority; /* host[:port]: the absolute target's, else the Host field's */

    /* An answer. */
    int status;
    struct span reason; /* may be empty */

    /* Both. */
    uint8_t minor; /* HTTP/1.minor; 0 for HTTP/2 */
    bool is_http2;
    enum http_framing framing;
    bool has_content_length; /* also where it frames nothing: an answer to HEAD, a 304 */
    uint64_t content_length;
    bool keep_alive;          /* HTTP/1: the peer lets the connection live after this exchange */
    bool expects_continue;    /* Expect: 100-continue */
    bool asks_upgrade;        /* Connection: upgrade and an Upgrade field */
    bool connection_is_plain; /* Connection says keep-alive or close and nothing else */

    struct http_field *fields;
    uint32_t field_count, field_max;
    uint64_t present, repeated; /* bit HTTP_KNOWN_x: the field came; it came more than once */

    /* Private. Only what `present` and field_count say is filled: nothing is cleared a head. */
    uint8_t first_of[HTTP_KNOWN_COUNT];       /* the index of the first such field */
    uint8_t known_of[HTTP_HEAD_FIELDS_LIMIT]; /* which known name each field has */
};

/* An empty head over the caller's array; field_max <= HTTP_HEAD_FIELDS_LIMIT. */
void http_head_init(struct http_head *head, struct http_field *fields, uint32_t field_max);

/* Forgets the fields, to add them again. */
void http_head_clear_fields(struct http_head *head);

/* Appends a field, and notes it when its name is known. The name must be a token and the value
 * free of control characters (http_is_token, http_is_value): ERR_HEAD_TOO_LARGE is the one error.
 */
MUST_USE enum err http_head_add(struct http_head *head, struct span name, struct span value);

/* Moves every span by the distance from `from` to `to`, when the bytes below a head were moved.
 * Names and values must not be NULL: a parser's never are. */
void http_head_rebase(struct http_head *head, const char *from, const char *to);

/* Which known field a name is. The name must be a token; letters of either case. */
enum http_known http_known_of(struct span name);

/* The lower-case name of a known field. */
struct span http_known_name(enum http_known known);

/* Which known name the field at that index has. */
static inline enum http_known http_known_at(const struct http_head *head, size_t index)
{
    ASSERT(index < head->field_count);
    return (enum http_known)head->known_of[index];
}

/* The set that holds one known name; sets are combined by '|'. */
#define HTTP_SET(NAME) ((uint64_t)1 << HTTP_KNOWN_##NAME)

/* True when the field came, however often. */
static inline bool http_has(const struct http_head *head, enum http_known known)
{
    return (head->present >> known & 1) != 0;
}

/* True when the field came more than once: ambiguous where one value is meant. */
static inline bool http_is_repeated(const struct http_head *head, enum http_known known)
{
    return (head->repeated >> known & 1) != 0;
}

/* The value of the first such field; an empty span with a NULL pointer when there is none. */
static inline struct span http_get(const struct http_head *head, enum http_known known)
{
    return http_has(head, known) ? head->fields[head->first_of[known]].value : (struct span){0};
}

/* The first such field, as received, or NULL. */
static inline const struct http_field *http_get_field(const struct http_head *head,
                                                      enum http_known known)
{
    return http_has(head, known) ? &head->fields[head->first_of[known]] : NULL;
}

/* The first field of that name at or after `from` (NULL: the first of all), or NULL. Walks the
 * list: for names that known.def does not hold, and for all values of a repeated one. */
const struct http_field *http_find_from(const struct http_head *head, const struct http_field *from,
                                        struct span name);

static inline const struct http_field *http_find(const struct http_head *head, struct span name)
{
    return http_find_from(head, NULL, name);
}

/* True when a comma-separated list holds the token, without case; blanks around it are fine. */
bool http_list_has(struct span list, struct span token);

/* RFC 9110 section 7.6.1: the fields that are about one connection, whatever Connection says. */
#define HTTP_HOP_BY_HOP                                                                            \
    (HTTP_SET(CONNECTION) | HTTP_SET(KEEP_ALIVE) | HTTP_SET(PROXY_CONNECTION) |                    \
     HTTP_SET(PROXY_AUTHORIZATION) | HTTP_SET(TE) | HTTP_SET(TRAILER) |                            \
     HTTP_SET(TRANSFER_ENCODING) | HTTP_SET(UPGRADE))

/* True when a Connection field of the head lists that name. */
bool http_is_named_by_connection(const struct http_head *head, struct span name);

/* True for a field that speaks about one connection and is never forwarded: the fixed ones of RFC
 * 9110 section 7.6.1 and those that the head's own Connection field names. */
bool http_is_hop_by_hop(const struct http_head *head, const struct http_field *field);

/* The same for the field at that index of the head: its name was recognised when it came. */
static inline bool http_is_hop_by_hop_at(const struct http_head *head, size_t index)
{
    if (HTTP_HOP_BY_HOP >> http_known_at(head, index) & 1)
        return true;
    return http_has(head, HTTP_KNOWN_CONNECTION) && !head->connection_is_plain &&
           http_is_named_by_connection(head, head->fields[index].name);
}

enum http_method http_method_of(struct span text);
struct span http_method_text(enum http_method method); /* empty for HTTP_METHOD_OTHER */

/* The standard phrase of a status; "Unknown" for one that has none. */
struct span http_reason(int status);

/* RFC 9110 section 5.6.2: one or more token characters. */
bool http_is_token(struct span text);

/* RFC 9110 section 5.5: no control character but HTAB. Blanks at the ends are not looked at. */
bool http_is_value(struct span text);

/* uri-host [ ":" port ] of RFC 9110 section 7.2, not empty: a name, an IPv4 address, or an IPv6
 * address in brackets; the port at most 65535. */
bool http_is_authority(struct span text);

/* An origin-form target (or what follows the authority in an absolute one): begins with '/',
 * visible ASCII, no fragment, every '%' followed by two hex digits, none of them %00. */
bool http_is_path_and_query(struct span text);

#endif
