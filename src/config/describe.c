#include "config/numbers.h"
#include "config/scalar.h"
#include "config/schema.h"

static void add_choices(const struct shape *s, struct builder *out)
{
    for (size_t i = 0; i < s->choice_count; i++) {
        const char *comma = i == 0 ? "" : i + 1 == s->choice_count ? " or " : ", ";
        builder_printf(out, "%s%s", comma, s->choices[i].name);
    }
}

static void add_scalar(const struct shape *s, struct builder *out)
{
    if (s->kind == KIND_CHOICE) {
        add_choices(s, out);
        return;
    }
    const char *noun = kind_info(s->kind)->noun;
    builder_add_cstr(out, noun);
    if (s->min == 0 && s->max == 0)
        return;
    char least[NUMBER_BYTES_MAX], most[NUMBER_BYTES_MAX];
    number_write(s, s->min, least);
    number_write(s, s->max, most);
    builder_printf(out, "%s from %s to %s", strstr(noun, "such as") ? "," : "", least, most);
}

/* The schema nests its shapes three deep at most. */
void shape_describe(const struct shape *s, struct builder *out)
{
    switch (s->kind) {
    case KIND_LIST:
        builder_add_cstr(out, "a list, each ");
        shape_describe(s->of, out);
        break;
    case KIND_MAP:
        builder_add_cstr(out, "a mapping from names to ");
        shape_describe(s->of, out);
        break;
    case KIND_SECTION:
        builder_add_cstr(out, "a mapping with words such as ");
        builder_printf(out, "\"%s\"", s->section->words[0].name);
        break;
    case KIND_EITHER:
        shape_describe(s->of, out);
        builder_add_cstr(out, " or ");
        shape_describe(s->otherwise, out);
        break;
    default:
        add_scalar(s, out);
        break;
    }
}
