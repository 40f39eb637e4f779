#include "options.h"

#include "base/mem.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BODY_MAX = 64 * 1024 * 1024 };

static const char USAGE[] =
    "load --to ADDRESS (--save FILE | --expect FILE) [options]\n"
    "\n"
    "  --to HOST:PORT|/PATH    where to send: an address or a unix socket\n"
    "  --save FILE             ask twice, check that both answers agree, keep the payload\n"
    "  --save-seconds S        keep what of a stream comes in S seconds, ask once\n"
    "  --expect FILE           the payload that every answer must have\n"
    "\n"
    "  --path P                default /v1/chat/completions\n"
    "  --body FILE             the request's body; or made up, by\n"
    "  --body-bytes N --model M   a chat request of N bytes (default 1000, mock-ok)\n"
    "  --stream                ask for server-sent events; the last must be [DONE]\n"
    "  --authorization V       e.g. 'Bearer KEY'\n"
    "  --header 'NAME: VALUE'  any other, up to 16 times\n"
    "\n"
    "  --connections N         default 32\n"
    "  --seconds S | --count N how long, or how many; default 3 seconds\n"
    "  --ramp S                spread the first requests of all connections over S seconds\n"
    "  --rate R                open loop: R requests a second, whatever the answers do; times\n"
    "                          count from when a request was due\n"
    "  --hold                  open one stream a connection, print {\"open\": N}, keep them until\n"
    "                          a signal\n"
    "  --sources N             connect from N loopback addresses, from 127.0.0.2 on\n"
    "  --patience S            give up when nothing comes for S seconds; default 10\n"
    "\n"
    "SIGTERM and SIGINT: no further requests, then the report.\n"
    "Prints one line of JSON. Exit status 0: every answer was right; 1: some were not; 2: usage.\n";

void die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

struct span read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat info;
    if (!f || fstat(fileno(f), &info) != 0)
        die(1, "%s: %s", path, strerror(errno));
    size_t n = (size_t)info.st_size;
    char *bytes = n <= BODY_MAX ? mem_alloc(n + 1) : NULL;
    if (!bytes || fread(bytes, 1, n, f) != n)
        die(1, "%s: cannot be read whole", path);
    (void)fclose(f);
    return span(bytes, n);
}

/* --- the request --------------------------------------------------------------------------------
 */

/* Text as people send it: escapes and letters outside ASCII, so that a reader cannot skim. */
static const struct span PARAGRAPH = SPAN_INIT(
    "The penstock carries water from the reservoir to the turbine.\\n\\n\\\"Open the gate "
    "slowly\\\", "
    "the keeper said, \\u00e0 petits pas; 12.5 m\xc2\xb3/s is enough. Na\xc3\xafve questions are "
    "welcome: why does a pipe hammer when a valve shuts too fast? ");

/* A chat request of exactly o->body_bytes, keys in the order that the vendors' SDKs send them:
 * the model's name comes after the messages. */
