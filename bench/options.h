/* options.h -- what the load generator is asked to do.
 *
 * Why: the command line and the request's bytes are settled before the first socket is opened.
 *
 * Owns:      options.request and .address, until the process ends.
 * Errors:    wrong usage is told on stderr and ends the process with status 2.
 * Suspends:  never.     Threads: one.
 */
#ifndef PENSTOCK_BENCH_OPTIONS_H
#define PENSTOCK_BENCH_OPTIONS_H

#include "base/builder.h"

#include <sys/socket.h>

enum { CONNECTIONS_MAX = 200000, HEADERS_MAX = 16 };

struct options {
    const char *to, *path, *model, *body_file, *authorization, *expect_file, *save_file;
    const char *headers[HEADERS_MAX];
    size_t header_count;
    uint64_t connections, body_bytes, count, sources;
    double seconds, rate, ramp_seconds, patience_seconds, save_seconds;
    bool is_stream, hold;

    struct sockaddr_storage address; /* where to connect */
    socklen_t address_n;
    struct span request; /* head and body, as sent each time */
};

void options_read(struct options *o, int argc, char **argv);

/* Says what is wrong and ends the process: 2 for usage, 1 for everything else. */
NORETURN void die(int status, const char *format, ...) PRINTF_LIKE(2, 3);

/* Reads a whole file; ends the process when it cannot. */
struct span read_file(const char *path);

#endif
