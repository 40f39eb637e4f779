#include "http/h1_parse.h"

#include "http/kernel.h"
#include "http/scan.h"

/* A line is read as though it were all there. When it turns out not to be as it should, the cold
 * path (stop) looks whether its end has come at all: if not, more bytes may mend it and the answer
 * is ERR_AGAIN. So the answer to some bytes is the same however they were cut on their way. */

enum stage { STAGE_START, STAGE_FIELDS };

enum {
    METHOD_MAX = 32,
    REQUEST_LINE_MAX = METHOD_MAX + HTTP_TARGET_MAX + sizeof "  HTTP/1.1\r\n",
};

/* What is being read: the bytes from `at` on, as far as the limits let us look. */
struct reading {
    const char *at, *end;
    const char *version; /* of the line, "1.1" */
    const char *why;
};

void h1_parser_init(struct h1_parser *p)
{
    *p = (struct h1_parser){.stage = STAGE_START};
}

COLD static enum err refuse(struct reading *r, enum err code, const char *why)
{
    r->why = why;
    return code;
}

/* The first byte that ends a line or can be in none, or `end`: one that a line cannot recover from.
 * A CR is not among them, because its LF may be still to come. */
static const char *find_verdict(const char *p, const char *end)
{
    while ((p = scan_value(p, end)) < end && *p == '\r')
        p++;
    return p;
}

/* How far the line that begins at p->at may be looked at: up to its own limit or the head's. */
static size_t line_room(const struct h1_parser *p, size_t line_max)
{
    return MIN(line_max, HTTP_HEAD_MAX - p->at);
}

static struct reading begin_line(const struct h1_parser *p, struct span bytes, size_t line_max)
{
    const char *at = bytes.p + p->at;
    return (struct reading){.at = at, .end = at + MIN(bytes.n - p->at, line_room(p, line_max))};
}

/* True when the line that was incomplete at the last call still is: only new bytes are read. */
static inline bool is_waiting(struct h1_parser *p, struct span bytes, size_t line_max)
{
    if (LIKELY(p->seen == 0))
        return false;
    const struct reading r = begin_line(p, bytes, line_max);
    const size_t here = (size_t)(r.end - r.at);
    if (here == line_room(p, line_max) || find_verdict(r.at + p->seen, r.end) < r.end)
        return false;
    p->seen = here;
    return true;
}

/* The line at p->at failed by `code`: tells whether that is final. `too_long` is what a line that
 * fills its room without an end is. */
COLD static enum err stop(struct h1_parser *p, struct span bytes, const char *why, enum err code,
                          size_t line_max, enum err too_long)
{
    const struct reading r = begin_line(p, bytes, line_max);
    const size_t here = (size_t)(r.end - r.at), room = line_room(p, line_max);
    if (find_verdict(r.at + p->seen, r.end) < r.end) {
        p->why = why;
        return code;
    }
    if (here == room) {
        p->why =
            too_long == ERR_URI_TOO_LONG ? "the request line is too long" : "the head is too large";
        return too_long;
    }
    p->seen = here;
    return ERR_AGAIN;
}

/* --- one line ----------------------------------------------------------------------------------
 */

static enum err take_method(struct reading *r, struct http_head *head)
{
    if (LIKELY(r->end - r->at > 5 && memcmp(r->at, "POST ", 5) == 0)) { /* nearly every call */
        head->method = HTTP_POST;
        head->method_text = span(r->at, 4);
        r->at += 5;
        return ERR_OK;
    }
    const char *end = scan_token(r->at, r->end);
    head->method_text = span_between(r->at, end);
    if (head->method_text.n == 0 || end == r->end || *end != ' ')
        return refuse(r, ERR_BAD_REQUEST, "the method is not a token and one space");
    if (head->method_text.n > METHOD_MAX)
        return refuse(r, ERR_BAD_REQUEST, "the method is too long");
    head->method = http_method_of(head->method_text);
    r->at = end + 1;
    return ERR_OK;
}

