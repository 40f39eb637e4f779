/* What the master says: to the person who started it, and to systemd; and the admin key. */
#include "base/encode.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool serve_init(struct master *m, char **argv, const char *file)
{
    static const char deleted[] = " (deleted)";
    ssize_t n = readlink("/proc/self/exe", m->binary, sizeof m->binary - 1);
    m->binary[MAX(n, 0)] = '\0';
    size_t length = strlen(m->binary);
    /* A binary that was replaced while it ran: what stands there now is the new one. */
    if (length > sizeof deleted && strcmp(m->binary + length + 1 - sizeof deleted, deleted) == 0)
        m->binary[length + 1 - sizeof deleted] = '\0';
    m->argv = argv - 1; /* the whole line again, the program and the command included */
    m->control_fd = m->signal_fd = -1;
    m->restart_at_ns = INT64_MAX;
    struct builder text;
    builder_init(&text, CONFIG_BYTES_MAX + 1);
    bool found = cli_load_text(&file, &text, &m->is_demo);
    builder_deinit(&text);
    m->file = file;
    return found;
}

/* --- the admin key ---------------------------------------------------------------------------- */

bool admin_key_path(const struct config *c, const char *file, bool is_demo, char *path, size_t size)
{
    struct span store = c->store;
    static const char name[] = "penstock.admin-key";
    int n;
    if (is_demo) {
        n = snprintf(path, size, "%s", name);
    } else if (span_starts(store, SPAN("sqlite:"))) {
        struct span database = span_from(store, 7);
        size_t folder = database.n;
        while (folder > 0 && database.p[folder - 1] != '/')
            folder--;
        n = snprintf(path, size, "%.*s%s", (int)folder, database.p, name);
    } else {
        const char *slash = strrchr(file, '/');
        n = snprintf(path, size, "%.*s%s", slash ? (int)(slash + 1 - file) : 0, file, name);
    }
    return n > 0 && (size_t)n < size;
}

static bool read_key(struct master *m)
{
    int fd = open(m->admin_key_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, m->admin_key, ADMIN_KEY_MAX);
    close(fd);
    struct span text = span(m->admin_key, (size_t)MAX(n, 0));
    text.n = span_find(text, '\n');
    m->admin_key[text.n] = '\0';
    return text.n >= KEY_BYTES_MIN;
}

static bool make_key(struct master *m)
{
    unsigned char bytes[24];
    static const char prefix[] = "pa-";
    sys.random(bytes, sizeof bytes);
    memcpy(m->admin_key, prefix, 3);
    hex_encode(bytes, sizeof bytes, m->admin_key + 3);
    m->admin_key[3 + 2 * sizeof bytes] = '\0';
    m->admin_key_is_new = true;
    int fd = open(m->admin_key_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t n = strlen(m->admin_key);
    bool kept = fd >= 0 && write(fd, m->admin_key, n) == (ssize_t)n && write(fd, "\n", 1) == 1;
    if (fd >= 0)
        close(fd);
    if (!kept)
        log_warn("the admin key cannot be kept in %s (%s): it is good until the gateway ends",
                 m->admin_key_file, strerror(errno));
    return true;
}

bool serve_admin_key(struct master *m, const struct config *c)
{
    if (c->admin_key.private_bytes.n)
        return true;
    if (!admin_key_path(c, m->file, m->is_demo, m->admin_key_file, sizeof m->admin_key_file)) {
        fprintf(stderr, "%s: the path of the store is too long\n", m->file);
        return false;
    }
    return read_key(m) || make_key(m);
}

/* --- the greeting ----------------------------------------------------------------------------- */

void serve_greet(const struct master *m)
{
    for (size_t i = 0; i < m->listener_count; i++)
        log_info("serving %s on %s with %u worker%s", m->file, m->listeners[i].address, m->threads,
                 m->threads == 1 ? "" : "s");
    if (m->admin_key_is_new)
        fprintf(stderr, "The admin key, shown once and kept in %s:\n\n    %s\n\n",
                m->admin_key_file, m->admin_key);
    if (m->is_demo && m->listener_count)
        fprintf(stderr,
                "This is the built-in demo. Try:\n\n"
                "    curl http://%s/v1/chat/completions \\\n"
                "      -H 'Authorization: Bearer " CONFIG_DEMO_KEY "' \\\n"
                "      -H 'Content-Type: application/json' \\\n"
                "      -d '{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", \"content\": "
                "\"Hello\"}]}'\n\n"
                "OpenAI's SDKs take http://%s/v1 as their base URL and that key. With a provider's "
                "key\n"
                "in the environment (OPENAI_API_KEY, say) openai/gpt-4o and its kin answer, too.\n"
                "Your own configuration: ./penstock.yaml; `penstock config reference` has the "
                "words.\n\n",
                m->listeners[0].address, m->listeners[0].address);
}

/* --- systemd ---------------------------------------------------------------------------------- */

void notify(const struct master *m, const char *words)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)m;
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, words, strlen(words), MSG_NOSIGNAL, (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    close(fd);
}

void notify_reloading(const struct master *m)
{
    char words[64];
    snprintf(words, sizeof words, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)(clock_ns() / NS_PER_US));
    notify(m, words);
}

void notify_successor(const struct master *m)
{
    char words[32];
    snprintf(words, sizeof words, "MAINPID=%d", (int)m->successor);
    notify(m, words);
}
