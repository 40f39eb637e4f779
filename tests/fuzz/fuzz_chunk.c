/* fuzz_chunk -- a body cut at two places decodes to what it does whole, within the total given. */
#include "http/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOTAL_MAX = 4096 };

static enum err decode(struct span text, size_t a, size_t b, char *out, size_t *n)
{
    struct chunk_decoder d;
    chunk_decoder_init(&d, TOTAL_MAX);
    const size_t cuts[] = {0, a, b, text.n};
    enum err code = ERR_AGAIN;
    *n = 0;
    for (unsigned i = 0; i < 3 && code == ERR_AGAIN; i++) {
        struct span piece = span(text.p + cuts[i], cuts[i + 1] - cuts[i]), payload;
        while ((code = chunk_next(&d, &piece, &payload)) == ERR_OK && !chunk_is_done(&d)) {
            ASSERT(payload.n > 0);
            ASSERT(*n + payload.n <= TOTAL_MAX);
            memcpy(out + *n, payload.p, payload.n);
            *n += payload.n;
        }
    }
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char out[2][TOTAL_MAX];
    size_t n[2];
    if (size < 3)
        return 0;
    const struct span text = span((const char *)data + 2, size - 2);
    const size_t b = data[0] * text.n / 255, a = data[1] * b / 255;
    const enum err whole = decode(text, text.n, text.n, out[0], &n[0]);
    const enum err pieces = decode(text, a, b, out[1], &n[1]);
    ASSERT(whole == pieces);
    ASSERT(span_eq(span(out[0], n[0]), span(out[1], n[1])));
    return 0;
}
