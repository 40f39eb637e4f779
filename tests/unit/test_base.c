#include "base/arena.h"
#include "base/builder.h"
#include "base/encode.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/ring.h"
#include "base/span.h"
#include "base/sys.h"
#include "tests/test.h"

TEST(span_numbers_are_digits_only)
{
    uint64_t v = 7;
    CHECK(span_to_u64(SPAN("18446744073709551615"), &v) == ERR_OK && v == UINT64_MAX);
    CHECK(span_to_u64(SPAN("18446744073709551616"), &v) != ERR_OK);
    CHECK(span_to_u64(SPAN("+1"), &v) != ERR_OK);
    CHECK(span_to_u64(SPAN(" 1"), &v) != ERR_OK);
    CHECK(span_to_u64(SPAN(""), &v) != ERR_OK);
    CHECK(span_to_u64(SPAN("0x10"), &v) != ERR_OK);
}

TEST(span_cut_keeps_everything)
{
    struct span head, tail;
    CHECK(span_cut(SPAN("openai/gpt/4"), '/', &head, &tail));
    CHECK(span_eq(head, SPAN("openai")) && span_eq(tail, SPAN("gpt/4")));
    CHECK(!span_cut(SPAN("plain"), '/', &head, &tail));
    CHECK(span_eq(head, SPAN("plain")) && tail.n == 0);
    CHECK(span_eq_nocase(SPAN("Content-LENGTH"), SPAN("content-length")));
    CHECK(!span_eq_nocase(SPAN("["), SPAN("{"))); /* 0x5b and 0x7b differ by the case bit */
}

/* Against memmem, over all places and lengths around a block. */
TEST(span_search_agrees_with_memmem)
{
    char text[100];
    for (uint32_t seed = 1, round = 0; round < 20000; round++) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = (seed >> 8) % sizeof text, m = (seed >> 16) % 9 + 1;
        for (size_t i = 0; i < sizeof text; i++) /* few letters: many near misses */
            text[i] = (char)('a' + ((seed >> (i % 24)) + i * i) % 3);
        struct span needle = span(text + (seed >> 24) % 80, m);
        const char *hit = n ? memmem(text, n, needle.p, m) : NULL;
        CHECK(span_search(span(text, n), needle) == (hit ? (size_t)(hit - text) : n));
    }
}

static int defer_order[3], defer_count;

static void note(void *arg)
{
    defer_order[defer_count++] = *(int *)arg;
}

TEST(arena_runs_defers_last_in_first_out)
{
    _Alignas(16) char first[256];
    struct arena a;
    int values[3] = {1, 2, 3};
    arena_init(&a, 1 << 20, first, sizeof first);
    defer_count = 0;
    for (int i = 0; i < 3; i++)
        CHECK(arena_defer(&a, note, &values[i]));
    arena_reset(&a);
    CHECK(defer_count == 3);
    CHECK(defer_order[0] == 3 && defer_order[1] == 2 && defer_order[2] == 1);
    arena_deinit(&a);
}

