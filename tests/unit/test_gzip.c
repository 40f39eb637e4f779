/* Unpacking: bodies made by zlib itself, cut anywhere, and everything that is not gzip. */
#include "base/mem.h"
#include "http/gzip.h"
#include "tests/test.h"

#include <zlib.h>

enum { MAX = 4 << 20 };

/* Packs with zlib; bits 31 makes gzip, 15 zlib's own format, -15 neither. */
static void pack(struct span plain, int bits, struct builder *out)
{
    z_stream z = {0};
    EXPECT(deflateInit2(&z, 9, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (z_const Bytef *)(uintptr_t)plain.p;
    z.avail_in = (uInt)plain.n;
    const size_t room = deflateBound(&z, (uLong)plain.n);
    char *p = builder_reserve(out, room);
    z.next_out = (Bytef *)p;
    z.avail_out = (uInt)room;
    EXPECT(deflate(&z, Z_FINISH) == Z_STREAM_END);
    builder_advance(out, room - z.avail_out);
    deflateEnd(&z);
}

static enum err unpack(struct span packed, size_t cut, size_t output_max, struct builder *out)
{
    struct gunzip *g = gunzip_new(output_max);
    builder_clear(out);
    enum err code = gunzip_feed(g, span(packed.p, cut), out);
    if (code == ERR_OK)
        code = gunzip_feed(g, span(packed.p + cut, packed.n - cut), out);
    if (code == ERR_OK)
        code = gunzip_finish(g);
    gunzip_free(g);
    return code;
}

TEST(every_cut_unpacks_to_the_same)
{
    struct builder packed, out;
    builder_init(&packed, MAX);
    builder_init(&out, MAX);
    pack(SPAN("{\"model\":\"gpt-4o\"}"), 31, &packed);
    pack(SPAN(""), 31, &packed); /* a second and a third member */
    pack(SPAN(" more"), 31, &packed);
    const struct span p = builder_span(&packed);
    const struct span plain = SPAN("{\"model\":\"gpt-4o\"} more");
    for (size_t cut = 0; cut <= p.n; cut++) {
        CHECK(unpack(p, cut, plain.n, &out) == ERR_OK);
        CHECK(span_eq(builder_span(&out), plain));
        CHECK(unpack(p, cut, plain.n - 1, &out) == ERR_TOO_LARGE);
    }
    builder_deinit(&packed);
    builder_deinit(&out);
}

/* What a piece holds comes out with it, also where it fills our room to the last byte and zlib, its
 * input taken, has still some of a match to copy. */
TEST(nothing_is_held_back)
{
    enum { ROOM_SIZE = 16 * 1024, TRAILER = 8 };
    char *zeros = mem_calloc(1, ROOM_SIZE * 2u);
    struct builder packed, out;
    builder_init(&packed, MAX);
    builder_init(&out, MAX);
    for (size_t n = ROOM_SIZE - 1; n < ROOM_SIZE + 300; n++) {
        builder_clear(&packed);
        builder_clear(&out);
        pack(span(zeros, n), 31, &packed);
        struct gunzip *g = gunzip_new(n);
        const struct span p = builder_span(&packed);
        CHECK(gunzip_feed(g, span(p.p, p.n - TRAILER), &out) == ERR_OK);
        CHECK(builder_span(&out).n == n && gunzip_finish(g) == ERR_BAD_REQUEST);
        CHECK(gunzip_feed(g, span_from(p, p.n - TRAILER), &out) == ERR_OK);
        CHECK(builder_span(&out).n == n && gunzip_finish(g) == ERR_OK);
        gunzip_free(g);
    }
    mem_free(zeros);
    builder_deinit(&packed);
    builder_deinit(&out);
}

TEST(a_body_that_is_cut_short_is_refused)
{
    struct builder packed, out;
    builder_init(&packed, MAX);
    builder_init(&out, MAX);
    pack(SPAN("some text that is long enough"), 31, &packed);
    for (size_t n = 0; n < builder_span(&packed).n; n++)
        CHECK(unpack(span(builder_span(&packed).p, n), n / 2, MAX, &out) == ERR_BAD_REQUEST);
    builder_deinit(&packed);
    builder_deinit(&out);
}

TEST(what_is_not_gzip_is_refused)
{
    struct builder packed, out;
    builder_init(&packed, MAX);
    builder_init(&out, MAX);
    CHECK(unpack(SPAN("{\"model\":1}"), 3, MAX, &out) == ERR_BAD_REQUEST);
    pack(SPAN("text"), 15, &packed);
    CHECK(unpack(builder_span(&packed), 0, MAX, &out) == ERR_BAD_REQUEST);
    builder_clear(&packed);
    pack(SPAN("text"), -15, &packed);
    CHECK(unpack(builder_span(&packed), 0, MAX, &out) == ERR_BAD_REQUEST);
    static const char *const tails[] = {"x", "\x1f", "\x1f\x8b", "\n"};
    for (size_t i = 0; i <= ARRAY_LEN(tails); i++) {
        builder_clear(&packed);
        pack(SPAN("text"), 31, &packed);
        if (i < ARRAY_LEN(tails))
            builder_add_cstr(&packed, tails[i]);
        else
            builder_add_char(&packed, 0);
        const struct span p = builder_span(&packed);
        for (size_t cut = 0; cut <= p.n; cut++)
            CHECK(unpack(p, cut, MAX, &out) == ERR_BAD_REQUEST);
    }
    builder_deinit(&packed);
    builder_deinit(&out);
}

/* Checksum and length stand in the last eight bytes: any bit of them counts. */
TEST(a_wrong_checksum_is_refused)
{
    struct builder packed, out;
    builder_init(&packed, MAX);
    builder_init(&out, MAX);
    pack(SPAN("some text"), 31, &packed);
    const size_t n = builder_span(&packed).n;
    char *copy = mem_dup(builder_span(&packed).p, n);
    for (size_t bit = (n - 8) * 8; bit < n * 8; bit++) {
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        CHECK(unpack(span(copy, n), 0, MAX, &out) == ERR_BAD_REQUEST);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
    }
    CHECK(unpack(span(copy, n), 0, MAX, &out) == ERR_OK);
    mem_free(copy);
    builder_deinit(&packed);
    builder_deinit(&out);
}

/* 64 MiB of zeros in 64 KiB: what is kept never exceeds the cap, nor the memory for it. */
TEST(a_bomb_stops_at_the_cap)
{
    enum { BOMB = 64 << 20, CAP = 100000 };
    char *zeros = mem_calloc(1, BOMB);
    struct builder packed, out;
    builder_init(&packed, BOMB * 2u);
    builder_init(&out, CAP);
    pack(span(zeros, BOMB), 31, &packed);
    mem_free(zeros);
    CHECK(builder_span(&packed).n < 100000);
    CHECK(unpack(builder_span(&packed), 1000, CAP, &out) == ERR_TOO_LARGE);
    CHECK(unpack(builder_span(&packed), 1000, MAX, &out) == ERR_TOO_LARGE); /* out's own maximum */
    builder_deinit(&packed);
    builder_deinit(&out);
}

static unsigned allocations_left;
static struct mem_door real_door;

static void *failing_realloc(void *old, size_t n)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return real_door.realloc(old, n);
}

/* Every allocation fails in turn, zlib's own included. */
TEST(no_memory_is_an_error)
{
    struct builder packed;
    builder_init(&packed, MAX);
    pack(SPAN("some text"), 31, &packed);
    real_door = mem_door;
    bool was_clean = false;
    unsigned n = 0;
    for (; n < 20 && !was_clean; n++) {
        struct builder out;
        builder_init(&out, MAX);
        allocations_left = n;
        mem_door.realloc = failing_realloc;
        struct gunzip *g = gunzip_new(MAX);
        enum err code = g ? gunzip_feed(g, builder_span(&packed), &out) : ERR_NO_MEMORY;
        gunzip_free(g);
        mem_door = real_door;
        was_clean = code == ERR_OK;
        builder_deinit(&out);
        CHECK(was_clean || code == ERR_NO_MEMORY);
    }
    builder_deinit(&packed);
    CHECK(was_clean && n > 2);
}

int main(void)
{
    RUN(every_cut_unpacks_to_the_same);
    RUN(nothing_is_held_back);
    RUN(a_body_that_is_cut_short_is_refused);
    RUN(what_is_not_gzip_is_refused);
    RUN(a_wrong_checksum_is_refused);
    RUN(a_bomb_stops_at_the_cap);
    RUN(no_memory_is_an_error);
    return TESTS_DONE();
}
