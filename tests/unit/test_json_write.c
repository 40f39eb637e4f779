#include "json/write.h"

#include "tests/json_reference.h"
#include "tests/test.h"
#include "tests/unit/json_mutate.h"
#include "json/scan.h"
#include "json/value.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define WITH_WRITER(w)                                                                             \
    struct builder b;                                                                              \
    struct json_writer w;                                                                          \
    builder_init(&b, 1 << 20);                                                                     \
    json_writer_init(&w, &b)

TEST(a_record_is_written_as_it_is_told)
{
    WITH_WRITER(w);
    json_write_object(&w);
    JSON_MEMBER(&w, "id", string, SPAN("r-1\n"));
    JSON_NAME(&w, "attempts");
    json_write_array(&w);
    json_write_object(&w);
    json_write_name(&w, SPAN("a\"b"));
    json_write_i64(&w, INT64_MIN);
    json_write_object_end(&w);
    json_write_array(&w);
    json_write_array_end(&w);
    json_write_u64(&w, UINT64_MAX);
    json_write_array_end(&w);
    JSON_MEMBER(&w, "stream", bool, true);
    JSON_MEMBER(&w, "raw", raw, SPAN("{\"x\": 1.50}"));
    JSON_MEMBER(&w, "ms", decimal, 1250, 3);
    JSON_NAME(&w, "error");
    json_write_null(&w);
    json_write_object_end(&w);
    CHECK(json_writer_end(&w) == ERR_OK);
    CHECK(span_eq(builder_span(&b),
                  SPAN("{\"id\":\"r-1\\n\",\"attempts\":[{\"a\\\"b\":-9223372036854775808},[],"
                       "18446744073709551615],\"stream\":true,\"raw\":{\"x\": 1.50},\"ms\":1.250,"
                       "\"error\":null}")));
    builder_deinit(&b);
}

static bool decimal_is(int64_t value, unsigned places, const char *text)
{
    WITH_WRITER(w);
    json_write_decimal(&w, value, places);
    const bool is_right = EXPECT(json_writer_end(&w) == ERR_OK) &&
                          EXPECT(span_eq(builder_span(&b), span_of_cstr(text)));
    builder_deinit(&b);
    return is_right;
}

TEST(decimals_are_exact)
{
    CHECK(decimal_is(0, 0, "0"));
    CHECK(decimal_is(5, 3, "0.005"));
    CHECK(decimal_is(-5, 3, "-0.005"));
    CHECK(decimal_is(-123456, 2, "-1234.56"));
    CHECK(decimal_is(INT64_MIN, 18, "-9.223372036854775808"));
    CHECK(decimal_is(1000, 3, "1.000"));
}

/* Text to code points as Unicode 3.9 says: each maximal wrong part is one U+FFFD. By the table
 * of the standard, byte by byte. */
static size_t read_text(struct span s, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        const unsigned char first = (unsigned char)s.p[i++];
        int more = first < 0x80 ? 0 : first < 0xC2 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
        uint32_t low = 0x80, high = 0xBF;
        uint32_t c = more > 0 ? first & (0x3Fu >> more) : first;
        low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : low;
        high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : high;
        if (more < 0 || first > 0xF4)
            c = 0xFFFD;
        for (; more > 0 && first <= 0xF4; more--, low = 0x80, high = 0xBF, i++) {
            if (i == s.n || (unsigned char)s.p[i] < low || (unsigned char)s.p[i] > high) {
                c = 0xFFFD;
                break;
            }
            c = c << 6 | ((unsigned char)s.p[i] & 0x3F);
        }
        out[n++] = c;
    }
    return n;
}

TEST(any_bytes_become_valid_text_that_reads_back)
{
    char text[MUTATE_MAX];
    static uint32_t before[MUTATE_MAX * 2], after[MUTATE_MAX * 2];
    for (int i = mutate_tries(50000); i > 0; i--) {
        const struct span s = {text, mutate_body(text)};
        struct arena a;
        struct span back;
        arena_init(&a, 1 << 20, NULL, 0);
        WITH_WRITER(w);
        json_write_string(&w, s);
        CHECK(json_writer_end(&w) == ERR_OK);
        CHECK(reference_accepts(builder_span(&b)));
        CHECK(json_to_string(builder_span(&b), &a, &back) == ERR_OK);
        const size_t n = read_text(s, before);
        CHECK(read_text(back, after) == n);
        CHECK(memcmp(before, after, n * sizeof before[0]) == 0);
        builder_deinit(&b);
        arena_deinit(&a);
    }
}