/* Visible ASCII up to a space; where the first '?' is goes into path and query for now. */
static enum err take_target(struct reading *r, struct http_head *head)
{
    const char *p = r->at, *query = NULL;
    while ((p = scan_target(p, r->end)) < r->end && *p != ' ') {
        if (*p == '?') {
            query = query ? query : p;
            p++;
        } else if (*p == '#') {
            return refuse(r, ERR_BAD_REQUEST, "the target has a fragment");
        } else if (*p != '%') {
            return refuse(r, ERR_BAD_REQUEST, "the target has a byte that cannot be there");
        } else if (r->end - p < 3 || !scan_is(p[1], SCAN_HEX) || !scan_is(p[2], SCAN_HEX)) {
            return refuse(r, ERR_BAD_REQUEST, "the target has a wrong percent-encoding");
        } else if (p[1] == '0' && p[2] == '0') {
            return refuse(r, ERR_BAD_REQUEST, "the target has an encoded NUL");
        } else {
            p += 3;
        }
    }
    head->target = span_between(r->at, p);
    if (head->target.n == 0 || p == r->end)
        return refuse(r, ERR_BAD_REQUEST, "the target is not followed by a space");
    if (head->target.n > HTTP_TARGET_MAX)
        return refuse(r, ERR_URI_TOO_LONG, "the target is too long");
    head->path = span_between(r->at, query ? query : p);
    head->query = query ? span_between(query + 1, p) : (struct span){0};
    r->at = p + 1;
    return ERR_OK;
}

/* "HTTP/1.1" before the byte `after`, which is left. Which version it is, judge_version says when
 * the line is known to be one. */
static enum err take_version(struct reading *r, char after)
{
    const char *p = r->at;
    const bool is_shaped = r->end - p >= 9 && p[8] == after &&
                           (memcmp(p, "HTTP/1.1", 8) == 0 ||
                            (memcmp(p, "HTTP/", 5) == 0 && p[5] >= '0' && p[5] <= '9' &&
                             p[6] == '.' && p[7] >= '0' && p[7] <= '9'));
    if (!is_shaped)
        return refuse(r, ERR_BAD_REQUEST, "the version is not HTTP/digit.digit");
    r->version = p + 5;
    r->at = p + 8;
    return ERR_OK;
}

static enum err judge_version(struct reading *r, struct http_head *head)
{
    if (r->version[0] != '1' || r->version[2] > '1')
        return refuse(r, ERR_BAD_VERSION, "the version is neither HTTP/1.0 nor HTTP/1.1");
    head->minor = (uint8_t)(r->version[2] - '0');
    return ERR_OK;
}

static enum err take_line_end(struct reading *r)
{
    if (UNLIKELY(r->end - r->at < 2 || r->at[0] != '\r' || r->at[1] != '\n'))
        return refuse(r, ERR_BAD_REQUEST, "the line does not end in CR LF");
    r->at += 2;
    return ERR_OK;
}

/* http://AUTHORITY/PATH?QUERY. The first '/' of "://" serves as the path of a target that has none:
 * a head's spans must all be in the bytes that were received. */
static enum err cut_absolute(struct reading *r, struct http_head *head, size_t scheme_n)
{
    const struct span rest = span_from(head->path, scheme_n);
    const size_t n = span_find(rest, '/');
    head->authority = span(rest.p, n);
    head->path = n < rest.n ? span_from(rest, n) : span(rest.p - 2, 1);
    if (!http_is_authority(head->authority))
        return refuse(r, ERR_BAD_REQUEST, "the target's authority is not host[:port]");
    return ERR_OK;
}

static enum err judge_target(struct reading *r, struct http_head *head)
{
    const struct span http = SPAN("http://"), https = SPAN("https://");
    if (head->method == HTTP_CONNECT)
        return refuse(r, ERR_BAD_REQUEST, "CONNECT is not served");
    if (LIKELY(head->target.p[0] == '/'))
        return ERR_OK;
    if (head->target.n == 1 && head->target.p[0] == '*') {
        if (head->method == HTTP_OPTIONS)
            return ERR_OK;
        return refuse(r, ERR_BAD_REQUEST, "the target '*' is for OPTIONS only");
    }
    if (head->path.n >= http.n && span_eq_nocase(span(head->path.p, http.n), http))
        return cut_absolute(r, head, http.n);
    if (head->path.n >= https.n && span_eq_nocase(span(head->path.p, https.n), https))
        return cut_absolute(r, head, https.n);
    return refuse(r, ERR_BAD_REQUEST, "the target is neither a path nor an http URI");
}

static enum err request_line(struct reading *r, struct http_head *head)
{
    TRY(take_method(r, head));
    TRY(take_target(r, head));
    TRY(take_version(r, '\r'));
    TRY(take_line_end(r));
    TRY(judge_version(r, head));
    return judge_target(r, head);
}

