#include "config/scalar.h"

#include "base/limits.h"
#include "base/sys.h"
#include "config/numbers.h"
#include "net/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/un.h>

static bool wrong(struct scalar *s, const char *text)
{
    s->wrong = text;
    return false;
}

/* A sentence with parts; a lack of memory is told by the report. */
#define WRONG(s, ...) wrong_of((s), arena_printf((s)->arena, __VA_ARGS__))

static bool wrong_of(struct scalar *s, const char *text)
{
    if (!text)
        s->report->no_memory = true;
    return wrong(s, text ? text : "cannot be read");
}

/* --- text ---------------------------------------------------------------------------------------
 */

static bool is_visible_ascii(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] <= 0x20 || text.p[i] == 0x7f || (unsigned char)text.p[i] >= 0x80)
            return false;
    }
    return true;
}

static bool has_control_or_blank(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= 0x20 || c == 0x7f)
            return true;
    }
    return false;
}

static bool read_text(struct scalar *s)
{
    return s->node->text.n > 0 || wrong(s, "is empty; write a text");
}

static bool read_name(struct scalar *s)
{
    struct span text = s->node->text;
    if (text.n == 0)
        return wrong(s, "is empty; write a name");
    if (text.n > NAME_MAX_BYTES)
        return WRONG(s, "is too long; a name has at most %d bytes", NAME_MAX_BYTES);
    return !has_control_or_blank(text) || wrong(s, "holds a blank; a name has none");
}

static bool read_pattern(struct scalar *s)
{
    if (!read_name(s))
        return false;
    struct span head, tail;
    span_cut(s->node->text, '*', &head, &tail);
    return span_find(tail, '*') == tail.n || wrong(s, "holds two \"*\"; a pattern has one");
}

static bool read_target(struct scalar *s)
{
    struct span provider, model;
    if (!span_cut(s->node->text, '/', &provider, &model) || provider.n == 0 || model.n == 0)
        return wrong(s, "is not a target; write PROVIDER/MODEL, such as openai/gpt-4o");
    return read_pattern(s);
}

static bool read_team(struct scalar *s)
{
    struct span organisation, team;
    if (!span_cut(s->node->text, '/', &organisation, &team) || organisation.n == 0 || team.n == 0)
        return wrong(s, "is not a team; write ORGANISATION/TEAM, such as acme/search");
    return true;
}

/* --- numbers ------------------------------------------------------------------------------------
 */

static bool is_bounded(const struct shape *shape)
{
    return shape->min != 0 || shape->max != 0;
}

/* The bound as it would be written, in the shape's own unit. */
static bool check_bounds(struct scalar *s)
{
    const struct shape *shape = s->shape;
    int64_t n = s->node->number;
    if (!is_bounded(shape) || (n >= shape->min && n <= shape->max))
        return true;
    char text[NUMBER_BYTES_MAX];
    bool is_small = n < shape->min;
    number_write(shape, is_small ? shape->min : shape->max, text);
    return WRONG(s, is_small ? "is too small; the least is %s" : "is too large; the most is %s",
                 text);
}

static bool read_number(struct scalar *s)
{
    if (!number_read(s->shape, s->node->text, &s->node->number))
        return WRONG(s, "is not %s", kind_info(s->shape->kind)->noun);
    return check_bounds(s);
}

static bool read_bool(struct scalar *s)
{
    bool is_true = span_eq(s->node->text, SPAN("true"));
    s->node->number = is_true;
    return is_true || span_eq(s->node->text, SPAN("false")) || wrong(s, "is not true or false");
}

size_t choice_find(const struct shape *shape, struct span text)
{
    size_t i = 0;
    while (i < shape->choice_count && !span_eq(span_of_cstr(shape->choices[i].name), text))
        i++;
    return i;
}

/* The one kind of which decode.c tells what is wrong: it knows the nearest word. */
static bool read_choice(struct scalar *s)
{
    size_t i = choice_find(s->shape, s->node->text);
    s->node->number = (int64_t)i;
    return i < s->shape->choice_count || wrong(s, NULL);
}

static bool read_time(struct scalar *s)
{
    return time_read(s->node->text, &s->node->number) ||
           wrong(s, "is not a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z");
}

/* --- places -------------------------------------------------------------------------------------
 */

struct span complete_path(struct arena *a, struct span folder, struct span path)
{
    if (path.n > 0 && path.p[0] == '/')
        return path;
    char *text = folder.n == 0 ? arena_cstr(a, path)
                               : arena_printf(a, "%.*s/%.*s", SPAN_ARG(folder), SPAN_ARG(path));
    return text ? span_of_cstr(text) : span(NULL, 0);
}

