#include "config/config.h"
#include "config/scalar.h"
#include "config/schema.h"

/* JSON Schema, draft 2020-12, for editors. It is wider than the check where it must be: any scalar
 * may be a ${VARIABLE}, and what belongs together (a target and its provider) is beyond it. */

static void add_string(struct builder *out, const char *text)
{
    builder_add_char(out, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20) {
            builder_printf(out, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            builder_add_char(out, '\\');
        builder_add_char(out, *text);
    }
    builder_add_char(out, '"');
}

/* The name of a section's definition: its title without blanks. */
static void add_reference(struct builder *out, const struct section *s)
{
    for (const char *p = s->title; *p; p++)
        builder_add_char(out, *p == ' ' ? '_' : *p);
}

static void add_choices(struct builder *out, const struct shape *s)
{
    builder_add_cstr(out, "{\"enum\": [");
    for (size_t i = 0; i < s->choice_count; i++) {
        const char *name = s->choices[i].name;
        builder_add_cstr(out, i ? ", " : "");
        add_string(out, name);
        /* YAML reads 1 as a number and off as false; the check goes by the text. */
        if (name[0] >= '0' && name[0] <= '9')
            builder_printf(out, ", %s", name);
        if (strcmp(name, "off") == 0)
            builder_add_cstr(out, ", false");
    }
    builder_add_cstr(out, "]}");
}

/* {"type": "integer", ...} where YAML's own type is a number; any scalar may be written as text. */
static void add_scalar(struct builder *out, const struct shape *s)
{
    const struct kind_info *info = kind_info(s->kind);
    builder_add_cstr(out, "{\"anyOf\": [{\"$ref\": \"#/$defs/variable\"}, ");
    if (s->kind == KIND_CHOICE) {
        add_choices(out, s);
    } else if (s->kind == KIND_INTEGER) {
        builder_add_cstr(out, "{\"type\": \"integer\"");
        if (s->min != 0 || s->max != 0)
            builder_printf(out, ", \"minimum\": %lld, \"maximum\": %lld", (long long)s->min,
                           (long long)s->max);
        builder_add_cstr(out, "}");
    } else if (s->kind == KIND_DECIMAL) {
        builder_add_cstr(out, "{\"type\": \"number\", \"minimum\": 0}");
    } else if (s->kind == KIND_BOOL) {
        builder_add_cstr(out, "{\"type\": \"boolean\"}");
    } else {
        builder_add_cstr(out, "{\"type\": \"string\"");
        if (info->pattern) {
            builder_add_cstr(out, ", \"pattern\": ");
            add_string(out, info->pattern);
        }
        builder_add_cstr(out, "}");
    }
    builder_add_cstr(out, "]}");
}

/* The schema nests its shapes three deep at most; sections are referred to by name. */
static void add_shape(struct builder *out, const struct shape *s)
{
    switch (s->kind) {
    case KIND_SECTION:
        builder_add_cstr(out, "{\"$ref\": \"#/$defs/");
        add_reference(out, s->section);
        builder_add_cstr(out, "\"}");
        break;
    case KIND_LIST:
        builder_add_cstr(out, "{\"type\": [\"array\", \"null\"], \"items\": ");
        add_shape(out, s->of);
        builder_add_cstr(out, "}");
        break;
    case KIND_MAP:
        builder_add_cstr(out, "{\"type\": [\"object\", \"null\"], \"additionalProperties\": ");
        add_shape(out, s->of);
        builder_add_cstr(out, "}");
        break;
    case KIND_EITHER:
        builder_add_cstr(out, "{\"anyOf\": [");
        add_shape(out, s->of);
        builder_add_cstr(out, ", ");
        add_shape(out, s->otherwise);
        builder_add_cstr(out, "]}");
        break;
    default:
        add_scalar(out, s);
        break;
    }
}

/* Annotations stand beside what a word must be. */
static void add_word(struct builder *out, const struct word *w)
{
    builder_add_cstr(out, "        ");
    add_string(out, w->name);
    builder_add_cstr(out, ": {\"description\": ");
    add_string(out, w->help);
    if (w->standard && strcmp(w->standard, "{}") != 0) {
        builder_add_cstr(out, ", \"default\": ");
        add_string(out, w->standard);
    }
    builder_add_cstr(out, ", \"allOf\": [");
    add_shape(out, w->shape);
    builder_add_cstr(out, "]}");
}

static void add_required(struct builder *out, const struct section *s)
{
    const char *comma = "";
    builder_add_cstr(out, "      \"required\": [");
    for (size_t i = 0; i < s->word_count; i++) {
        if (!s->words[i].is_required)
            continue;
        builder_add_cstr(out, comma);
        add_string(out, s->words[i].name);
        comma = ", ";
    }
    builder_add_cstr(out, "],\n");
}

static void add_section(struct builder *out, const struct section *s)
{
    builder_add_cstr(out, "    \"");
    add_reference(out, s);
    builder_add_cstr(out,
                     "\": {\n      \"type\": [\"object\", \"null\"],\n      \"description\": ");
    add_string(out, s->help);
    builder_add_cstr(out, ",\n      \"additionalProperties\": false,\n");
    add_required(out, s);
    builder_add_cstr(out, "      \"properties\": {\n");
    for (size_t i = 0; i < s->word_count; i++) {
        add_word(out, &s->words[i]);
        builder_add_cstr(out, i + 1 < s->word_count ? ",\n" : "\n");
    }
    builder_add_cstr(out, "      }\n    }");
}

void config_write_json_schema(struct builder *out)
{
    builder_add_cstr(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                          "  \"title\": \"Penstock configuration\",\n  \"$ref\": \"#/$defs/");
    add_reference(out, &config_section);
    builder_add_cstr(out, "\",\n  \"$defs\": {\n    \"variable\": {\"type\": \"string\", "
                          "\"pattern\": \"\\\\$\\\\{\"},\n");
    for (size_t i = 0; i < schema_section_count; i++) {
        add_section(out, schema_sections[i]);
        builder_add_cstr(out, i + 1 < schema_section_count ? ",\n" : "\n");
    }
    builder_add_cstr(out, "  }\n}\n");
}