static void add_chat_body(const struct options *o, struct builder *b)
{
    static const struct span HEAD = SPAN_INIT(
        "{\"messages\":[{\"role\":\"system\",\"content\":\"You are a careful assistant.\"},"
        "{\"role\":\"user\",\"content\":\"");
    struct builder tail;
    builder_init(&tail, 4096);
    builder_printf(
        &tail, "\"}],\"model\":\"%s\",\"max_tokens\":256,\"temperature\":0.7%s}", o->model,
        o->is_stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
    if (builder_check(&tail) != ERR_OK)
        die(2, "--model is too long");
    struct span end = builder_span(&tail);
    if (o->body_bytes < HEAD.n + end.n)
        die(2, "--body-bytes must be at least %zu", HEAD.n + end.n);
    size_t text_n = o->body_bytes - HEAD.n - end.n;
    builder_add(b, HEAD);
    for (; text_n >= PARAGRAPH.n; text_n -= PARAGRAPH.n)
        builder_add(b, PARAGRAPH);
    for (; text_n; text_n--)
        builder_add_char(b, 'x');
    builder_add(b, end);
    builder_deinit(&tail);
}

static void make_request(struct options *o)
{
    struct builder body, b;
    builder_init(&body, BODY_MAX);
    builder_init(&b, BODY_MAX + 65536);
    if (o->body_file)
        builder_add(&body, read_file(o->body_file));
    else
        add_chat_body(o, &body);
    if (builder_check(&body) != ERR_OK)
        die(1, "the body does not fit: %s", err_info(builder_check(&body))->text);
    builder_printf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\n", o->path,
                   o->to[0] == '/' ? "localhost" : o->to);
    builder_add_cstr(&b, "Accept: application/json\r\nContent-Type: application/json\r\n"
                         "User-Agent: penstock-load\r\n");
    if (o->authorization)
        builder_printf(&b, "Authorization: %s\r\n", o->authorization);
    for (size_t i = 0; i < o->header_count; i++)
        builder_printf(&b, "%s\r\n", o->headers[i]);
    builder_printf(&b, "Content-Length: %zu\r\n\r\n", builder_span(&body).n);
    builder_add(&b, builder_span(&body));
    if (builder_check(&b) != ERR_OK)
        die(1, "the request does not fit: %s", err_info(builder_check(&b))->text);
    o->request = builder_span(&b); /* kept until the process ends */
    builder_deinit(&body);
}

/* --- the address --------------------------------------------------------------------------------
 */

static void find_address(struct options *o)
{
    if (o->to[0] == '/') {
        struct sockaddr_un *un = (struct sockaddr_un *)&o->address;
        if (strlen(o->to) >= sizeof(un->sun_path))
            die(2, "--to: the path of a socket has at most %zu bytes", sizeof(un->sun_path) - 1);
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, o->to, strlen(o->to) + 1);
        o->address_n = sizeof(*un);
        return;
    }
    char host[256];
    const char *colon = strrchr(o->to, ':');
    if (!colon || (size_t)(colon - o->to) >= sizeof(host))
        die(2, "--to: HOST:PORT or /PATH, not '%s'", o->to);
    memcpy(host, o->to, (size_t)(colon - o->to));
    host[colon - o->to] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed)
        die(1, "%s: %s", o->to, gai_strerror(failed));
    memcpy(&o->address, found->ai_addr, found->ai_addrlen);
    o->address_n = found->ai_addrlen;
    freeaddrinfo(found);
}

/* --- the command line ---------------------------------------------------------------------------
 */

enum {
    OPT_TO = 256,
    OPT_SAVE,
    OPT_SAVE_SECONDS,
    OPT_EXPECT,
    OPT_PATH,
    OPT_BODY,
    OPT_BODY_BYTES,
    OPT_MODEL,
    OPT_STREAM,
    OPT_AUTHORIZATION,
    OPT_HEADER,
    OPT_CONNECTIONS,
    OPT_SECONDS,
    OPT_COUNT,
    OPT_RAMP,
    OPT_RATE,
    OPT_HOLD,
    OPT_SOURCES,
    OPT_PATIENCE,
    OPT_HELP
};