TEST(arena_objects_do_not_overlap_and_are_bounded)
{
    struct arena a;
    arena_init(&a, 100000, NULL, 0);
    unsigned char *parts[200];
    size_t sizes[200], total = 0;
    for (size_t i = 0; i < 200; i++) {
        sizes[i] = i * 7 % 900 + 1;
        parts[i] = arena_alloc(&a, sizes[i]);
        CHECK(parts[i] && ((uintptr_t)parts[i] & 15) == 0);
        memset(parts[i], (int)i, sizes[i]);
        total += sizes[i];
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK(parts[i][k] == (unsigned char)i);
    CHECK(arena_used(&a) == total);
    CHECK(arena_alloc(&a, 100000) == NULL); /* over the bound: refused, nothing lost */
    CHECK(parts[199][0] == 199);
    arena_deinit(&a);
}

TEST(builder_stops_at_its_maximum_and_stays_failed)
{
    struct builder b;
    builder_init(&b, 10);
    builder_add(&b, SPAN("12345"));
    builder_add(&b, SPAN("67890"));
    CHECK(builder_check(&b) == ERR_OK && builder_span(&b).n == 10);
    builder_add_char(&b, 'x');
    CHECK(builder_check(&b) == ERR_TOO_LARGE);
    builder_add_char(&b, 'y');
    CHECK(builder_check(&b) == ERR_TOO_LARGE && builder_span(&b).n == 10);
    builder_clear(&b);
    builder_add_i64(&b, INT64_MIN / 1000000000000000000);
    CHECK(builder_check(&b) == ERR_OK && span_eq(builder_span(&b), SPAN("-9")));
    builder_deinit(&b);

    char fixed[4];
    builder_init_fixed(&b, fixed, sizeof fixed);
    builder_add(&b, SPAN("abcd"));
    CHECK(builder_check(&b) == ERR_OK);
    builder_add_char(&b, 'e');
    CHECK(builder_check(&b) == ERR_TOO_LARGE);
}

TEST(builder_formats)
{
    struct builder b;
    builder_init(&b, 4096);
    builder_add_u64(&b, UINT64_MAX);
    builder_add_char(&b, ' ');
    builder_add_i64(&b, INT64_MIN);
    builder_printf(&b, " %s-%d", "x", 42);
    CHECK(span_eq(builder_span(&b), SPAN("18446744073709551615 -9223372036854775808 x-42")));
    builder_deinit(&b);
}

/* Vectors of the reference implementation (vectors_sip128): key 00..0f, message 00..n-1. */
TEST(siphash_matches_the_reference)
{
    static const struct {
        size_t n;
        const char *hex;
    } vectors[] = {
        {0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
        {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},  {8, "3b62a9ba6258f5610f83e264f31497b4"},
        {15, "5493e99933b0a8117e08ec0f97cfc3d9"},
    };
    struct hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    char message[64], hex[33] = {0};
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)i;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct hash128 h = hash_keyed(&key, span(message, vectors[i].n));
        hex_encode(&h, sizeof h, hex);
        CHECK(strcmp(hex, vectors[i].hex) == 0);
    }
}

TEST(hex_agrees_with_printf)
{
    unsigned char bytes[256];
    char digits[512], expected[3];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        hex_encode(bytes, n, digits);
        for (size_t i = 0; i < n; i++) {
            snprintf(expected, sizeof expected, "%02x", bytes[i]);
            CHECK(memcmp(digits + 2 * i, expected, 2) == 0);
        }
    }
    unsigned char back[256];
    CHECK(hex_decode(span(digits, 512), back) && memcmp(back, bytes, 256) == 0);
    CHECK(!hex_decode(SPAN("0g"), back) && !hex_decode(SPAN("abc"), back));
}

/* RFC 4648, section 10. */
TEST(base64_matches_the_rfc)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    char out[16];
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        size_t n = strlen(pairs[i][0]), written;
        base64_encode(pairs[i][0], n, out);
        CHECK(span_eq(span(out, BASE64_LEN(n)), span_of_cstr(pairs[i][1])));
        CHECK(base64_decode(span_of_cstr(pairs[i][1]), out, &written));
        CHECK(span_eq(span(out, written), span_of_cstr(pairs[i][0])));
    }
    size_t written;
    CHECK(!base64_decode(SPAN("Zg="), out, &written));
    CHECK(!base64_decode(SPAN("Zh=="), out, &written)); /* stray bits */
    CHECK(!base64_decode(SPAN("Z=g="), out, &written));
    CHECK(!base64_decode(SPAN("Zg==Zg=="), out, &written));
}

