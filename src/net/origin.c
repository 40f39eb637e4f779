#include "net/origin.h"

#include "base/builder.h"
#include "base/encode.h"

#include <sys/un.h>

enum {
    HOST_BYTES_MAX = 253, /* RFC 1035, section 2.3.4, as text */
    LABEL_BYTES_MAX = 63,
    CREDENTIALS_BYTES_MAX = 512,
    ID_BYTES_MAX = 64 * 1024,
};

static enum err wrong(const char **why, const char *text)
{
    *why = text;
    return ERR_BAD_REQUEST;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Letters, digits, '-' and '_' in labels of 1 to 63 bytes. What looks like an address must be one:
 * 10.0.0.256 is a mistake and not a name. */
static bool is_host_name(struct span host)
{
    size_t label = 0;
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        if (c == '.' && label == 0)
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > LABEL_BYTES_MAX || !(is_alnum(c) || c == '-' || c == '_' || c == '.'))
            return false;
    }
    return host.n > 0 && host.n <= HOST_BYTES_MAX;
}

static bool is_all_digits_and_dots(struct span host)
{
    for (size_t i = 0; i < host.n; i++) {
        if (!is_digit(host.p[i]) && host.p[i] != '.')
            return false;
    }
    return true;
}

static bool is_ipv4(struct span host)
{
    struct span rest = host, part;
    int parts = 0;
    bool more = true;
    while (more) {
        uint64_t value;
        more = span_cut(rest, '.', &part, &rest);
        bool has_leading_zero = part.n > 1 && part.p[0] == '0';
        if (part.n > 3 || has_leading_zero || span_to_u64(part, &value) != ERR_OK || value > 255)
            return false;
        parts++;
    }
    return parts == 4;
}

/* Only what tells an address from a mistake; the resolver reads it for good. */
static bool is_ipv6(struct span host)
{
    size_t colons = 0;
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        bool is_hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (!is_hex && c != ':' && c != '.')
            return false;
        colons += c == ':';
    }
    return colons >= 2 && host.n <= 45;
}

static enum err parse_port(struct span text, uint16_t *port, const char **why)
{
    uint64_t value;
    if (text.n == 0 || text.n > 5 || span_to_u64(text, &value) != ERR_OK || value == 0 ||
        value > 65535)
        return wrong(why, "its port is not a number from 1 to 65535");
    *port = (uint16_t)value;
    return ERR_OK;
}

/* HOST[:PORT]; brackets are not part of `host`. */
static enum err parse_authority(struct span text, uint16_t standard_port, struct span *host,
                                uint16_t *port, const char **why)
{
    struct span behind;
    bool has_port;
    if (text.n > 0 && text.p[0] == '[') {
        size_t end = span_find(text, ']');
        if (end == text.n || !is_ipv6(span(text.p + 1, end - 1)))
            return wrong(why, "its host is not an IPv6 address in brackets");
        *host = span(text.p + 1, end - 1);
        behind = span_from(text, end + 1);
        if (behind.n > 0 && behind.p[0] != ':')
            return wrong(why, "only a port may follow the bracket");
        has_port = behind.n > 0;
        behind = span_from(behind, 1);
    } else {
        has_port = span_cut(text, ':', host, &behind);
        if (host->n == 0)
            return wrong(why, "it has no host");
        if (is_all_digits_and_dots(*host) ? !is_ipv4(*host) : !is_host_name(*host))
            return wrong(why, "its host is neither a name nor an address");
    }
    *port = standard_port;
    return has_port ? parse_port(behind, port, why) : ERR_OK;
}

/* Visible ASCII only: the path goes into a request line as it is. */
static enum err parse_path(struct span path, struct span *clean, const char **why)
{
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '?' || path.p[i] == '#')
            return wrong(why, "it may not have a query or a fragment");
        unsigned char c = (unsigned char)path.p[i];
        if (c <= 0x20 || c >= 0x7f)
            return wrong(why, "its path holds a blank or a byte that must be percent-encoded");
    }
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    *clean = path;
    return ERR_OK;
}

static enum err parse_unix(struct span rest, struct origin *o, struct span *path, const char **why)
{
    struct span behind;
    span_cut(rest, ':', &o->unix_path, &behind);
    if (o->unix_path.n < 2 || (o->unix_path.p[0] != '/' && o->unix_path.p[0] != '@'))
        return wrong(why, "a socket's path must be absolute, as in unix:/run/model.sock:/v1");
    if (o->unix_path.n >= sizeof((struct sockaddr_un *)0)->sun_path)
        return wrong(why, "the socket's path is too long");
    if (behind.n > 0 && behind.p[0] != '/')
        return wrong(why, "the path behind the socket must begin with a slash");
    o->authority = SPAN("localhost");
    return parse_path(behind, path, why);
}

