/* Commands to a running instance: status, reload, drain. They find it by -c FILE (its address and
 * admin key) or by PENSTOCK_URL and PENSTOCK_ADMIN_KEY. */
#include "base/limits.h"
#include "cli/cli.h"
#include "cli/serve.h"
#include "net/listen.h"
#include "net/origin.h"
#include "json/scan.h"
#include "json/value.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MAX = 1024 * 1024, TIMEOUT_S = 60 };

#define WHERE                                                                                      \
    "The instance is found by its configuration, or by PENSTOCK_URL and PENSTOCK_ADMIN_KEY.\n"

struct instance {
    struct listen_address address;
    struct span host; /* for the Host field */
    char key[KEY_BYTES_MAX + 1];
    char host_text[256];
    char where[256]; /* for messages */
};

static bool complain(const char *what, const char *why)
{
    fprintf(stderr, "penstock: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    return false;
}

/* --- where it is ------------------------------------------------------------------------------ */

static bool resolve(struct instance *in, const struct origin *o)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char host[256], port[8];
    if (o->tls)
        return complain("PENSTOCK_URL must begin with http:// or unix:", NULL);
    snprintf(host, sizeof host, "%.*s", SPAN_ARG(o->host));
    snprintf(port, sizeof port, "%u", o->port);
    int e = getaddrinfo(host, port, &hints, &found);
    if (e != 0)
        return complain(host, gai_strerror(e));
    memcpy(&in->address.socket_address, found->ai_addr, found->ai_addrlen);
    in->address.size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool find_by_url(struct instance *in, const char *url)
{
    struct origin o = {0};
    struct span path;
    const char *why, *key = getenv("PENSTOCK_ADMIN_KEY");
    if (origin_parse_url(span_of_cstr(url), &o, &path, &why) != ERR_OK)
        return complain("PENSTOCK_URL", why);
    if (!key || strlen(key) > KEY_BYTES_MAX)
        return complain("PENSTOCK_ADMIN_KEY is not set", NULL);
    snprintf(in->key, sizeof in->key, "%s", key);
    snprintf(in->host_text, sizeof in->host_text, "%.*s", SPAN_ARG(o.authority));
    snprintf(in->where, sizeof in->where, "%s", url);
    if (o.unix_path.n == 0)
        return resolve(in, &o);
    char address[256];
    snprintf(address, sizeof address, "unix:%.*s", SPAN_ARG(o.unix_path));
    return listen_parse(span_of_cstr(address), &in->address, &why) == ERR_OK ||
           complain("PENSTOCK_URL", why);
}

static bool read_kept_key(struct instance *in, const struct config *c, const char *file,
                          bool is_demo)
{
    char path[1024];
    if (!admin_key_path(c, file, is_demo, path, sizeof path))
        return false;
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(
            stderr,
            "penstock: the admin key cannot be read from %s: %s\n"
            "Say -c FILE as for `penstock serve`, or set PENSTOCK_URL and PENSTOCK_ADMIN_KEY.\n",
            path, strerror(errno));
        return false;
    }
    bool ok = fgets(in->key, sizeof in->key, f) != NULL;
    fclose(f);
    in->key[strcspn(in->key, "\n")] = '\0';
    return ok || complain(path, "holds no key");
}

static bool use_config(struct instance *in, const struct config *c, const char *file, bool is_demo)
{
    const struct config_listen *l = c->admin_listen.address.n ? &c->admin_listen : &c->listen[0];
    struct span key = c->admin_key.private_bytes;
    const char *why;
    if (l->certificate_file.n)
        return complain("the instance speaks TLS: set PENSTOCK_URL to an address in the clear",
                        NULL);
    if (listen_parse(l->address, &in->address, &why) != ERR_OK)
        return complain(file, why);
    snprintf(in->host_text, sizeof in->host_text, "localhost");
    snprintf(in->where, sizeof in->where, "%.*s", SPAN_ARG(l->address));
    if (key.n == 0)
        return read_kept_key(in, c, file, is_demo);
    snprintf(in->key, sizeof in->key, "%.*s", SPAN_ARG(key));
    return true;
}

static bool find_by_file(struct instance *in, const char *file)
{
    struct builder text, report;
    bool is_demo, found = false;
    builder_init(&text, CONFIG_BYTES_MAX + 1);
    builder_init(&report, 64 * 1024);
    if (cli_load_text(&file, &text, &is_demo)) {
        struct config *c = config_parse(builder_span(&text), file, cli_env, &report);
        if (c)
            found = use_config(in, c, file, is_demo);
        else
            fprintf(stderr, "%.*s", SPAN_ARG(builder_span(&report)));
        config_free(c);
    }
    builder_deinit(&report);
    builder_deinit(&text);
    return found;
}

/* --- asking ----------------------------------------------------------------------------------- */

