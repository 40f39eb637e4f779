/* The command line: a table of commands. */
#include "cli/cli.h"

#include <openssl/crypto.h>
#include <stdio.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", cli_serve, "start the gateway"},
    {"check", cli_check, "validate a configuration"},
    {"mock", cli_mock, "start the mock provider"},
    {"reload", cli_reload, "make a running instance read its configuration again"},
    {"status", cli_status, "tell how a running instance is"},
    {"drain", cli_drain, "make a running instance finish and end"},
    {"config", cli_config, "print the reference of the configuration, or its JSON Schema"},
    {"version", cli_version, "print the version"},
};

static void print_help(FILE *out)
{
    fputs("usage: penstock COMMAND [OPTIONS]\n\nCommands:\n", out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "    %-9s %s\n", commands[i].name, commands[i].help);
    fputs("\n`penstock COMMAND --help` tells more. Start with: penstock serve\n", out);
}

int cli_version(int argc, char **argv)
{
    if (argc > 1) {
        bool asked = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs("usage: penstock version\nPrints the version, and that of the TLS library.\n",
              asked ? stdout : stderr);
        return asked ? EXIT_DONE : EXIT_USAGE;
    }
    printf("penstock %s (%s)\n", PENSTOCK_VERSION, OpenSSL_version(OPENSSL_VERSION));
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(word, "--version") == 0)
        return cli_version(1, argv);
    bool asked =
        strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
    if (!asked && *word)
        fprintf(stderr, "penstock: there is no command '%s'\n", word);
    print_help(asked ? stdout : stderr);
    return asked ? EXIT_DONE : EXIT_USAGE;
}