/* The space before an empty reason is often forgotten, and harmless. */
static enum err status_line(struct reading *r, struct http_head *head)
{
    TRY(take_version(r, ' '));
    const char *p = r->at;
    if (r->end - p < 5 || p[0] != ' ' || p[1] < '1' || p[1] > '5' || p[2] < '0' || p[2] > '9' ||
        p[3] < '0' || p[3] > '9' || (p[4] != ' ' && p[4] != '\r'))
        return refuse(r, ERR_BAD_REQUEST, "the status is not three digits from 100 to 599");
    head->status = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
    p += p[4] == ' ' ? 5 : 4;
    r->at = scan_value(p, r->end);
    head->reason = span_between(p, r->at);
    TRY(take_line_end(r));
    return judge_version(r, head);
}

COLD static enum err bad_name(struct reading *r, const char *end)
{
    if (end == r->end)
        return refuse(r, ERR_BAD_REQUEST, "the head is cut short");
    if (end == r->at && (*end == ' ' || *end == '\t'))
        return refuse(r, ERR_BAD_REQUEST, "a line is folded, or begins with a blank");
    if (end == r->at && *end == ':')
        return refuse(r, ERR_BAD_REQUEST, "a field has no name");
    if (*end == ' ' || *end == '\t')
        return refuse(r, ERR_BAD_REQUEST, "a blank stands in a field name or before its colon");
    if (*end == '\r' || *end == '\n')
        return refuse(r, ERR_BAD_REQUEST, "a line is not a field: it has no colon");
    return refuse(r, ERR_BAD_REQUEST, "a field name has a byte that cannot be there");
}

static enum err field_line(struct reading *r, struct http_head *head)
{
    const char *colon = scan_token(r->at, r->end);
    if (UNLIKELY(colon == r->at || colon == r->end || *colon != ':'))
        return bad_name(r, colon);
    const char *value = colon + 1;
    while (value < r->end && (*value == ' ' || *value == '\t'))
        value++;
    const char *line_end = scan_value(value, r->end);
    if (UNLIKELY(r->end - line_end < 2 || line_end[0] != '\r' || line_end[1] != '\n'))
        return refuse(r, ERR_BAD_REQUEST, "a field value has a control character");
    const char *value_end = line_end;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
        value_end--;
    if (UNLIKELY(http_head_add(head, span_between(r->at, colon), span_between(value, value_end))))
        return refuse(r, ERR_HEAD_TOO_LARGE, "there are too many fields");
    r->at = line_end + 2;
    return ERR_OK;
}

static bool at_empty_line(const struct reading *r)
{
    return r->end - r->at >= 2 && r->at[0] == '\r' && r->at[1] == '\n';
}

/* --- what the fields say together --------------------------------------------------------------
 */

static bool connection_says(const struct http_head *head, struct span token)
{
    if (!http_has(head, HTTP_KNOWN_CONNECTION))
        return false;
    if (LIKELY(!http_is_repeated(head, HTTP_KNOWN_CONNECTION)))
        return http_list_has(http_get(head, HTTP_KNOWN_CONNECTION), token);
    const struct span name = http_known_name(HTTP_KNOWN_CONNECTION);
    for (const struct http_field *f = http_find(head, name); f;
         f = http_find_from(head, f + 1, name))
        if (http_list_has(f->value, token))
            return true;
    return false;
}

/* What nearly every client sends; as it is nearly always written. */
static bool says_only_keep_alive(const struct http_head *head)
{
    return !http_is_repeated(head, HTTP_KNOWN_CONNECTION) &&
           span_eq(http_get(head, HTTP_KNOWN_CONNECTION), SPAN("keep-alive"));
}

static void judge_connection(struct http_head *head)
{
    const bool is_1_1 = head->minor == 1;
    head->keep_alive = is_1_1;
    if (!http_has(head, HTTP_KNOWN_CONNECTION))
        return;
    head->connection_is_plain = says_only_keep_alive(head);
    if (is_1_1 && head->connection_is_plain)
        return;
    head->keep_alive = !connection_says(head, SPAN("close")) &&
                       (is_1_1 || connection_says(head, SPAN("keep-alive")));
    head->asks_upgrade =
        is_1_1 && http_has(head, HTTP_KNOWN_UPGRADE) && connection_says(head, SPAN("upgrade"));
}

