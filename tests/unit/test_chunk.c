/* The chunked coding: what a body decodes to does not depend on how it was cut, by the sender or by
 * the network. What is refused stands in tests/http1_cases.txt (test_h1.c). */
#include "base/builder.h"
#include "http/chunk.h"
#include "tests/test.h"

enum { MAX = 1 << 20 };

/* Decodes text cut at a and b into `out`; *rest is what was not taken. */
static enum err decode(struct span text, size_t a, size_t b, uint64_t total_max,
                       struct builder *out, size_t *rest)
{
    struct chunk_decoder d;
    chunk_decoder_init(&d, total_max);
    builder_clear(out);
    const size_t cuts[] = {0, a, b, text.n};
    enum err code = ERR_AGAIN;
    *rest = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct span piece = span(text.p + cuts[i], cuts[i + 1] - cuts[i]), payload;
        while (!chunk_is_done(&d) && (code = chunk_next(&d, &piece, &payload)) == ERR_OK)
            builder_add(out, payload);
        *rest += piece.n;
        if (code != ERR_AGAIN && code != ERR_OK)
            break;
    }
    EXPECT((code != ERR_OK && code != ERR_AGAIN) == (d.why != NULL));
    return code;
}

static const struct {
    const char *text, *body;
    enum err code;
    size_t rest;
} cases[] = {
    {"0\r\n\r\n", "", ERR_OK, 0},
    {"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\nGET /", "abc0123456789abcdef", ERR_OK, 5},
    {"1;x=\"y\"\r\na\r\n00;z\r\nA: b\r\nC:\r\n\r\n", "a", ERR_OK, 0},
    {"fFf", "", ERR_AGAIN, 0},
    {"2\r\n\r\n\r\n0\r\n\r", "\r\n", ERR_AGAIN, 0},
};

TEST(every_cut_gives_the_same_body)
{
    struct builder out;
    builder_init(&out, MAX);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct span text = span_of_cstr(cases[i].text);
        for (size_t a = 0; a <= text.n; a++)
            for (size_t b = a; b <= text.n; b++) {
                size_t rest;
                CHECK(decode(text, a, b, MAX, &out, &rest) == cases[i].code);
                CHECK(span_eq(builder_span(&out), span_of_cstr(cases[i].body)));
                CHECK(rest == cases[i].rest);
            }
    }
    builder_deinit(&out);
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

TEST(what_is_encoded_is_decoded)
{
    uint64_t random = 5;
    struct builder plain, coded, out;
    builder_init(&plain, MAX);
    builder_init(&coded, MAX);
    builder_init(&out, MAX);
    for (unsigned round = 0; round < 2000; round++) {
        builder_clear(&plain);
        builder_clear(&coded);
        for (unsigned chunks = next_random(&random) % 5; chunks; chunks--) {
            char data[700], head[CHUNK_HEAD_MAX];
            const size_t n = 1 + next_random(&random) % sizeof data;
            for (size_t i = 0; i < n; i++)
                data[i] = (char)next_random(&random);
            builder_add_bytes(&plain, data, n);
            builder_add_bytes(&coded, head, chunk_write_head(head, n));
            builder_add_bytes(&coded, data, n);
            builder_add(&coded, CHUNK_END);
        }
        builder_add(&coded, CHUNK_LAST);
        const struct span text = builder_span(&coded);
        const size_t b = next_random(&random) % (text.n + 1), a = next_random(&random) % (b + 1);
        size_t rest;
        CHECK(decode(text, a, b, builder_span(&plain).n, &out, &rest) == ERR_OK && rest == 0);
        CHECK(span_eq(builder_span(&out), builder_span(&plain)));
        if (builder_span(&plain).n)
            CHECK(decode(text, a, b, builder_span(&plain).n - 1, &out, &rest) == ERR_TOO_LARGE);
    }
    builder_deinit(&plain);
    builder_deinit(&coded);
    builder_deinit(&out);
}

TEST(heads_are_hex)
{
    static const struct {
        uint64_t n;
        const char *text;
    } heads[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {255, "ff\r\n"},
                 {256, "100\r\n"},
                 {65536, "10000\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char out[CHUNK_HEAD_MAX];
        const size_t n = chunk_write_head(out, heads[i].n);
        CHECK(span_eq(span(out, n), span_of_cstr(heads[i].text)));
    }
}

/* A sum of sizes near 2^64 must not come round to something small. */
TEST(totals_do_not_wrap)
{
    struct chunk_decoder d;
    chunk_decoder_init(&d, UINT64_MAX);
    struct span text = SPAN("1\r\na\r\nffffffffffffffff\r\nb"), payload;
    CHECK(chunk_next(&d, &text, &payload) == ERR_OK && payload.n == 1);
    CHECK(chunk_next(&d, &text, &payload) == ERR_TOO_LARGE);
    CHECK(chunk_next(&d, &text, &payload) == ERR_TOO_LARGE && payload.n == 0); /* final */
    chunk_decoder_init(&d, UINT64_MAX);
    text = SPAN("10000000000000005\r\nhello");
    CHECK(chunk_next(&d, &text, &payload) == ERR_BAD_REQUEST);
}

/* As many one-byte chunks as one likes, but what is not payload is bounded in each. */
TEST(lines_and_trailers_are_bounded)
{
    struct chunk_decoder d;
    struct span payload;
    chunk_decoder_init(&d, MAX);
    for (int i = 0; i < 10 * HTTP_CHUNK_LINE_MAX; i++) {
        struct span piece = SPAN("1\r\na\r\n");
        CHECK(chunk_next(&d, &piece, &payload) == ERR_OK);
        CHECK(chunk_next(&d, &piece, &payload) == ERR_AGAIN);
    }
    chunk_decoder_init(&d, MAX);
    size_t fed = 0;
    enum err code = ERR_AGAIN;
    for (struct span piece = SPAN("1;"); code == ERR_AGAIN; piece = SPAN("x"), fed++)
        code = chunk_next(&d, &piece, &payload);
    CHECK(code == ERR_BAD_REQUEST && fed <= HTTP_CHUNK_LINE_MAX + 1);
    chunk_decoder_init(&d, MAX);
    fed = 0;
    code = ERR_AGAIN;
    for (struct span piece = SPAN("0\r\n"); code == ERR_AGAIN; piece = SPAN("a: b\r\n"), fed++)
        code = chunk_next(&d, &piece, &payload);
    CHECK(code == ERR_BAD_REQUEST && fed <= HTTP_TRAILER_MAX / 6 + 2);
}

int main(void)
{
    RUN(every_cut_gives_the_same_body);
    RUN(what_is_encoded_is_decoded);
    RUN(heads_are_hex);
    RUN(totals_do_not_wrap);
    RUN(lines_and_trailers_are_bounded);
    return TESTS_DONE();
}
