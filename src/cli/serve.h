/* serve.h -- the master process's state, shared by its two sources; private to them.
 *
 * Why: serve.c is the life of the master; what it says at its start, and to systemd, is another
 * subject (greet.c).
 *
 * Owns:      see serve.c.
 * Suspends:  never.     Threads: the master has one.
 */
#ifndef PENSTOCK_CLI_SERVE_H
#define PENSTOCK_CLI_SERVE_H

#include "base/builder.h"
#include "cli/worker.h"

#include <sys/types.h>

enum { ADMIN_KEY_MAX = KEY_BYTES_MAX };

struct master {
    const char *file; /* the configuration's name in messages */
    char **argv;
    char binary[1024]; /* what an upgrade executes */
    bool is_demo;
    struct builder text, next_text; /* of the configuration that is served, that is to be */
    struct listener_sockets listeners[LISTENERS_MAX], next[LISTENERS_MAX];
    size_t listener_count, next_count;
    uint32_t threads;
    char admin_key[ADMIN_KEY_MAX + 1]; /* ours, where the configuration has none */
    char admin_key_file[1024];         /* where it was found or put */
    bool admin_key_is_new;

    pid_t worker; /* 0: none */
    int control_fd, signal_fd;
    int64_t worker_started_ns, restart_at_ns;
    uint64_t restarts;
    uint32_t quick_deaths;
    bool was_ready, is_ending;
    bool reload_pending, reload_again;
    unsigned reload_wishes; /* of the admin API, to be answered */

    pid_t successor, predecessor; /* in an upgrade */
    int exit_status;
};

bool serve_init(struct master *m, char **argv, const char *file);

/* Makes or finds an admin key where the configuration has none. False: said why. */
bool serve_admin_key(struct master *m, const struct config *c);

/* What a person at the terminal wants to know once it runs. */
void serve_greet(const struct master *m);

/* To systemd, by sd_notify's protocol; nothing when it does not listen. */
void notify(const struct master *m, const char *words);
void notify_reloading(const struct master *m);
void notify_successor(const struct master *m);

/* Where the key that was made is kept: beside the store, for `status`, `reload` and `drain`. */
bool admin_key_path(const struct config *c, const char *file, bool is_demo, char *path,
                    size_t size);

#endif
