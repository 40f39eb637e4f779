#include "llm/provider.h"

static const char *const dialect_names[] = {
    [DIALECT_OPENAI] = "openai",   [DIALECT_OPENAI_RESPONSES] = "openai-responses",
    [DIALECT_AZURE] = "azure",     [DIALECT_ANTHROPIC] = "anthropic",
    [DIALECT_GEMINI] = "gemini",   [DIALECT_VERTEX] = "vertex",
    [DIALECT_BEDROCK] = "bedrock", [DIALECT_COHERE] = "cohere",
    [DIALECT_MISTRAL] = "mistral", [DIALECT_OLLAMA] = "ollama",
};
static_assert(ARRAY_LEN(dialect_names) == DIALECT_COUNT, "every dialect has its name");

#define SPEAKS(dialect) (1u << DIALECT_##dialect)
#define X(word, vendor, url, speaks, variable)                                                     \
    {.name = (word),                                                                               \
     .title = (vendor),                                                                            \
     .base_url = (url),                                                                            \
     .dialects = (speaks),                                                                         \
     .key_variable = (variable)},
static const struct catalogue_entry catalogue[] = {
#include "llm/catalogue.def"
};
#undef X

struct span dialect_name(enum dialect d)
{
    ASSERT(d < DIALECT_COUNT);
    return span_of_cstr(dialect_names[d]);
}

enum dialect dialect_find(struct span name)
{
    enum dialect d = DIALECT_OPENAI;
    while (d < DIALECT_COUNT && !span_eq(dialect_name(d), name))
        d++;
    return d;
}

const struct catalogue_entry *catalogue_find(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(catalogue); i++) {
        if (span_eq(span_of_cstr(catalogue[i].name), name))
            return &catalogue[i];
    }
    return NULL;
}

const struct catalogue_entry *catalogue_rows(size_t *count)
{
    *count = ARRAY_LEN(catalogue);
    return catalogue;
}