/* RFC 9112 section 6.3: where "chunked" is named but not last, or twice, the end cannot be known;
 * other codings are only not implemented. */
COLD static enum err bad_coding(struct reading *r, struct span list)
{
    struct span rest = list, one;
    bool was_chunked = false, more;
    do {
        more = span_cut(rest, ',', &one, &rest);
        struct span name = span_trim(one), parameters;
        (void)span_cut(name, ';', &name, &parameters);
        if (was_chunked || !http_is_token(span_trim(name)))
            return refuse(r, ERR_BAD_REQUEST, "Transfer-Encoding does not end in one 'chunked'");
        was_chunked = span_eq_nocase(span_trim(one), SPAN("chunked"));
    } while (more);
    return refuse(r, ERR_NOT_IMPLEMENTED, "a transfer coding other than 'chunked'");
}

/* Sets framing to CHUNKED or LENGTH where the fields say so; leaves it else. */
static enum err judge_framing(struct reading *r, struct http_head *head)
{
    if (http_has(head, HTTP_KNOWN_CONTENT_LENGTH)) {
        if (http_is_repeated(head, HTTP_KNOWN_CONTENT_LENGTH))
            return refuse(r, ERR_BAD_REQUEST, "Content-Length is repeated");
        if (http_has(head, HTTP_KNOWN_TRANSFER_ENCODING))
            return refuse(r, ERR_BAD_REQUEST, "Content-Length stands beside Transfer-Encoding");
        if (span_to_u64(http_get(head, HTTP_KNOWN_CONTENT_LENGTH), &head->content_length))
            return refuse(r, ERR_BAD_REQUEST, "Content-Length is not a number");
        head->has_content_length = true;
        head->framing = HTTP_BODY_LENGTH;
    } else if (http_has(head, HTTP_KNOWN_TRANSFER_ENCODING)) {
        const struct span coding = http_get(head, HTTP_KNOWN_TRANSFER_ENCODING);
        if (head->minor == 0)
            return refuse(r, ERR_BAD_REQUEST, "Transfer-Encoding in HTTP/1.0");
        if (http_is_repeated(head, HTTP_KNOWN_TRANSFER_ENCODING))
            return refuse(r, ERR_BAD_REQUEST, "Transfer-Encoding is repeated");
        if (!span_eq(coding, SPAN("chunked")) && !span_eq_nocase(coding, SPAN("chunked")))
            return bad_coding(r, coding);
        head->framing = HTTP_BODY_CHUNKED;
    }
    return ERR_OK;
}

static enum err judge_host(struct reading *r, struct http_head *head)
{
    if (!http_has(head, HTTP_KNOWN_HOST)) {
        if (head->minor == 0)
            return ERR_OK;
        return refuse(r, ERR_BAD_REQUEST, "Host is missing");
    }
    const struct span host = http_get(head, HTTP_KNOWN_HOST);
    if (http_is_repeated(head, HTTP_KNOWN_HOST))
        return refuse(r, ERR_BAD_REQUEST, "Host is repeated");
    if (!http_is_authority(host))
        return refuse(r, ERR_BAD_REQUEST, "Host is not host[:port]");
    /* RFC 9112 section 3.2.2 would ignore Host here: then a reader in front of us that does not
     * could see another server addressed. */
    if (head->authority.n && !span_eq_nocase(head->authority, host))
        return refuse(r, ERR_BAD_REQUEST, "Host is not the target's authority");
    head->authority = host;
    return ERR_OK;
}

static enum err judge_request(struct reading *r, struct http_head *head)
{
    TRY(judge_host(r, head));
    TRY(judge_framing(r, head));
    if (http_has(head, HTTP_KNOWN_EXPECT) && head->minor == 1) {
        if (http_is_repeated(head, HTTP_KNOWN_EXPECT) ||
            !span_eq_nocase(http_get(head, HTTP_KNOWN_EXPECT), SPAN("100-continue")))
            return refuse(r, ERR_BAD_EXPECTATION, "Expect is not 100-continue");
        head->expects_continue = head->framing != HTTP_BODY_NONE;
    }
    judge_connection(head);
    return ERR_OK;
}

