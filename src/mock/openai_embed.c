#include "mock/openai.h"

#include "base/encode.h"

enum { DIMENSIONS_USUAL = 1536, DIMENSIONS_MAX = 4096, INPUTS_MAX = 2048, MARKS = 16 };

/* Values are written with so many decimals; the Base64 form holds the floats next to them. */
enum { DECIMALS = 8 };
static const int64_t ONE = 100000000;

static uint64_t square_root(uint64_t n)
{
    uint64_t low = 0, high = UINT64_C(1) << 32;
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (middle * middle <= n)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static bool is_word_byte(char c)
{
    const unsigned char u = (unsigned char)c;
    return u >= 0x80 || (u >= '0' && u <= '9') || ((u | 0x20) >= 'a' && (u | 0x20) <= 'z');
}

/* A word adds or takes one at a few places that it alone decides: texts that share words point in
 * nearly the same direction. */
static void add_word(int64_t *vector, size_t dimensions, struct span word)
{
    struct mock_print print = {0};
    mock_print_add(&print, word);
    for (uint64_t i = 0; i < MARKS; i++) {
        const uint64_t mark = mock_mix(print.value, i);
        vector[(mark >> 1) % dimensions] += mark & 1 ? 1 : -1;
    }
}

static void add_words(int64_t *vector, size_t dimensions, struct span text)
{
    char word[32];
    size_t n = 0;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && is_word_byte(text.p[i])) {
            if (n < sizeof word)
                word[n++] =
                    (char)(text.p[i] >= 'A' && text.p[i] <= 'Z' ? text.p[i] | 0x20 : text.p[i]);
        } else if (n) {
            add_word(vector, dimensions, span(word, n));
            n = 0;
        }
    }
}

/* Scales to length one, in units of 1 / ONE. A vector of nothing points along the first axis. */
static void normalise(int64_t *vector, size_t dimensions)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < dimensions; i++)
        sum += (uint64_t)(vector[i] * vector[i]);
    if (sum == 0) {
        vector[0] = 1;
        sum = 1;
    }
    /* 65536 times the length; of a long vector the root alone is exact enough. */
    const uint64_t length =
        sum < UINT64_C(1) << 32 ? square_root(sum << 32) : square_root(sum) << 16;
    for (size_t i = 0; i < dimensions; i++) {
        __extension__ const __int128 scaled = (__int128)vector[i] * ONE * 65536;
        vector[i] = (int64_t)(scaled / (int64_t)length);
    }
}

static void write_floats(struct json_writer *w, const int64_t *vector, size_t dimensions)
{
    json_write_array(w);
    for (size_t i = 0; i < dimensions; i++)
        json_write_decimal(w, vector[i], DECIMALS);
    json_write_array_end(w);
}

/* Little-endian IEEE 754 singles, whatever the machine's order. */
static void write_base64(struct json_writer *w, const int64_t *vector, size_t dimensions,
                         unsigned char *bytes, char *text)
{
    for (size_t i = 0; i < dimensions; i++) {
        const float value = (float)((double)vector[i] / (double)ONE);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        for (size_t b = 0; b < 4; b++)
            bytes[i * 4 + b] = (unsigned char)(bits >> (8 * b));
    }
    base64_encode(bytes, dimensions * 4, text);
    json_write_string(w, span(text, BASE64_LEN(dimensions * 4)));
}

struct embedder {
    struct mock_call *c;
    struct openai_request *r;
    struct json_writer w;
    int64_t *vector;
    unsigned char *bytes; /* room for its floats, and for their Base64 */
    char *base64;
    size_t dimensions, count;
    bool is_base64;
};

static void write_one(struct embedder *m)
{
    normalise(m->vector, m->dimensions);
    json_write_object(&m->w);
    JSON_MEMBER(&m->w, "object", string, SPAN("embedding"));
    JSON_MEMBER(&m->w, "index", u64, m->count++);
    JSON_NAME(&m->w, "embedding");
    if (m->is_base64)
        write_base64(&m->w, m->vector, m->dimensions, m->bytes, m->base64);
    else
        write_floats(&m->w, m->vector, m->dimensions);
    json_write_object_end(&m->w);
}

static void forget(struct embedder *m)
{
    memset(m->vector, 0, m->dimensions * sizeof *m->vector);
}

static enum err embed_text(struct embedder *m, struct span raw)
{
    forget(m);
    TRY(openai_add_text(m->c, m->r, raw));
    add_words(m->vector, m->dimensions, m->r->last_text);
    write_one(m);
    return ERR_OK;
}