static bool complete(struct scalar *s, struct span *path)
{
    *path = complete_path(s->arena, s->folder, *path);
    return path->p != NULL || wrong_of(s, NULL);
}

static bool has_nul(struct span text)
{
    return text.n > 0 && memchr(text.p, '\0', text.n) != NULL;
}

static bool read_file(struct scalar *s)
{
    if (s->node->text.n == 0 || has_nul(s->node->text))
        return wrong(s, "is no path of a file");
    if (!complete(s, &s->node->text))
        return false;
    char *path = arena_cstr(s->arena, s->node->text);
    if (!path)
        return wrong_of(s, NULL);
    int fd = sys.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return WRONG(s, "cannot be read: %s (%s)", strerror(errno), path);
    sys.close(fd);
    return true;
}

/* "unix:" and a path that fits into an address; '@' begins an abstract one. */
static bool read_unix_address(struct scalar *s)
{
    struct span path = span_from(s->node->text, 5);
    if (path.n == 0 || has_nul(path) || span_eq(path, SPAN("@")))
        return wrong(s, "has no path; write unix:/run/penstock.sock");
    if (path.p[0] != '@' && !complete(s, &path))
        return false;
    if (path.n >= sizeof((struct sockaddr_un *)0)->sun_path)
        return wrong(s, "has too long a path for a socket; the most is 107 bytes");
    char *text = arena_printf(s->arena, "unix:%.*s", SPAN_ARG(path));
    if (!text)
        return wrong_of(s, NULL);
    s->node->text = span_of_cstr(text);
    return true;
}

static bool is_listen_host(struct span host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr room;
    bool has_brackets = host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    struct span bare = has_brackets ? span(host.p + 1, host.n - 2) : host;
    if (bare.n >= sizeof text || has_nul(bare))
        return false;
    if (bare.n > 0)
        memcpy(text, bare.p, bare.n);
    text[bare.n] = '\0';
    if (has_brackets)
        return inet_pton(AF_INET6, text, &room) == 1;
    return strcmp(text, "localhost") == 0 || inet_pton(AF_INET, text, &room) == 1;
}

static bool read_address(struct scalar *s)
{
    struct span text = s->node->text;
    if (span_starts(text, SPAN("unix:")))
        return read_unix_address(s);
    const char *colon = text.n > 0 ? memrchr(text.p, ':', text.n) : NULL;
    if (!colon)
        return wrong(s, "is not an address; write HOST:PORT, such as 127.0.0.1:8080");
    struct span host = span_between(text.p, colon);
    struct span port = span_from(text, host.n + 1);
    uint64_t number;
    if (!is_listen_host(host))
        return wrong(s, "has no host to listen on; write an IPv4 address, an IPv6 address in "
                        "brackets, or localhost");
    return (port.n <= 5 && span_to_u64(port, &number) == ERR_OK && number <= 65535) ||
           wrong(s, "has no port from 0 to 65535");
}

static bool read_url(struct scalar *s)
{
    struct origin origin = {0};
    struct span path;
    const char *why = NULL;
    if (origin_parse_url(s->node->text, &origin, &path, &why) == ERR_OK)
        return true;
    return WRONG(s, "is not a URL of a provider: %s; write one such as https://api.openai.com/v1",
                 why);
}

/* Its text holds a password: the message does not show it. */
static bool read_proxy(struct scalar *s)
{
    struct origin origin = {0};
    const char *why = NULL;
    enum err code = origin_parse_proxy(s->node->text, s->arena, &origin, &why);
    if (code == ERR_NO_MEMORY)
        return wrong_of(s, NULL);
    return code == ERR_OK ||
           WRONG(s, "is not a URL of a proxy: %s; write http://user:password@host:port", why);
}

/* One of the schemes, with something behind it. */
static bool starts_with_scheme(struct span text, const char *const *schemes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct span scheme = span_of_cstr(schemes[i]);
        if (span_starts(text, scheme) && text.n > scheme.n && !has_control_or_blank(text))
            return true;
    }
    return false;
}

static bool read_store(struct scalar *s)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    struct span path = span_from(s->node->text, 7);
    if (!span_starts(s->node->text, SPAN("sqlite:")) || path.n == 0 || has_nul(path))
        return starts_with_scheme(s->node->text, schemes, ARRAY_LEN(schemes)) ||
               wrong(s, "is not a store; write sqlite:PATH or postgresql://user@host/db");
    if (!complete(s, &path))
        return false;
    char *text = arena_printf(s->arena, "sqlite:%.*s", SPAN_ARG(path));
    if (!text)
        return wrong_of(s, NULL);
    s->node->text = span_of_cstr(text);
    return true;
}

