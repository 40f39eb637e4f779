#include "mock/text.h"

#include "json/write.h"

#include "base/mem.h"

/* 64 words of three letters and a blank: ASCII that JSON need not escape. */
static const char WORDS[] = "air ant arm art ash axe bay bed bee box bus cap cat cow cup day "
                            "den dew dog ear eel egg elm eye fan fig fir fog fox gem gum hat "
                            "hay hen hut ice ink ivy jam jar key kit log map mud net nut oak "
                            "oar owl pea pen pie pot ram rye sea sky sun tea tin toy urn yew ";
enum { WORD_BYTES = 4, WORD_COUNT = 64 };
static_assert(sizeof WORDS == WORD_COUNT * WORD_BYTES + 1, "every word takes four bytes");

static const uint64_t STEP = UINT64_C(0x9E3779B97F4A7C15), ODD = UINT64_C(0x2545F4914F6CDD1D);

/* The finalizer of splitmix64 (Steele, Lea, Flood). */
uint64_t mock_mix(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * STEP;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    if (n)
        memcpy(&v, p, n);
    return v;
}

static inline uint64_t step(uint64_t lane, const char *p)
{
    return STEP + fold(lane ^ load(p, 8), load(p + 8, 8) ^ ODD);
}

/* Four lanes, so that the multiplications of a long text overlap. */
static uint64_t fold_long(struct span *text)
{
    uint64_t a = 1, b = 2, c = 3, d = 4;
    const char *p = text->p, *const end = text->p + text->n;
    for (; end - p >= 64; p += 64) {
        a = step(a, p);
        b = step(b, p + 16);
        c = step(c, p + 32);
        d = step(d, p + 48);
    }
    *text = span_between(p, end);
    return fold(a ^ b, c + d) ^ fold(a + c, b ^ d);
}

void mock_print_add(struct mock_print *print, struct span text)
{
    uint64_t a = print->value ^ STEP, b = text.n + ODD;
    if (text.n >= 64)
        a += fold_long(&text);
    while (text.n >= 16) {
        a = fold(a ^ load(text.p, 8), b ^ load(text.p + 8, 8)) + STEP;
        text = span_from(text, 16);
    }
    const size_t low = MIN(text.n, (size_t)8);
    a ^= load(text.p, low);
    b ^= load(text.p + low, text.n - low);
    print->value = fold(a + STEP, b);
}

/* --- texts ------------------------------------------------------------------------------------ */

struct mock_text mock_text_of_words(uint64_t seed, uint64_t bytes)
{
    return (struct mock_text){.seed = seed, .full_bytes = bytes, .bytes = bytes};
}

struct mock_text mock_text_of(struct span fixed)
{
    if (!fixed.p)
        fixed.p = "";
    return (struct mock_text){.fixed = fixed, .full_bytes = fixed.n, .bytes = fixed.n};
}

/* The last place at or before `at` that is not inside a character. */
static uint64_t step_back(const struct mock_text *t, uint64_t at)
{
    if (t->fixed.p && at < t->fixed.n)
        while (at > 0 && ((unsigned char)t->fixed.p[at] & 0xC0) == 0x80)
            at--;
    return at;
}

bool mock_text_limit(struct mock_text *t, uint64_t tokens)
{
    if (tokens >= mock_tokens(t->bytes))
        return false;
    t->bytes = step_back(t, tokens * WORD_BYTES);
    return true;
}

uint64_t mock_text_piece_end(const struct mock_text *t, uint64_t i, uint64_t count)
{
    return i + 1 >= count ? t->bytes : step_back(t, t->bytes * (i + 1) / count);
}

static void write_words(const struct mock_text *t, uint64_t from, uint64_t end, char *out)
{
    while (from < end) {
        const uint64_t inside = from % WORD_BYTES;
        const uint64_t n = MIN(WORD_BYTES - inside, end - from);
        const uint64_t word = mock_mix(t->seed, from / WORD_BYTES) % WORD_COUNT;
        const char *const p = WORDS + word * WORD_BYTES;
        if (n == WORD_BYTES)
            memcpy(out, p, WORD_BYTES); /* a store, not a call */
        else
            memcpy(out, p + inside, n);
        out += n;
        from += n;
    }
    if (end > 0 && end == t->full_bytes)
        out[-1] = '.';
}

void mock_text_add(struct builder *out, const struct mock_text *t, uint64_t from, uint64_t end)
{
    if (end <= from)
        return;
    if (t->fixed.p) {
        builder_add_bytes(out, t->fixed.p + from, end - from);
        return;
    }
    char *place = builder_reserve(out, end - from);
    if (!place)
        return;
    write_words(t, from, end, place);
    builder_advance(out, end - from);
}

void mock_text_add_json(struct builder *out, const struct mock_text *t, uint64_t from, uint64_t end)
{
    if (!t->fixed.p) {
        builder_add_char(out, '"');
        mock_text_add(out, t, from, end);
        builder_add_char(out, '"');
        return;
    }
    struct json_writer w;
    json_writer_init(&w, out);
    json_write_string(&w, span(t->fixed.p + from, end > from ? end - from : 0));
    const enum err e = json_writer_end(&w);
    ASSERT(e == builder_check(out)); /* which the builder's owner asks for */
}

/* --- stop words ------------------------------------------------------------------------------- */

static size_t find(struct span text, struct span word)
{
    const char *at = word.n ? memmem(text.p, text.n, word.p, word.n) : NULL;
    return at ? (size_t)(at - text.p) : text.n;
}

enum err mock_text_stop(struct mock_text *t, const struct span *stops, size_t count,
                        bool *was_found)
{
    struct builder plain;
    builder_init(&plain, MOCK_STOP_SEARCH);
    mock_text_add(&plain, t, 0, MIN(t->bytes, (uint64_t)MOCK_STOP_SEARCH));
    enum err e = builder_check(&plain);
    *was_found = false;
    if (e == ERR_OK) {
        const struct span text = builder_span(&plain);
        size_t first = text.n;
        for (size_t i = 0; i < count; i++)
            first = MIN(first, find(text, stops[i]));
        if (first < text.n) {
            *was_found = true;
            t->bytes = first;
        }
    }
    builder_deinit(&plain);
    return e;
}
