#include "config/config.h"
#include "config/schema.h"

/* The manual's page of the configuration, in Markdown. Everything comes from the schema table; what
 * is said here is only how to read it. */

/* In a table a bar would end the cell. */
static void add_cell(struct builder *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '|' || text.p[i] == '*')
            builder_add_char(out, '\\');
        builder_add_char(out, text.p[i]);
    }
}

/* Help texts are Markdown already: only bars are escaped. */
static void add_help(struct builder *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            builder_add_char(out, '\\');
        builder_add_char(out, *text);
    }
}

/* A chapter's anchor, as GitHub makes it from the title. */
static void add_link(struct builder *out, const struct section *s)
{
    builder_printf(out, "[%s](#", s->title);
    for (const char *p = s->title; *p; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 'a' - 'A') : *p;
        builder_add_char(out, c == ' ' ? '-' : c);
    }
    builder_add_char(out, ')');
}

static void add_type(struct builder *out, const struct shape *shape)
{
    char room[400];
    struct builder text;
    switch (shape->kind) {
    case KIND_SECTION:
        builder_add_cstr(out, "mapping: ");
        add_link(out, shape->section);
        break;
    case KIND_LIST:
        builder_add_cstr(out, "list of: ");
        add_type(out, shape->of);
        break;
    case KIND_MAP:
        builder_add_cstr(out, "names to: ");
        add_type(out, shape->of);
        break;
    case KIND_EITHER:
        add_type(out, shape->of);
        builder_add_cstr(out, ", or ");
        add_type(out, shape->otherwise);
        break;
    default:
        builder_init_fixed(&text, room, sizeof room);
        shape_describe(shape, &text);
        add_cell(out, builder_span(&text));
        break;
    }
}

static void add_default(struct builder *out, const struct word *w)
{
    if (w->is_required)
        builder_add_cstr(out, "*required*");
    else if (w->standard && strcmp(w->standard, "{}") == 0)
        builder_add_cstr(out, "its own defaults");
    else if (w->standard)
        builder_printf(out, "`%s`", w->standard);
    else
        add_help(out, w->absent);
}

static void add_word(struct builder *out, const struct word *w)
{
    builder_printf(out, "| `%s` | ", w->name);
    add_type(out, w->shape);
    builder_add_cstr(out, " | ");
    add_default(out, w);
    builder_printf(out, " | %s | ", w->needs_restart ? "restart" : "reload");
    add_help(out, w->help);
    if (w->is_later)
        builder_add_cstr(out, " *Read, but not enforced by this version.*");
    builder_add_cstr(out, " |\n");
}

static void add_section(struct builder *out, const struct section *s)
{
    builder_printf(out, "\n## %s\n\n", s->title);
    if (s->path[0] != '\0')
        builder_printf(out, "Stands at `%s`. ", s->path);
    builder_printf(out, "%s\n\n", s->help);
    builder_add_cstr(out, "| word | value | default | changes at | meaning |\n"
                          "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < s->word_count; i++)
        add_word(out, &s->words[i]);
    if (s->example)
        builder_printf(out, "\n```yaml\n%s```\n", s->example);
}

static void add_catalogue(struct builder *out)
{
    builder_add_cstr(out, "\n## The catalogue of providers\n\n"
                          "These names need no `dialect` and no `base_url`; what stands here is "
                          "the default of both. Those with a variable need an `api_key`: the "
                          "variable is the one that the vendor's own tools read, and the built-in "
                          "demo takes part where it is set.\n\n"
                          "| name | vendor | dialects | base_url | variable |\n"
                          "| --- | --- | --- | --- | --- |\n");
    size_t count;
    const struct catalogue_entry *rows = catalogue_rows(&count);
    for (size_t i = 0; i < count; i++) {
        const struct catalogue_entry *e = &rows[i];
        builder_printf(out, "| `%s` | %s | ", e->name, e->title);
        const char *comma = "";
        for (enum dialect d = 0; d < DIALECT_COUNT; d++) {
            if (e->dialects & 1u << d) {
                builder_printf(out, "%s`%.*s`", comma, SPAN_ARG(dialect_name(d)));
                comma = ", ";
            }
        }
        if (e->base_url)
            builder_printf(out, " | `%s` | ", e->base_url);
        else
            builder_add_cstr(out, " | *your own: required* | ");
        builder_printf(out, e->key_variable ? "`%s` |\n" : "%s |\n",
                       e->key_variable ? e->key_variable : "none");
    }
}

void config_write_reference(struct builder *out)
{
    builder_add_cstr(out, "# Configuration reference\n\n"
                          "This page is made by `penstock config reference`; `penstock config "
                          "schema` prints the same as a JSON Schema for editors, and `penstock "
                          "check` tells every mistake of a file.\n");
    for (size_t i = 0; i < schema_section_count; i++) {
        add_section(out, schema_sections[i]);
        if (strcmp(schema_sections[i]->path, "providers.NAME") == 0)
            add_catalogue(out);
    }
}
