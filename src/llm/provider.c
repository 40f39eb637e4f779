#include "llm/provider.h"

static const struct span dialect_names[] = {
    [DIALECT_OPENAI] = SPAN_INIT("openai"),
    [DIALECT_OPENAI_RESPONSES] = SPAN_INIT("openai-responses"),
    [DIALECT_AZURE] = SPAN_INIT("azure"),
    [DIALECT_ANTHROPIC] = SPAN_INIT("anthropic"),
    [DIALECT_GEMINI] = SPAN_INIT("gemini"),
    [DIALECT_VERTEX] = SPAN_INIT("vertex"),
    [DIALECT_BEDROCK] = SPAN_INIT("bedrock"),
    [DIALECT_COHERE] = SPAN_INIT("cohere"),
    [DIALECT_MISTRAL] = SPAN_INIT("mistral"),
    [DIALECT_OLLAMA] = SPAN_INIT("ollama"),
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
    return dialect_names[d];
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