static const struct option WORDS[] = {
    {"to", 1, NULL, OPT_TO},
    {"save", 1, NULL, OPT_SAVE},
    {"save-seconds", 1, NULL, OPT_SAVE_SECONDS},
    {"expect", 1, NULL, OPT_EXPECT},
    {"path", 1, NULL, OPT_PATH},
    {"body", 1, NULL, OPT_BODY},
    {"body-bytes", 1, NULL, OPT_BODY_BYTES},
    {"model", 1, NULL, OPT_MODEL},
    {"stream", 0, NULL, OPT_STREAM},
    {"authorization", 1, NULL, OPT_AUTHORIZATION},
    {"header", 1, NULL, OPT_HEADER},
    {"connections", 1, NULL, OPT_CONNECTIONS},
    {"seconds", 1, NULL, OPT_SECONDS},
    {"count", 1, NULL, OPT_COUNT},
    {"ramp", 1, NULL, OPT_RAMP},
    {"rate", 1, NULL, OPT_RATE},
    {"hold", 0, NULL, OPT_HOLD},
    {"sources", 1, NULL, OPT_SOURCES},
    {"patience", 1, NULL, OPT_PATIENCE},
    {"help", 0, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static uint64_t read_count(const char *text, uint64_t max)
{
    uint64_t value;
    if (span_to_u64(span_of_cstr(text), &value) != ERR_OK || value < 1 || value > max)
        die(2, "'%s' is not a number from 1 to %llu", text, (unsigned long long)max);
    return value;
}

static double read_real(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1e6))
        die(2, "'%s' is not a number from 0 to 1000000", text);
    return value;
}

static const char **text_of(struct options *o, int word)
{
    switch (word) {
    case OPT_TO:
        return &o->to;
    case OPT_SAVE:
        return &o->save_file;
    case OPT_EXPECT:
        return &o->expect_file;
    case OPT_PATH:
        return &o->path;
    case OPT_BODY:
        return &o->body_file;
    case OPT_MODEL:
        return &o->model;
    case OPT_AUTHORIZATION:
        return &o->authorization;
    default:
        return NULL;
    }
}

static double *real_of(struct options *o, int word)
{
    switch (word) {
    case OPT_SAVE_SECONDS:
        return &o->save_seconds;
    case OPT_SECONDS:
        return &o->seconds;
    case OPT_RAMP:
        return &o->ramp_seconds;
    case OPT_RATE:
        return &o->rate;
    case OPT_PATIENCE:
        return &o->patience_seconds;
    default:
        return NULL;
    }
}

static void take_word(struct options *o, int word)
{
    const char **text = text_of(o, word);
    double *real = real_of(o, word);
    if (text)
        *text = optarg;
    else if (real)
        *real = read_real(optarg);
    else if (word == OPT_BODY_BYTES)
        o->body_bytes = read_count(optarg, BODY_MAX);
    else if (word == OPT_CONNECTIONS)
        o->connections = read_count(optarg, CONNECTIONS_MAX);
    else if (word == OPT_COUNT)
        o->count = read_count(optarg, UINT64_MAX);
    else if (word == OPT_SOURCES)
        o->sources = read_count(optarg, 250);
    else if (word == OPT_STREAM)
        o->is_stream = true;
    else if (word == OPT_HOLD)
        o->hold = true;
    else if (word == OPT_HEADER && o->header_count < HEADERS_MAX)
        o->headers[o->header_count++] = optarg;
    else if (word == OPT_HELP)
        exit(fputs(USAGE, stdout) < 0);
    else
        die(2, "see --help");
}

void options_read(struct options *o, int argc, char **argv)
{
    *o = (struct options){.path = "/v1/chat/completions",
                          .model = "mock-ok",
                          .connections = 32,
                          .body_bytes = 1000,
                          .patience_seconds = 10};
    int word;
    while ((word = getopt_long(argc, argv, "", WORDS, NULL)) != -1)
        take_word(o, word);
    if (optind < argc)
        die(2, "'%s' is not an option", argv[optind]);
    if (!o->to || !o->expect_file == !o->save_file)
        die(2, "--to and one of --save and --expect are needed: an answer that nobody compares "
               "is not a measurement");
    if (o->hold && (!o->is_stream || o->rate > 0))
        die(2, "--hold needs --stream, and no --rate");
    if (o->hold)
        o->count = o->connections;
    if (!o->count && o->seconds <= 0)
        o->seconds = 3;
    if (o->rate > 0 && !o->count) /* all that fall due are sent, however late */
        o->count = (uint64_t)(o->rate * o->seconds) + 1;
    find_address(o);
    make_request(o);
}