/* Any sequence of right calls makes a valid document. */
TEST(what_is_written_is_json)
{
    for (int i = mutate_tries(20000); i > 0; i--) {
        WITH_WRITER(w);
        char is_object[JSON_DEPTH_MAX + 1] = {0};
        int depth = 0, left = 1 + (int)mutate_random(60);
        bool is_done = false;
        while (!is_done) {
            const bool may_close = depth > 0 && (left <= 0 || mutate_random(4) == 0);
            left--;
            if (may_close && is_object[depth]) {
                json_write_object_end(&w);
                depth--;
            } else if (may_close) {
                json_write_array_end(&w);
                depth--;
            } else {
                if (depth > 0 && is_object[depth])
                    json_write_name(&w, mutate_token());
                switch (mutate_random(7)) {
                case 0:
                    json_write_string(&w, mutate_token());
                    break;
                case 1:
                    json_write_i64(&w, -(int64_t)mutate_random(1000));
                    break;
                case 2:
                    json_write_bool(&w, false);
                    break;
                case 3:
                    json_write_object(&w);
                    is_object[++depth] = true;
                    break;
                default:
                    json_write_array(&w);
                    is_object[++depth] = false;
                }
            }
            is_done = depth == 0;
        }
        CHECK(json_writer_end(&w) == ERR_OK);
        CHECK(reference_accepts(builder_span(&b)));
        builder_deinit(&b);
    }
}

/* Arrays at every third level: no period that a power of two could hide. */
TEST(every_level_closes_as_it_opened)
{
    WITH_WRITER(w);
    for (int i = 0; i < JSON_DEPTH_MAX; i++) {
        if (i % 3 == 0) {
            json_write_array(&w);
            continue;
        }
        json_write_object(&w);
        json_write_name(&w, SPAN("n"));
        if (i == JSON_DEPTH_MAX - 1)
            json_write_null(&w);
    }
    for (int i = JSON_DEPTH_MAX; i-- > 0;) {
        if (i % 3 == 0)
            json_write_array_end(&w);
        else
            json_write_object_end(&w);
    }
    CHECK(json_writer_end(&w) == ERR_OK);
    CHECK(reference_accepts(builder_span(&b)));
    builder_deinit(&b);
}

TEST(depth_and_room_are_bounded)
{
    WITH_WRITER(w);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        json_write_array(&w);
    json_write_i64(&w, 1);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        json_write_array_end(&w);
    CHECK(json_writer_end(&w) == ERR_TOO_LARGE);
    builder_deinit(&b);
    builder_init(&b, 8);
    json_writer_init(&w, &b);
    json_write_string(&w, SPAN("more than eight"));
    CHECK(json_writer_end(&w) == ERR_TOO_LARGE);
    builder_deinit(&b);
}

static void value_without_name(struct json_writer *w)
{
    json_write_object(w);
    json_write_i64(w, 1);
}

static void name_in_array(struct json_writer *w)
{
    json_write_array(w);
    json_write_name(w, SPAN("a"));
}

static void two_names(struct json_writer *w)
{
    json_write_object(w);
    json_write_name(w, SPAN("a"));
    json_write_name(w, SPAN("b"));
}

static void name_without_value(struct json_writer *w)
{
    json_write_object(w);
    json_write_name(w, SPAN("a"));
    json_write_object_end(w);
}

static void wrong_end(struct json_writer *w)
{
    json_write_object(w);
    json_write_array_end(w);
}

static void two_roots(struct json_writer *w)
{
    json_write_null(w);
    json_write_null(w);
}

static void open_level(struct json_writer *w)
{
    json_write_array(w);
    if (json_writer_end(w) != ERR_OK)
        _exit(0);
}

static bool aborts(void (*misuse)(struct json_writer *w))
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        WITH_WRITER(w);
        misuse(&w);
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

TEST(misuse_is_asserted)
{
    static void (*const misuses[])(struct json_writer *) = {
        value_without_name, name_in_array, two_names, name_without_value,
        wrong_end,          two_roots,     open_level};
    for (size_t i = 0; i < ARRAY_LEN(misuses); i++)
        CHECK(aborts(misuses[i]));
}

int main(void)
{
    RUN(a_record_is_written_as_it_is_told);
    RUN(decimals_are_exact);
    RUN(any_bytes_become_valid_text_that_reads_back);
    RUN(what_is_written_is_json);
    RUN(every_level_closes_as_it_opened);
    RUN(depth_and_room_are_bounded);
    RUN(misuse_is_asserted);
    return TESTS_DONE();
}
