#include "base/limits.h"
#include "cli/cli.h"

#include <stdio.h>

enum { REPORT_MAX = 256 * 1024 };

int cli_check(int argc, char **argv)
{
    const char *file;
    int status;
    static const char help[] =
        "usage: penstock check [-c FILE]\n"
        "Validates a configuration. One message a line: FILE:LINE:COLUMN: what is wrong, and what\n"
        "would be right. Exit status 0: valid, 1: not.\n";
    if (!cli_read_options(argc, argv, help, &file, &status))
        return status;
    struct builder text, report;
    bool is_demo;
    builder_init(&text, CONFIG_BYTES_MAX + 1);
    builder_init(&report, REPORT_MAX);
    struct config *c = NULL;
    if (cli_load_text(&file, &text, &is_demo))
        c = config_parse(builder_span(&text), file, cli_env, &report);
    struct span said = builder_span(&report);
    fprintf(stderr, "%.*s", SPAN_ARG(said));
    if (c)
        printf("%s: valid\n", file);
    status = c ? EXIT_DONE : EXIT_NO;
    config_free(c);
    builder_deinit(&report);
    builder_deinit(&text);
    return status;
}

int cli_config(int argc, char **argv)
{
    static const char help[] =
        "usage: penstock config reference | schema\n"
        "Prints the reference of the configuration (Markdown), or its JSON Schema.\n";
    struct builder out;
    bool wants_help = argc == 2 && strcmp(argv[1], "--help") == 0;
    bool is_reference = argc == 2 && strcmp(argv[1], "reference") == 0;
    bool is_schema = argc == 2 && strcmp(argv[1], "schema") == 0;
    if (!is_reference && !is_schema) {
        fputs(help, wants_help ? stdout : stderr);
        return wants_help ? EXIT_DONE : EXIT_USAGE;
    }
    builder_init(&out, CONFIG_BYTES_MAX);
    if (is_reference)
        config_write_reference(&out);
    else
        config_write_json_schema(&out);
    enum err e = builder_check(&out);
    if (e == ERR_OK)
        cli_print(builder_span(&out));
    builder_deinit(&out);
    return e == ERR_OK ? EXIT_DONE : EXIT_NO;
}
