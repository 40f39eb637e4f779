/* worker.h -- the process that serves: its threads, each with a loop, a server, a gate.
 *
 * Why: a crash takes the worker process and nothing else; the master starts another one with the
 * same sockets and the last good configuration.
 *
 * Owns:      its threads, the snapshot, the access log, its copies of the listening sockets.
 * Errors:    worker_run returns the process's exit status.
 * Suspends:  never: the main thread blocks on the control socket.    Threads: the main thread.
 */
#ifndef PENSTOCK_CLI_WORKER_H
#define PENSTOCK_CLI_WORKER_H

#include "cli/control.h"
#include "config/config.h"

enum { LISTENERS_MAX = LISTEN_MAX + 1 };

/* One address and its sockets: socket i is served by thread i modulo the number of threads. */
struct listener_sockets {
    char address[256];
    int fds[CONTROL_FDS_MAX];
    size_t fd_count;
};

struct worker_start {
    int control_fd;
    const char *file; /* the configuration's name */
    struct span text; /* and its text, known to be good */
    bool is_demo;
    struct listener_sockets *listeners;
    size_t listener_count;
    uint32_t threads;
    uint64_t restarts;
    struct span admin_key; /* used where the configuration has none */
};

int worker_run(const struct worker_start *start);

#endif