/* Against a plain array, through growth and removal. */
TEST(map_agrees_with_an_array)
{
    enum { NAMES = 500 };
    static char names[NAMES][8];
    void *expected[NAMES] = {0};
    struct map m = {0};
    for (int i = 0; i < NAMES; i++)
        snprintf(names[i], sizeof names[i], "n%d", i);
    uint32_t seed = 1;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        int i = (int)(seed >> 16) % NAMES;
        if (seed & 0x800) {
            CHECK(map_put(&m, span_of_cstr(names[i]), &names[i]) == ERR_OK);
            expected[i] = &names[i];
        } else {
            CHECK(map_remove(&m, span_of_cstr(names[i])) == (expected[i] != NULL));
            expected[i] = NULL;
        }
    }
    size_t count = 0;
    for (int i = 0; i < NAMES; i++) {
        CHECK(map_get(&m, span_of_cstr(names[i])) == expected[i]);
        count += expected[i] != NULL;
    }
    CHECK(count == m.count);
    map_deinit(&m);
}

TEST(ring_keeps_order_and_counts_drops)
{
    struct ring r;
    CHECK(ring_init(&r, 256) == ERR_OK);
    char text[64];
    int put = 0, got = 0, dropped = 0;
    for (uint32_t seed = 1, step = 0; step < 5000; step++) {
        seed = seed * 1664525u + 1013904223u;
        if (seed >> 31) {
            int n = snprintf(text, sizeof text, "%d-%.*s", put, (int)(seed >> 8) % 40,
                             "........................................");
            if (ring_put(&r, span(text, (size_t)n)))
                put++;
            else
                dropped++;
        } else {
            struct span message;
            if (ring_peek(&r, &message)) {
                struct span number, dots;
                uint64_t value;
                CHECK(span_cut(message, '-', &number, &dots));
                CHECK(span_to_u64(number, &value) == ERR_OK && value == (uint64_t)got);
                got++;
                ring_consume(&r);
            }
        }
    }
    CHECK(dropped > 0 && put > 1000);
    CHECK(ring_dropped(&r) == (uint64_t)dropped);
    ring_deinit(&r);
}

struct item {
    int value;
    struct list link;
};

TEST(list_removal_inside_a_walk)
{
    struct list head;
    struct item items[5];
    list_init(&head);
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_append(&head, &items[i].link);
    }
    LIST_EACH(&head, struct item, link, it) {
        if (it->value % 2)
            list_remove(&it->link);
        if (it->value == 3)
            break;
    }
    int sum = 0;
    LIST_EACH(&head, struct item, link, it)
        sum = sum * 10 + it->value;
    CHECK(sum == 24); /* 0, 2, 4 */
    CHECK(list_is_empty(&items[1].link));
}

TEST(time_text_is_iso_8601)
{
    char text[TIME_TEXT_BYTES];
    time_text(INT64_C(1700000000) * NS_PER_S + 42 * NS_PER_MS, text);
    CHECK(memcmp(text, "2023-11-14T22:13:20.042Z", TIME_TEXT_BYTES) == 0);
}

TEST(secrets_compare_whole)
{
    CHECK(span_eq_secret(SPAN("abc"), SPAN("abc")));
    CHECK(!span_eq_secret(SPAN("abc"), SPAN("abd")));
    CHECK(!span_eq_secret(SPAN("abc"), SPAN("ab")));
}

int main(void)
{
    RUN(span_numbers_are_digits_only);
    RUN(span_cut_keeps_everything);
    RUN(span_search_agrees_with_memmem);
    RUN(arena_runs_defers_last_in_first_out);
    RUN(arena_objects_do_not_overlap_and_are_bounded);
    RUN(builder_stops_at_its_maximum_and_stays_failed);
    RUN(builder_formats);
    RUN(siphash_matches_the_reference);
    RUN(hex_agrees_with_printf);
    RUN(base64_matches_the_rfc);
    RUN(map_agrees_with_an_array);
    RUN(ring_keeps_order_and_counts_drops);
    RUN(list_removal_inside_a_walk);
    RUN(time_text_is_iso_8601);
    RUN(secrets_compare_whole);
    return TESTS_DONE();
}
