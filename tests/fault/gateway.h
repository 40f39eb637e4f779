/* gateway.h -- a worker process's whole life as a thread of the test, and its master.
 *
 * Why: what is tested is the code that runs, from worker_run down: configuration, threads, loop,
 * servers, client, mock provider. Only the master is the test's own.
 *
 * Owns:      its sockets and files, until gateway_end.
 * Errors:    false: the worker said no or ended.
 * Suspends:  blocks.     Threads: one calls.
 */
#ifndef PENSTOCK_TESTS_FAULT_GATEWAY_H
#define PENSTOCK_TESTS_FAULT_GATEWAY_H

#include "cli/control.h"

#define GATEWAY_KEY "pk-fault-test-caller-key"
#define GATEWAY_ADMIN_KEY "pa-fault-test-operator-key"

/* Names of PEM files, which live as long as the process. */
struct gateway_files {
    const char *certificate, *key, *authority;
};

/* Makes the sockets. Once, in the process that forks the others. */
void gateway_prepare(const struct gateway_files *files);
int gateway_port(void);

/* Starts the worker; true: it serves. */
bool gateway_start(void);

/* Sends the configuration once more, with a name that tells the generations apart. True: loaded. */
bool gateway_reload(void);

/* It was started and neither failed nor was ended. */
bool gateway_serves(void);

/* Tells the worker to end, waits for that, and answers its exit status; -1: it does not end. */
int gateway_end(void);

#endif