enum err origin_parse_url(struct span url, struct origin *origin, struct span *path,
                          const char **why)
{
    struct span rest;
    if (span_starts(url, SPAN("unix:")))
        return parse_unix(span_from(url, 5), origin, path, why);
    if (span_starts(url, SPAN("https://"))) {
        origin->tls = true;
        rest = span_from(url, 8);
    } else if (span_starts(url, SPAN("http://"))) {
        origin->tls = false;
        rest = span_from(url, 7);
    } else {
        return wrong(why, "it does not begin with http://, https:// or unix:");
    }
    size_t end = 0;
    while (end < rest.n && !strchr("/?#", rest.p[end]))
        end++;
    struct span authority = span(rest.p, end);
    if (span_find(authority, '@') < authority.n)
        return wrong(why, "it may not hold a user or a password");
    TRY(parse_authority(authority, origin->tls ? 443 : 80, &origin->host, &origin->port, why));
    origin->unix_path = span(NULL, 0);
    origin->authority = authority;
    return parse_path(span_from(rest, end), path, why);
}

/* --- proxies ------------------------------------------------------------------------------------
 */

/* RFC 3986, section 2.1. Control bytes have no place in a header. */
static bool percent_decode(struct span text, struct builder *out)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            if (text.n - i < 3 || !hex_decode(span(text.p + i + 1, 2), &c))
                return false;
            i += 2;
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return false;
        builder_add_char(out, c);
    }
    return builder_check(out) == ERR_OK;
}

/* RFC 7617: a user's name holds no colon, the password may. */
static enum err make_authorization(struct span credentials, struct arena *a, struct span *value,
                                   const char **why)
{
    char plain[CREDENTIALS_BYTES_MAX];
    struct builder b;
    builder_init_fixed(&b, plain, sizeof plain);
    struct span user, password;
    span_cut(credentials, ':', &user, &password);
    bool is_right = percent_decode(user, &b);
    builder_add_char(&b, ':');
    is_right = is_right && span_find(builder_span(&b), ':') == builder_span(&b).n - 1 &&
               percent_decode(password, &b);
    if (!is_right)
        return wrong(why, "its user or password is too long or not rightly percent-encoded");
    const struct span scheme = SPAN("Basic ");
    size_t n = builder_span(&b).n;
    char *text = arena_bytes(a, scheme.n + BASE64_LEN(n));
    TRY_ALLOC(text);
    memcpy(text, scheme.p, scheme.n);
    base64_encode(plain, n, text + scheme.n);
    *value = span(text, scheme.n + BASE64_LEN(n));
    return ERR_OK;
}

enum err origin_parse_proxy(struct span url, struct arena *a, struct origin *origin,
                            const char **why)
{
    if (!span_starts(url, SPAN("http://")))
        return wrong(why, "it does not begin with http://");
    struct span rest = span_from(url, 7);
    if (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    const char *at = rest.n > 0 ? memrchr(rest.p, '@', rest.n) : NULL;
    origin->proxy_authorization = span(NULL, 0);
    if (at) {
        struct span credentials = span_between(rest.p, at);
        rest = span_from(rest, credentials.n + 1);
        TRY(make_authorization(credentials, a, &origin->proxy_authorization, why));
    }
    return parse_authority(rest, 3128, &origin->proxy_host, &origin->proxy_port, why);
}

/* --- name and id --------------------------------------------------------------------------------
 */

static enum err seal_name(struct origin *o, struct arena *a)
{
    bool is_ipv6_host = span_find(o->host, ':') < o->host.n;
    char *name = o->unix_path.n > 0
                     ? arena_printf(a, "unix:%.*s", SPAN_ARG(o->unix_path))
                     : arena_printf(a, is_ipv6_host ? "%s://[%.*s]:%u" : "%s://%.*s:%u",
                                    o->tls ? "https" : "http", SPAN_ARG(o->host), o->port);
    TRY_ALLOC(name);
    o->name = span_of_cstr(name);
    return ERR_OK;
}

/* Every field with its length before it, so that no two different origins have one id. */
static void add_field(struct builder *b, struct span field)
{
    builder_printf(b, "%zu:", field.n);
    builder_add(b, field);
}

enum err origin_seal(struct origin *o, struct arena *a)
{
    TRY(seal_name(o, a));
    struct builder b;
    builder_init(&b, ID_BYTES_MAX);
    add_field(&b, o->name);
    add_field(&b, o->authority);
    builder_printf(&b, "%d,", (int)o->version);
    add_field(&b, o->ca_file);
    add_field(&b, o->certificate_file);
    add_field(&b, o->key_file);
    add_field(&b, o->proxy_host);
    builder_printf(&b, "%u,", o->proxy_port);
    add_field(&b, o->proxy_authorization);
    enum err result = builder_check(&b);
    if (result == ERR_OK && !arena_dup(a, builder_span(&b), &o->id))
        result = ERR_NO_MEMORY;
    builder_deinit(&b);
    return result;
}
