#include "config/config.h"
#include "config/scalar.h"

/* What runs without a file: enough to see an answer, and the user's own providers where the
 * environment has their keys. The text is what a user would write, so it can be a start. */

static const char head[] = "# The built-in demo: it listens on loopback only.\n"
                           "listen: 127.0.0.1:8080\n"
                           "access_log: stdout\n"
                           "providers:\n"
                           "  mock: {}\n";

static const char models_head[] = "models:\n"
                                  "  demo: mock/mock-ok\n"
                                  "  \"mock-*\": \"mock/mock-*\"\n";

static const char keys[] = "keys:\n"
                           "  - {name: demo, key: " CONFIG_DEMO_KEY "}\n";

/* A key that a configuration would refuse must not keep the demo from starting. */
static bool is_set(const struct catalogue_entry *e, const char *(*env)(const char *name))
{
    const char *value = e->key_variable && e->base_url ? env(e->key_variable) : NULL;
    if (!value || value[0] == '\0')
        return false;
    const struct shape shape = {.kind = KIND_API_KEY};
    struct node n = {.kind = NODE_SCALAR, .text = span_of_cstr(value)};
    struct scalar s = {.shape = &shape, .node = &n};
    return scalar_read(&s);
}

void config_demo(const char *(*env)(const char *name), struct builder *out)
{
    size_t count;
    const struct catalogue_entry *rows = catalogue_rows(&count);
    builder_add_cstr(out, head);
    for (size_t i = 0; i < count; i++) {
        if (is_set(&rows[i], env))
            builder_printf(out, "  %s: {api_key: ${%s}}\n", rows[i].name, rows[i].key_variable);
    }
    /* With a models section provider/model is reachable by pattern: one a provider. */
    builder_add_cstr(out, models_head);
    for (size_t i = 0; i < count; i++) {
        if (is_set(&rows[i], env))
            builder_printf(out, "  \"%s/*\": \"%s/*\"\n", rows[i].name, rows[i].name);
    }
    builder_add_cstr(out, keys);
}
