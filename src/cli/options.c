#include "base/limits.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *cli_env(const char *name)
{
    return getenv(name);
}

void cli_print(struct span text)
{
    while (text.n > 0) {
        ssize_t n = write(STDOUT_FILENO, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text = span_from(text, (size_t)n);
    }
}

/* The value of `-c VALUE`, `-cVALUE`, `--config VALUE` or `--config=VALUE` at argv[*i]. */
static const char *option_value(int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    if (strncmp(arg, "--config=", 9) == 0)
        return arg + 9;
    if (strcmp(arg, "-c") == 0 || strcmp(arg, "--config") == 0)
        return *i + 1 < argc ? argv[++*i] : NULL;
    return strncmp(arg, "-c", 2) == 0 ? arg + 2 : NULL;
}

bool cli_read_options(int argc, char **argv, const char *help, const char **file, int *status)
{
    *file = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            cli_print(span_of_cstr(help));
            *status = EXIT_DONE;
            return false;
        }
        const char *arg = argv[i], *value = option_value(argc, argv, &i);
        if (!value || !*value) {
            bool is_ours = strcmp(arg, "-c") == 0 || strncmp(arg, "--config", 8) == 0;
            fprintf(stderr, "penstock: '%s' %s\n%s", arg,
                    is_ours ? "needs a file behind it" : "is not understood here", help);
            *status = EXIT_USAGE;
            return false;
        }
        *file = value;
    }
    return true;
}

static bool read_file(const char *file, struct builder *text)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (;;) {
        char *room = builder_reserve(text, 64 * 1024);
        ssize_t n = room ? read(fd, room, 64 * 1024) : -1;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int why = errno;
            close(fd);
            errno = builder_check(text) == ERR_OK ? why : EFBIG;
            return n == 0;
        }
        builder_advance(text, (size_t)n);
    }
}

bool cli_load_text(const char **file, struct builder *text, bool *is_demo)
{
    static const char *const usual[] = {"./penstock.yaml", "/etc/penstock/penstock.yaml"};
    *is_demo = false;
    for (size_t i = 0; !*file && i < ARRAY_LEN(usual); i++)
        if (access(usual[i], F_OK) == 0)
            *file = usual[i];
    if (!*file) {
        *file = "built-in demo";
        *is_demo = true;
        config_demo(cli_env, text);
        return builder_check(text) == ERR_OK;
    }
    if (read_file(*file, text))
        return true;
    fprintf(stderr, "%s: cannot be read: %s\n", *file, strerror(errno));
    return false;
}
