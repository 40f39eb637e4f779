/* Any bytes as a configuration: a snapshot or messages, and never a crash. What was accepted must
 * answer look-ups. */
#include "config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *fuzz_env(const char *name)
{
    static const char *const values[] = {NULL, "", "kq8f0s9dfh2k3jh4k", "127.0.0.1:80", "4"};
    return values[(unsigned char)name[0] % ARRAY_LEN(values)];
}

/* Each line is FILE:LINE:COLUMN: text. */
static void check_lines(struct span report)
{
    while (report.n > 0) {
        struct span line, part, rest;
        uint64_t number;
        if (!span_cut(report, '\n', &line, &report) || !span_starts(line, SPAN("f:")))
            abort();
        if (!span_cut(span_from(line, 2), ':', &part, &rest) ||
            span_to_u64(part, &number) != ERR_OK || number == 0)
            abort();
        if (!span_cut(rest, ':', &part, &rest) || span_to_u64(part, &number) != ERR_OK ||
            number == 0 || rest.n < 2)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = {(const char *)data, size};
    struct builder report;
    builder_init(&report, 1 << 20);
    struct config *c = config_parse(text, "f", fuzz_env, &report);
    if (builder_check(&report) != ERR_OK || (!c && builder_span(&report).n == 0))
        abort();
    check_lines(builder_span(&report));
    if (c) {
        struct span star;
        policy_find_model(c->policy, text, &star);
        policy_find_key(c->policy, text);
        if (c->listen_count == 0)
            abort();
    }
    config_free(c);
    builder_deinit(&report);
    return 0;
}