static bool exchange(const struct instance *in, const char *method, const char *path,
                     struct builder *answer)
{
    char request[1024];
    struct timeval patience = {.tv_sec = TIMEOUT_S};
    int n = snprintf(request, sizeof request,
                     "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
                     "Content-Length: 0\r\nConnection: close\r\n\r\n",
                     method, path, in->host_text, in->key);
    int fd = socket(in->address.socket_address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool sent = false;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        sent = connect(fd, (const struct sockaddr *)&in->address.socket_address,
                       in->address.size) == 0 &&
               send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
    }
    if (!sent) {
        fprintf(stderr, "penstock: no instance answers at %s: %s\n", in->where, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    for (;;) {
        char *room = builder_reserve(answer, 4096);
        ssize_t got = room ? recv(fd, room, 4096, 0) : -1;
        if (got <= 0)
            break;
        builder_advance(answer, (size_t)got);
    }
    close(fd);
    return true;
}

/* The status and the body of an answer that ended with its connection. */
static int cut_answer(struct span answer, struct span *body)
{
    const char *end = answer.n ? memmem(answer.p, answer.n, "\r\n\r\n", 4) : NULL;
    uint64_t status;
    if (!end || answer.n < 12 || span_to_u64(span(answer.p + 9, 3), &status) != ERR_OK)
        return 0;
    *body = span_between(end + 4, answer.p + answer.n);
    return (int)status;
}

static int ask(const char *file, const char *method, const char *path, struct builder *answer,
               struct span *body)
{
    struct instance in = {.key = ""};
    const char *url = getenv("PENSTOCK_URL");
    bool found = !file && url ? find_by_url(&in, url) : find_by_file(&in, file);
    if (!found || !exchange(&in, method, path, answer))
        return 0;
    int status = cut_answer(builder_span(answer), body);
    if (status == 0)
        complain("the instance gave no valid answer", NULL);
    return status;
}

/* A string member of a flat answer, as text. */
static struct span member(struct span body, struct span name, struct arena *a)
{
    struct span text = {0};
    struct span raw = json_member(span_trim(body), name);
    if (raw.n && json_kind(raw) == JSON_STRING)
        (void)!json_to_string(raw, a, &text);
    return text;
}

static bool is_json(struct span body)
{
    struct json_report report;
    return json_scan(body, NULL, 0, NULL, &report) == ERR_OK;
}

static int order(int argc, char **argv, const char *help, const char *path, int wanted)
{
    const char *file;
    int status;
    if (!cli_read_options(argc, argv, help, &file, &status))
        return status;
    struct builder answer;
    struct arena a;
    struct span body = {0};
    builder_init(&answer, ANSWER_MAX);
    arena_init(&a, ANSWER_MAX, NULL, 0);
    status = ask(file, "POST", path, &answer, &body);
    if (status && is_json(body)) {
        struct span message = member(body, SPAN("message"), &a);
        struct span error = member(body, SPAN("error"), &a);
        struct span nested = json_member(json_member(body, SPAN("error")), SPAN("message"));
        if (status != wanted && message.n == 0 && nested.n)
            (void)!json_to_string(nested, &a, &message);
        fprintf(stderr, "%.*s%s%.*s", SPAN_ARG(error), error.n ? ":\n" : "", SPAN_ARG(message));
        if (message.n && message.p[message.n - 1] != '\n')
            fputc('\n', stderr);
        if (status == wanted)
            printf("%.*s\n", SPAN_ARG(member(body, SPAN("status"), &a)));
    }
    arena_deinit(&a);
    builder_deinit(&answer);
    return status == wanted ? EXIT_DONE : EXIT_NO;
}

int cli_reload(int argc, char **argv)
{
    return order(argc, argv,
                 "usage: penstock reload [-c FILE]\n"
                 "Makes a running instance read its configuration again, and waits until it is\n"
                 "served. A configuration with a mistake changes nothing.\n" WHERE,
                 "/admin/v1/reload", 200);
}

int cli_drain(int argc, char **argv)
{
    return order(argc, argv,
                 "usage: penstock drain [-c FILE]\n"
                 "Makes a running instance finish what is under way and end, as TERM does.\n" WHERE,
                 "/admin/v1/drain", 202);
}

static void print_members(struct span body)
{
    struct json_walk w = json_walk(span_trim(body));
    while (json_walk_next(&w)) {
        struct span name = span(w.name.p + 1, w.name.n - 2), value = w.value;
        if (json_kind(value) == JSON_STRING)
            value = span(value.p + 1, value.n - 2);
        printf("%-18.*s %.*s\n", SPAN_ARG(name), SPAN_ARG(value));
    }
}

int cli_status(int argc, char **argv)
{
    const char *file;
    int status;
    static const char help[] = "usage: penstock status [-c FILE]\n"
                               "Tells how a running instance is.\n" WHERE;
    if (!cli_read_options(argc, argv, help, &file, &status))
        return status;
    struct builder answer;
    struct span body = {0};
    builder_init(&answer, ANSWER_MAX);
    status = ask(file, "GET", "/admin/v1/status", &answer, &body);
    if (status == 200 && is_json(body))
        print_members(body);
    else if (status)
        fprintf(stderr, "penstock: the instance answered with status %d%s\n", status,
                status == 401 ? ": the admin key is not its own" : "");
    builder_deinit(&answer);
    return status == 200 ? EXIT_DONE : EXIT_NO;
}
