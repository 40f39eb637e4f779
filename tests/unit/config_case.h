/* config_case.h -- what the tests of the configuration share: a text in, its messages out.
 *
 * Why: a case is a text and the exact lines that it must be answered with, so that tables of them
 * read as a list of what is right and wrong.
 *
 * Owns:      `report`, which a test program's main begins and ends.
 */
#ifndef PENSTOCK_TESTS_CONFIG_CASE_H
#define PENSTOCK_TESTS_CONFIG_CASE_H

#include "config/config.h"
#include "tests/test.h"

static const char *fake_env(const char *name)
{
    static const char *const values[][2] = {
        {"EMPTY", ""},
        {"FOUR", "4"},
        {"KEY", "kq8f0s9dfh2k3jh4k"},
        {"SEARCH_DEV_KEY", "kq8f0s9dfh2k3jh4k"},
        {"YAML", "x\nworkers: 9"},
        {"HOST", "127.0.0.1"},
        {"CONTROL", "a\x01z\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (strcmp(values[i][0], name) == 0)
            return values[i][1];
    }
    return NULL;
}

static struct builder report;

/* The report of a text stays in `report` until the next one. */
static struct config *parse(const char *text)
{
    builder_deinit(&report);
    builder_init(&report, 1 << 20);
    return config_parse(span_of_cstr(text), "f", fake_env, &report);
}

/* A case expects lines without "f:", each ended by '\n' but the last. */
struct config_case {
    const char *text, *expected;
};

static bool report_is(const char *expected)
{
    struct span got = builder_span(&report), want = span_of_cstr(expected), line, want_line;
    while (got.n > 0 || want.n > 0) {
        span_cut(got, '\n', &line, &got);
        span_cut(want, '\n', &want_line, &want);
        if (!span_starts(line, SPAN("f:")) || !span_eq(span_from(line, 2), want_line))
            return false;
    }
    return true;
}

__attribute__((noinline)) static bool run_case(const struct config_case *c)
{
    struct config *config = parse(c->text);
    bool is_right = report_is(c->expected);
    /* Warnings alone leave a configuration. */
    for (struct span rest = span_of_cstr(c->expected), line; rest.n > 0;) {
        span_cut(rest, '\n', &line, &rest);
        is_right &= config == NULL || memmem(line.p, line.n, ": warning: ", 11) != NULL;
    }
    is_right &= c->expected[0] != '\0' || config != NULL;
    if (!is_right)
        printf("# of: %s\n# expected %s: %s\n# got %s: %.*s\n", c->text,
               c->expected[0] ? "" : "none", c->expected, config ? "a config" : "none",
               SPAN_ARG(builder_span(&report)));
    config_free(config);
    return is_right;
}

#define RUN_CASES(table)                                                                           \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < ARRAY_LEN(table); i_++)                                           \
            EXPECT(run_case(&(table)[i_]));                                                        \
    } while (0)

#define MOCK "providers: {mock: {}}\n"
#define KEYTEXT "kq8f0s9dfh2k3jh4k"

#endif
