#include "config/config.h"

#include "base/limits.h"
#include "base/mem.h"
#include "config/build.h"
#include "config/decode.h"
#include "config/report.h"
#include "config/tree.h"

/* What a load needs while it lasts. The text, its nodes and their values: a byte of YAML makes at
 * most a node or two, and aliases are bounded by CONFIG_NODES_MAX. */
struct load {
    struct arena arena;
    struct report report;
};

enum { SCRATCH_BYTES_MAX = 1024 * 1024 * 1024 };

static struct config *config_new(void)
{
    struct config *c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    arena_init(&c->arena, CONFIG_BYTES_MAX, NULL, 0);
    c->policy = policy_new();
    if (!c->policy) {
        config_free(c);
        return NULL;
    }
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    if (c->policy)
        policy_unref(c->policy);
    arena_deinit(&c->arena);
    mem_free(c);
}

/* "conf/penstock.yaml": "conf"; "penstock.yaml": nothing, paths are as they are; "/x": "/". */
static struct span folder_of(const char *file)
{
    struct span path = span_of_cstr(file);
    const char *slash = strrchr(file, '/');
    if (!slash)
        return span(NULL, 0);
    return span(path.p, slash == file ? 1 : (size_t)(slash - file));
}

static enum err build_all(struct build *b)
{
    TRY(build_server(b));
    TRY(build_providers(b));
    TRY(build_models(b));
    TRY(build_routes(b));
    return build_keys(b);
}

/* Fills `c`, or says in the report why not. */
static void load(struct load *l, struct span text, const char *file,
                 const char *(*env)(const char *name), struct config *c)
{
    const struct reader reader = {.arena = &l->arena, .report = &l->report, .env = env};
    struct node *root = tree_parse(&reader, text);
    if (!root)
        return;
    const struct decoder decoder = {
        .arena = &l->arena, .report = &l->report, .folder = folder_of(file)};
    decode_config(&decoder, root);
    if (root->kind != NODE_MAPPING)
        return;
    struct build build = {
        .scratch = &l->arena, .report = &l->report, .root = root, .config = c, .policy = c->policy};
    if (build_all(&build) != ERR_OK)
        l->report.no_memory = true;
}

struct config *config_parse(struct span text, const char *file,
                            const char *(*env)(const char *name), struct builder *report)
{
    struct load *l = mem_alloc(sizeof *l);
    struct config *c = config_new();
    if (!l || !c) {
        builder_printf(report, "%s:1:1: there is not enough memory to read this configuration\n",
                       file);
        mem_free(l);
        config_free(c);
        return NULL;
    }
    arena_init(&l->arena, SCRATCH_BYTES_MAX, NULL, 0);
    report_init(&l->report, &l->arena);
    load(l, text, file, env, c);
    report_write(&l->report, file, report);
    if (!report_is_clean(&l->report)) {
        config_free(c);
        c = NULL;
    }
    arena_deinit(&l->arena);
    mem_free(l);
    return c;
}
