#include "base/mem.h"
#include "base/sys.h"
#include "mock/script.h"

#include <errno.h>
#include <fcntl.h>

enum { RULES_BYTES_MAX = 1024 * 1024, RULES_MAX = 10000 };

struct rule {
    struct span head, tail; /* of the pattern; without a star all of it is head */
    bool has_star;
    struct span script;
};

struct mock_rules {
    struct builder text; /* what the rules are spans of */
    struct rule *rules;
    size_t count, room;
};

void mock_rules_free(struct mock_rules *rules)
{
    if (!rules)
        return;
    builder_deinit(&rules->text);
    mem_free(rules->rules);
    mem_free(rules);
}

static enum err add_rule(struct mock_rules *r, struct rule rule)
{
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 16;
        struct rule *more = mem_realloc(r->rules, room * sizeof *more);
        TRY_ALLOC(more);
        r->rules = more;
        r->room = room;
    }
    r->rules[r->count++] = rule;
    return ERR_OK;
}

static size_t find_blank(struct span s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t')
        n++;
    return n;
}

static enum err read_line(struct mock_rules *r, const char *file, size_t number, struct span line,
                          struct failure *why)
{
    struct span kept, comment;
    (void)span_cut(line, '#', &kept, &comment);
    if (span_ends(kept, SPAN("\r")))
        kept.n--;
    kept = span_trim(kept);
    if (kept.n == 0)
        return ERR_OK;
    const size_t pattern_end = find_blank(kept);
    const struct span pattern = span(kept.p, pattern_end);
    const struct span script = span_trim(span_from(kept, pattern_end));
    if (script.n == 0 || find_blank(script) != script.n)
        return fail(why, ERR_BAD_REQUEST,
                    "%s:%zu: a line is a model's name (or a pattern) and a "
                    "script, say: gpt-4o* slow-200ms+status-429",
                    file, number);
    struct rule rule = {.script = script};
    rule.has_star = span_cut(pattern, '*', &rule.head, &rule.tail);
    if (span_find(rule.tail, '*') != rule.tail.n)
        return fail(why, ERR_BAD_REQUEST, "%s:%zu: a pattern has at most one '*'", file, number);
    struct mock_script ignored;
    struct failure bad = {0};
    if (mock_script_parse(script, &ignored, &bad) != ERR_OK)
        return fail(why, ERR_BAD_REQUEST, "%s:%zu: %s", file, number, bad.text);
    if (r->count == RULES_MAX)
        return fail(why, ERR_BAD_REQUEST, "%s:%zu: too many lines", file, number);
    return add_rule(r, rule);
}

/* The rules are spans of r->text, which does not grow any more. */
static enum err read_all(struct mock_rules *r, const char *file, struct failure *why)
{
    struct span rest = builder_span(&r->text), line;
    bool more = true;
    for (size_t number = 1; more; number++) {
        more = span_cut(rest, '\n', &line, &rest);
        TRY(read_line(r, file, number, line, why));
    }
    return ERR_OK;
}

static enum err finish(struct mock_rules *r, const char *file, enum err e, struct failure *why,
                       struct mock_rules **rules)
{
    if (e == ERR_OK)
        e = read_all(r, file, why);
    if (e != ERR_OK) {
        mock_rules_free(r);
        return fail(why, e, "%s: %s", file, err_info(e)->text);
    }
    *rules = r;
    return ERR_OK;
}

static struct mock_rules *rules_new(void)
{
    struct mock_rules *r = mem_calloc(1, sizeof *r);
    if (r)
        builder_init(&r->text, RULES_BYTES_MAX);
    return r;
}

enum err mock_rules_read(const char *file, struct span text, struct mock_rules **rules,
                         struct failure *why)
{
    struct mock_rules *r = rules_new();
    TRY_ALLOC(r);
    builder_add(&r->text, text);
    return finish(r, file, builder_check(&r->text), why, rules);
}

static enum err read_file(int fd, struct builder *text)
{
    for (;;) {
        char *place = builder_reserve(text, 4096);
        if (!place)
            return builder_check(text);
        ssize_t n = sys.read(fd, place, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? ERR_IO : ERR_OK;
        builder_advance(text, (size_t)n);
    }
}

enum err mock_rules_load(const char *file, struct mock_rules **rules, struct failure *why)
{
    int fd = sys.open(file, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(why, ERR_IO, "%s: %s", file, strerror(errno));
    struct mock_rules *r = rules_new();
    enum err e = r ? read_file(fd, &r->text) : ERR_NO_MEMORY;
    sys.close(fd);
    return r ? finish(r, file, e, why, rules) : e;
}

bool mock_rules_find(const struct mock_rules *rules, struct span model, struct span *script)
{
    for (size_t i = 0; rules && i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        if (rule->has_star ? model.n >= rule->head.n + rule->tail.n &&
                                 span_starts(model, rule->head) && span_ends(model, rule->tail)
                           : span_eq(model, rule->head)) {
            *script = rule->script;
            return true;
        }
    }
    return false;
}
