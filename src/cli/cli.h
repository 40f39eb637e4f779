/* cli.h -- the command line: one function a command.
 *
 * Why: main.c is a table; what a command does is in its own file.
 *
 * Errors:    every function answers the exit status: 0 done, 1 said no, 2 wrong usage. Errors go
 *            to standard error, results to standard output.
 * Suspends:  never.     Threads: the main thread.
 */
#ifndef PENSTOCK_CLI_CLI_H
#define PENSTOCK_CLI_CLI_H

#include "base/builder.h"
#include "config/config.h"

enum { EXIT_DONE = 0, EXIT_NO = 1, EXIT_USAGE = 2 };

int cli_serve(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_mock(int argc, char **argv);
int cli_config(int argc, char **argv);
int cli_reload(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_drain(int argc, char **argv);
int cli_version(int argc, char **argv);

/* --- shared by commands ----------------------------------------------------------------------- */

/* Reads -c FILE (or --config FILE, -cFILE, --config=FILE); `file` is NULL when it was not given.
 * Prints `help` for --help. False: leave with *status. */
bool cli_read_options(int argc, char **argv, const char *help, const char **file, int *status);

/* The configuration's file and text, as `serve` finds it: -c, ./penstock.yaml,
 * /etc/penstock/penstock.yaml, else the demo (`file` is "built-in demo"). False: said why. */
bool cli_load_text(const char **file, struct builder *text, bool *is_demo);

/* An environment variable, for config_parse. */
const char *cli_env(const char *name);

/* Writes to standard output, all of it. */
void cli_print(struct span text);

#endif
