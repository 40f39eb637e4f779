#include "mock/sample.h"

#include "mock/text.h"
#include "json/value.h"
#include "json/write.h"

enum { ITEMS_MAX = 16, STRING_USUAL = 8, STRING_MAX = 1024, ONLY_REQUIRED_DEPTH = 6 };

struct sampler {
    struct json_writer w;
    struct span root;
    uint64_t seed;
    unsigned values; /* written so far: also what makes them differ */
};

static void write_value(struct sampler *s, struct span schema, unsigned depth);

static struct span first_of(struct span list)
{
    struct json_walk w = json_walk(list);
    return json_walk_next(&w) ? w.value : (struct span){0};
}

static uint64_t number_of(struct span schema, struct span name, uint64_t otherwise)
{
    uint64_t value;
    return json_to_u64(json_member(schema, name), &value) == ERR_OK ? value : otherwise;
}

/* "#/$defs/place": segments as they stand, which is how every generator writes them. */
static struct span find_reference(const struct sampler *s, struct span raw)
{
    struct span path = span(raw.p + 1, raw.n - 2), segment, at = s->root;
    if (!span_starts(path, SPAN("#")))
        return (struct span){0};
    path = span_from(path, path.n > 1 ? 2 : 1);
    while (path.n) {
        (void)span_cut(path, '/', &segment, &path);
        at = json_member(at, segment);
    }
    return at;
}

/* --- one kind each ---------------------------------------------------------------------------- */

static bool is_required(struct span schema, struct span raw_name)
{
    struct json_walk w = json_walk(json_member(schema, SPAN("required")));
    while (json_walk_next(&w))
        if (json_kind(w.value) == JSON_STRING && json_string_cmp(w.value, raw_name) == 0)
            return true;
    return false;
}

static void write_object(struct sampler *s, struct span schema, unsigned depth)
{
    struct json_walk w = json_walk(json_member(schema, SPAN("properties")));
    json_write_object(&s->w);
    while (w.is_object && json_walk_next(&w)) {
        if (depth > ONLY_REQUIRED_DEPTH && !is_required(schema, w.name))
            continue;
        /* A name with escapes would need memory to be decoded, and nobody writes one. */
        const struct span name = span(w.name.p + 1, w.name.n - 2);
        if (span_find(name, '\\') != name.n)
            continue;
        json_write_name(&s->w, name);
        write_value(s, w.value, depth + 1);
    }
    json_write_object_end(&s->w);
}

static void write_array(struct sampler *s, struct span schema, unsigned depth)
{
    const struct span items = json_member(schema, SPAN("items"));
    const uint64_t usual = depth > ONLY_REQUIRED_DEPTH ? 0 : 1;
    uint64_t n = MIN(MAX(number_of(schema, SPAN("minItems"), 0), usual), (uint64_t)ITEMS_MAX);
    json_write_array(&s->w);
    for (; n > 0; n--)
        write_value(s, items, depth + 1);
    json_write_array_end(&s->w);
}

static void write_string(struct sampler *s, struct span schema)
{
    static const struct {
        struct span format, value;
    } formats[] = {
        {SPAN_INIT("date-time"), SPAN_INIT("2025-01-01T00:00:00Z")},
        {SPAN_INIT("date"), SPAN_INIT("2025-01-01")},
        {SPAN_INIT("time"), SPAN_INIT("00:00:00Z")},
        {SPAN_INIT("email"), SPAN_INIT("owl@example.com")},
        {SPAN_INIT("uri"), SPAN_INIT("https://example.com/")},
        {SPAN_INIT("uuid"), SPAN_INIT("00000000-0000-4000-8000-000000000000")},
    };
    const struct span format = json_member(schema, SPAN("format"));
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (json_string_is(format, formats[i].format)) {
            json_write_string(&s->w, formats[i].value);
            return;
        }
    const uint64_t min = MIN(number_of(schema, SPAN("minLength"), 0), (uint64_t)STRING_MAX);
    const uint64_t max =
        MIN(number_of(schema, SPAN("maxLength"), STRING_MAX), (uint64_t)STRING_MAX);
    uint64_t n = MIN(MAX((uint64_t)STRING_USUAL, min), max);
    struct mock_text text = mock_text_of_words(mock_mix(s->seed, s->values), n);
    struct builder words;
    char room[STRING_MAX];
    builder_init_fixed(&words, room, sizeof room);
    mock_text_add(&words, &text, 0, n);
    json_write_string(&s->w, builder_check(&words) == ERR_OK ? builder_span(&words) : SPAN(""));
}

/* A minimum may be any number: its text is a value by itself. */
static void write_number(struct sampler *s, struct span schema)
{
    const struct span minimum = json_member(schema, SPAN("minimum"));
    if (json_kind(minimum) == JSON_NUMBER)
        json_write_raw(&s->w, minimum);
    else
        json_write_u64(&s->w, 1);
}

/* The first type that is not null, of a word or a list of words. */
static struct span type_of(struct span schema)
{
    struct span type = json_member(schema, SPAN("type"));
    struct json_walk w = json_walk(type);
    while (json_kind(type) == JSON_ARRAY && json_walk_next(&w))
        if (!json_string_is(w.value, SPAN("null")))
            return w.value;
    if (json_kind(type) == JSON_NONE && json_member(schema, SPAN("properties")).n)
        return SPAN("\"object\"");
    return type;
}

static void write_typed(struct sampler *s, struct span schema, unsigned depth)
{
    const struct span type = type_of(schema);
    if (json_string_is(type, SPAN("object")))
        write_object(s, schema, depth);
    else if (json_string_is(type, SPAN("array")))
        write_array(s, schema, depth);
    else if (json_string_is(type, SPAN("integer")) || json_string_is(type, SPAN("number")))
        write_number(s, schema);
    else if (json_string_is(type, SPAN("boolean")))
        json_write_bool(&s->w, true);
    else if (json_string_is(type, SPAN("null")))
        json_write_null(&s->w);
    else
        write_string(s, schema);
}

static void write_value(struct sampler *s, struct span schema, unsigned depth)
{
    static const struct span choices[] = {SPAN_INIT("anyOf"), SPAN_INIT("oneOf"),
                                          SPAN_INIT("allOf")};
    if (depth > SAMPLE_DEPTH_MAX || ++s->values > SAMPLE_VALUES_MAX) {
        json_write_null(&s->w);
        return;
    }
    const struct span constant = json_member(schema, SPAN("const"));
    const struct span one = first_of(json_member(schema, SPAN("enum")));
    const struct span reference = json_member(schema, SPAN("$ref"));
    if (constant.n || one.n) {
        json_write_raw(&s->w, constant.n ? constant : one);
        return;
    }
    if (json_kind(reference) == JSON_STRING) {
        write_value(s, find_reference(s, reference), depth + 1);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        const struct span choice = first_of(json_member(schema, choices[i]));
        if (choice.n) {
            write_value(s, choice, depth + 1);
            return;
        }
    }
    write_typed(s, schema, depth);
}

enum err mock_sample(struct builder *out, struct span schema, uint64_t seed)
{
    struct sampler s = {.root = schema, .seed = seed};
    json_writer_init(&s.w, out);
    write_value(&s, schema, 0);
    return json_writer_end(&s.w);
}