static bool read_fleet(struct scalar *s)
{
    static const char *const schemes[] = {"redis://", "rediss://", "valkey://", "valkeys://",
                                          "unix:"};
    return starts_with_scheme(s->node->text, schemes, ARRAY_LEN(schemes)) ||
           wrong(s, "is not a fleet; write redis://HOST:6379");
}

static bool read_log(struct scalar *s)
{
    struct span text = s->node->text;
    if (span_eq(text, SPAN("stdout")) || span_eq(text, SPAN("off")))
        return true;
    if (text.n == 0 || has_nul(text))
        return wrong(s, "is not stdout, off, or a path");
    return complete(s, &s->node->text);
}

/* --- secrets ------------------------------------------------------------------------------------
 */

/* Never shown: only what is wrong with it. */
static bool read_secret(struct scalar *s)
{
    struct span text = s->node->text;
    if (text.n == 0)
        return wrong(s, "is empty; an empty secret protects nothing");
    if (secret_is_placeholder(text))
        return wrong(s, "is a placeholder; write a secret of your own");
    if (!is_visible_ascii(text))
        return wrong(s, "holds a blank or a byte that is not visible ASCII");
    if (text.n < KEY_BYTES_MIN)
        return WRONG(s, "is too short; a secret has at least %d characters", KEY_BYTES_MIN);
    return text.n <= KEY_BYTES_MAX ||
           WRONG(s, "is too long; a secret has at most %d characters", KEY_BYTES_MAX);
}

/* Vendors decide what their keys look like; we only see to it that a header can carry them. */
static bool read_api_key(struct scalar *s)
{
    struct span text = s->node->text;
    if (!is_visible_ascii(text))
        return wrong(s, "holds a blank or a byte that is not visible ASCII");
    return text.n == 0 || !secret_is_placeholder(text) ||
           wrong(s, "is a placeholder; write the provider's key, or leave it empty");
}

/* --- the table ----------------------------------------------------------------------------------
 */

#define DURATION_PATTERN "^[0-9]+(ms|s|m|h|d)$"
#define SIZE_PATTERN "^[0-9]+(B|KiB|MiB|GiB)$"

static const struct kind_info kinds[KIND_SCALARS] = {
    [KIND_TEXT] = {"a text", NULL, read_text},
    [KIND_NAME] = {"a name", "^[^\\s]+$", read_name},
    [KIND_PATTERN] = {"a name or a pattern with one *", "^[^\\s*]*\\*?[^\\s*]*$", read_pattern},
    [KIND_TARGET] = {"PROVIDER/MODEL", "^[^/\\s]+/[^\\s]+$", read_target},
    [KIND_TEAM] = {"ORGANISATION/TEAM", "^[^/\\s]+/[^\\s]+$", read_team},
    [KIND_INTEGER] = {"a whole number", "^[0-9]+$", read_number},
    [KIND_DECIMAL] = {"a number such as 0.25", "^[0-9]+(\\.[0-9]+)?$", read_number},
    [KIND_DURATION] = {"a duration such as 500ms, 20s, 2m, 1h or 1d", DURATION_PATTERN,
                       read_number},
    [KIND_SIZE] = {"a size such as 512KiB, 32MiB or 4GiB", SIZE_PATTERN, read_number},
    [KIND_BOOL] = {"true or false", "^(true|false)$", read_bool},
    [KIND_CHOICE] = {"one of its words", NULL, read_choice},
    [KIND_TIME] = {"a date or a time", "^[0-9]{4}-[0-9]{2}-[0-9]{2}", read_time},
    [KIND_ADDRESS] = {"an address such as 127.0.0.1:8080", NULL, read_address},
    [KIND_URL] = {"a URL", "^(https?://|unix:)", read_url},
    [KIND_PROXY] = {"a URL of a proxy", "^http://", read_proxy},
    [KIND_STORE] = {"sqlite:PATH or postgresql://...", "^(sqlite:|postgres(ql)?://)", read_store},
    [KIND_FLEET] = {"redis://HOST:PORT", "^((redis|valkey)s?://|unix:)", read_fleet},
    [KIND_LOG] = {"stdout, off or a path", NULL, read_log},
    [KIND_FILE] = {"a path of a file", NULL, read_file},
    [KIND_SECRET] = {"a secret of 16 to 256 characters", NULL, read_secret},
    [KIND_API_KEY] = {"an API key", NULL, read_api_key},
};

const struct kind_info *kind_info(enum kind kind)
{
    ASSERT(kind < KIND_SCALARS);
    return &kinds[kind];
}

bool scalar_read(struct scalar *s)
{
    return kind_info(s->shape->kind)->read(s);
}
