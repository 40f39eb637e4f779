/* mock.h -- `penstock mock`: the mock provider as a process of its own.
 *
 * Why: demos, tests and benches start a provider by one command, on any machine.
 *
 * Owns:      its threads and sockets, until it returns.
 * Errors:    the exit status: 0 after TERM or INT, 1 when it cannot start, 2 for wrong usage.
 * Suspends:  never: it blocks.     Threads: the main one; it starts others.
 */
#ifndef PENSTOCK_CLI_MOCK_H
#define PENSTOCK_CLI_MOCK_H

/* argv[0] is the command's own name, options follow. */
int cli_mock(int argc, char **argv);

#endif