/* A list of token numbers: each is a word, and a token. */
static enum err embed_tokens(struct embedder *m, struct span list)
{
    struct json_walk w = json_walk(list);
    forget(m);
    while (json_walk_next(&w)) {
        if (json_kind(w.value) != JSON_NUMBER)
            return ERR_BAD_REQUEST;
        add_word(m->vector, m->dimensions, w.value);
        mock_print_add(&m->c->print, w.value);
        m->r->prompt_tokens++;
    }
    write_one(m);
    return ERR_OK;
}

/* A text, a list of token numbers, or a list of either. */
static enum err embed_all(struct embedder *m, struct span input)
{
    struct json_walk w = json_walk(input), first = w;
    if (json_kind(input) == JSON_STRING)
        return embed_text(m, input);
    if (!json_walk_next(&first))
        return ERR_BAD_REQUEST;
    if (json_kind(first.value) == JSON_NUMBER)
        return embed_tokens(m, input);
    while (json_walk_next(&w)) {
        if (m->count == INPUTS_MAX)
            return ERR_BAD_REQUEST;
        if (json_kind(w.value) == JSON_ARRAY)
            TRY(embed_tokens(m, w.value));
        else if (json_kind(w.value) == JSON_STRING)
            TRY(embed_text(m, w.value));
        else
            return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

static enum err write_list(struct embedder *m, struct builder *out)
{
    const struct openai_request *r = m->r;
    json_writer_init(&m->w, out);
    json_write_object(&m->w);
    JSON_MEMBER(&m->w, "object", string, SPAN("list"));
    JSON_NAME(&m->w, "data");
    json_write_array(&m->w);
    TRY(embed_all(m, r->member[OPENAI_INPUT]));
    json_write_array_end(&m->w);
    JSON_MEMBER(&m->w, "model", raw, r->member[OPENAI_MODEL]);
    if (!m->c->script.hides_usage) {
        const uint64_t tokens =
            m->c->script.has_usage ? m->c->script.prompt_tokens : r->prompt_tokens;
        JSON_NAME(&m->w, "usage");
        json_write_object(&m->w);
        JSON_MEMBER(&m->w, "prompt_tokens", u64, tokens);
        JSON_MEMBER(&m->w, "total_tokens", u64, tokens);
        json_write_object_end(&m->w);
    }
    json_write_object_end(&m->w);
    return json_writer_end(&m->w);
}

static enum err take_room(struct embedder *m, struct arena *a)
{
    m->vector = ARENA_NEW_ARRAY(a, int64_t, m->dimensions);
    TRY_ALLOC(m->vector);
    m->bytes = arena_alloc(a, m->dimensions * 4);
    TRY_ALLOC(m->bytes);
    m->base64 = arena_bytes(a, BASE64_LEN(m->dimensions * 4));
    TRY_ALLOC(m->base64);
    return ERR_OK;
}

enum err openai_serve_embeddings(struct mock_call *c)
{
    struct openai_request r;
    struct embedder m = {.c = c, .r = &r, .dimensions = DIMENSIONS_USUAL};
    uint64_t wanted;
    bool go_on;
    TRY(openai_read(c, &r, &go_on));
    if (!go_on)
        return ERR_OK;
    const struct span format = r.member[OPENAI_ENCODING_FORMAT];
    m.is_base64 = json_string_is(format, SPAN("base64"));
    if (format.n && !m.is_base64 && !json_string_is(format, SPAN("float")))
        return openai_wrong_type(c, "encoding_format", "'float' or 'base64'", format);
    const struct span dimensions = r.member[OPENAI_DIMENSIONS];
    if (dimensions.n) {
        if (json_to_u64(dimensions, &wanted) != ERR_OK || wanted < 1 || wanted > DIMENSIONS_MAX)
            return mock_refuse(c, SPAN("invalid_value"), SPAN("dimensions"),
                               "'dimensions' is an integer from 1 to %d.", DIMENSIONS_MAX);
        m.dimensions = wanted;
    }
    TRY(take_room(&m, &c->rq->arena));
    struct builder *out = mock_builder(c, 4096);
    TRY_ALLOC(out);
    const enum err e = write_list(&m, out);
    if (e == ERR_BAD_REQUEST)
        return openai_wrong_type(c, "input", "a string, token numbers, or an array of them",
                                 r.member[OPENAI_INPUT]);
    TRY(e);
    return mock_reply_json(c, builder_span(out));
}
