/* fuzz_sse -- a stream cut at two places gives the events that it gives whole, byte for byte. */
#include "http/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EVENT_MAX = 512, ALL_MAX = 1 << 20 };

static void see(struct builder *all, struct builder *raw, const struct sse_event *e)
{
    ASSERT(e->raw.n <= EVENT_MAX);
    builder_add(raw, e->raw);
    builder_add(all, e->name);
    builder_add_char(all, e->has_data ? '{' : '!');
    builder_add(all, e->data);
    builder_add_u64(all, e->raw.n);
}

static enum err read_all(struct span text, size_t a, size_t b, struct builder *all,
                         struct builder *raw)
{
    struct sse_reader r;
    struct sse_event event;
    sse_reader_init(&r, EVENT_MAX);
    const size_t cuts[] = {0, a, b, text.n};
    enum err code = ERR_AGAIN;
    for (unsigned i = 0; i < 3 && code == ERR_AGAIN; i++) {
        struct span piece = span(text.p + cuts[i], cuts[i + 1] - cuts[i]);
        while ((code = sse_next(&r, &piece, &event)) == ERR_OK)
            see(all, raw, &event);
    }
    if (code == ERR_AGAIN && sse_finish(&r, &event) == ERR_OK)
        see(all, raw, &event);
    sse_reader_deinit(&r);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct builder all[2], raw[2];
    if (size < 3)
        return 0;
    const struct span text = span((const char *)data + 2, size - 2);
    const size_t b = data[0] * text.n / 255, a = data[1] * b / 255;
    for (unsigned i = 0; i < 2; i++) {
        builder_init(&all[i], ALL_MAX);
        builder_init(&raw[i], ALL_MAX);
    }
    const enum err whole = read_all(text, text.n, text.n, &all[0], &raw[0]);
    const enum err pieces = read_all(text, a, b, &all[1], &raw[1]);
    ASSERT(whole == pieces);
    ASSERT(span_eq(builder_span(&all[0]), builder_span(&all[1])));
    ASSERT(whole != ERR_AGAIN || span_eq(builder_span(&raw[0]), text));
    for (unsigned i = 0; i < 2; i++) {
        builder_deinit(&all[i]);
        builder_deinit(&raw[i]);
    }
    return 0;
}