/* RFC 9112 section 6.3, in its order. */
static enum err judge_response(struct reading *r, enum http_method method, struct http_head *head)
{
    head->framing = HTTP_BODY_UNTIL_CLOSE;
    TRY(judge_framing(r, head));
    judge_connection(head);
    const bool is_tunnel = method == HTTP_CONNECT && head->status / 100 == 2;
    if (method == HTTP_HEAD || head->status / 100 == 1 || head->status == 204 ||
        head->status == 304 || is_tunnel)
        head->framing = HTTP_BODY_NONE;
    if (head->framing == HTTP_BODY_UNTIL_CLOSE)
        head->keep_alive = false;
    return ERR_OK;
}

/* --- the whole head ----------------------------------------------------------------------------
 */

/* The bytes may have moved since the last call. */
static void resume(struct h1_parser *p, struct span bytes, struct http_head *head)
{
    ASSERT(bytes.n >= p->at + p->seen);
    if (p->base && p->base != bytes.p)
        http_head_rebase(head, p->base, bytes.p);
    p->base = bytes.p;
    p->why = NULL;
}

static void took_line(struct h1_parser *p, struct span bytes, const struct reading *r)
{
    p->at = (size_t)(r->at - bytes.p);
    p->seen = 0;
}

/* RFC 9112 section 2.2: some clients send an empty line behind a body. One is passed over. */
static void skip_empty_line(struct h1_parser *p, struct span bytes)
{
    struct reading r = begin_line(p, bytes, REQUEST_LINE_MAX);
    if (LIKELY(!at_empty_line(&r)) || p->skipped_line)
        return;
    r.at += 2;
    took_line(p, bytes, &r);
    p->skipped_line = true;
}

/* Reads fields up to the empty line. */
static enum err take_fields(struct h1_parser *p, struct span bytes, struct http_head *head)
{
    if (is_waiting(p, bytes, HTTP_HEAD_MAX))
        return ERR_AGAIN;
    struct reading r = begin_line(p, bytes, HTTP_HEAD_MAX);
    const struct http_kernel *const kernel = http_kernel();
    for (;;) {
        const char *const first = r.at;
        r.at = kernel->fields(r.at, r.end, head);
        if (r.at > first)
            took_line(p, bytes, &r);
        if (at_empty_line(&r))
            break;
        const enum err code = field_line(&r, head);
        if (UNLIKELY(code))
            return stop(p, bytes, r.why, code, HTTP_HEAD_MAX, ERR_HEAD_TOO_LARGE);
        took_line(p, bytes, &r);
    }
    r.at += 2;
    took_line(p, bytes, &r);
    p->consumed = p->at;
    return ERR_OK;
}

enum err h1_parse_request(struct h1_parser *p, struct span bytes, struct http_head *head)
{
    resume(p, bytes, head);
    if (p->stage == STAGE_START) {
        if (is_waiting(p, bytes, REQUEST_LINE_MAX))
            return ERR_AGAIN;
        skip_empty_line(p, bytes);
        struct reading r = begin_line(p, bytes, REQUEST_LINE_MAX);
        const enum err code = request_line(&r, head);
        if (UNLIKELY(code))
            return stop(p, bytes, r.why, code, REQUEST_LINE_MAX, ERR_URI_TOO_LONG);
        took_line(p, bytes, &r);
        p->stage = STAGE_FIELDS;
    }
    TRY(take_fields(p, bytes, head));
    struct reading r = {0};
    const enum err code = judge_request(&r, head);
    p->why = r.why;
    return code;
}

static enum err parse_response(struct h1_parser *p, struct span bytes, enum http_method method,
                               struct http_head *head)
{
    if (p->stage == STAGE_START) {
        if (is_waiting(p, bytes, HTTP_HEAD_MAX))
            return ERR_AGAIN;
        struct reading r = begin_line(p, bytes, HTTP_HEAD_MAX);
        const enum err code = status_line(&r, head);
        if (UNLIKELY(code))
            return stop(p, bytes, r.why, code, HTTP_HEAD_MAX, ERR_HEAD_TOO_LARGE);
        took_line(p, bytes, &r);
        p->stage = STAGE_FIELDS;
    }
    TRY(take_fields(p, bytes, head));
    struct reading r = {0};
    const enum err code = judge_response(&r, method, head);
    p->why = r.why;
    return code;
}

enum err h1_parse_response(struct h1_parser *p, struct span bytes, enum http_method method,
                           struct http_head *head)
{
    resume(p, bytes, head);
    const enum err code = parse_response(p, bytes, method, head);
    return code == ERR_OK || code == ERR_AGAIN ? code : ERR_PROTOCOL;
}
