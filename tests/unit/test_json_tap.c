#include "json/tap.h"

#include "tests/test.h"
#include "tests/unit/json_mutate.h"
#include "json/kernel.h"
#include "json/scan.h"

static const struct span wanted[] = {SPAN_INIT("model"), SPAN_INIT("stream"),
                                     SPAN_INIT("max_tokens"), SPAN_INIT("user"), SPAN_INIT("b")};
enum { WANTED = ARRAY_LEN(wanted) };
static struct json_names names;

/* Feeds [0, a), [a, b), [b, n), each from memory of its own. */
static enum err feed_in_three(struct json_tap *t, struct span body, size_t a, size_t b)
{
    const struct span pieces[] = {{body.p, a}, {body.p + a, b - a}, {body.p + b, body.n - b}};
    enum err code = ERR_OK;
    for (size_t i = 0; i < 3; i++) {
        char *const copy = malloc(pieces[i].n + 1);
        memcpy(copy, pieces[i].p, pieces[i].n);
        code = json_tap_feed(t, (struct span){copy, pieces[i].n});
        free(copy);
    }
    return code;
}

/* The tap, however it is fed, says what the scanner says. */
static bool agrees(struct span body, size_t a, size_t b)
{
    char room[MUTATE_MAX];
    struct json_tap t;
    struct span values[WANTED];
    struct json_report report;
    const bool is_json = json_scan(body, &names, 0, values, &report) == ERR_OK;
    json_tap_init(&t, &names, room, sizeof room);
    const enum err code = feed_in_three(&t, body, a, b);
    bool is_right = EXPECT((code == ERR_OK && json_tap_is_complete(&t)) == is_json);
    /* What the scanner finds cut off is incomplete here, not wrong; a cut character may be. */
    const bool is_cut = report.reason && report.at == body.n;
    is_right &= EXPECT(!is_cut || code == ERR_OK);
    for (size_t i = 0; is_json && i < WANTED; i++)
        is_right &=
            EXPECT(span_eq(json_tap_value(&t, i), values[i])) && EXPECT(!json_tap_dropped(&t, i));
    if (!is_right)
        printf("# cut at %zu and %zu: %.*s\n", a, b, SPAN_ARG(body));
    return is_right;
}

TEST(every_two_cuts_of_a_document_give_the_same)
{
    for (size_t d = 0; d < ARRAY_LEN(mutate_documents); d++) {
        const struct span body = mutate_documents[d];
        for (size_t a = 0; a <= body.n; a++)
            for (size_t b = a; b <= body.n; b++)
                CHECK(agrees(body, a, b));
    }
}

TEST(the_tap_agrees_with_the_scanner_on_mutated_bodies)
{
    char text[MUTATE_MAX];
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    for (int i = mutate_tries(300000); i > 0; i--) {
        const struct span body = {text, mutate_body(text)};
        const size_t a = mutate_random((unsigned)body.n + 1);
        json_kernel_use(kernels[(size_t)i % count]);
        CHECK(agrees(body, a, a + mutate_random((unsigned)(body.n - a) + 1)));
    }
}

TEST(every_beginning_of_a_document_is_incomplete)
{
    char room[256];
    struct json_tap t;
    const struct span body = mutate_documents[0];
    json_tap_init(&t, &names, room, sizeof room);
    for (size_t n = 0; n < body.n; n++) {
        json_tap_reset(&t);
        CHECK(json_tap_feed(&t, (struct span){body.p, n}) == ERR_OK);
        CHECK(!json_tap_is_complete(&t));
    }
    CHECK(json_tap_feed(&t, span_from(body, body.n - 1)) == ERR_OK);
    CHECK(json_tap_is_complete(&t));
    CHECK(span_eq(json_tap_value(&t, 0), SPAN("\"gpt-4o\"")));
}

TEST(a_value_without_room_is_dropped_and_others_stay)
{
    char room[8];
    struct json_tap t;
    const struct span body = SPAN("{\"model\":\"far too long\",\"b\":[1,2,34],\"user\":null}");
    for (size_t cut = 0; cut <= body.n; cut++) {
        json_tap_init(&t, &names, room, sizeof room);
        CHECK(feed_in_three(&t, body, cut, cut) == ERR_OK);
        CHECK(json_tap_is_complete(&t));
        CHECK(json_tap_dropped(&t, 0));
        CHECK(json_tap_value(&t, 0).p == NULL);
        CHECK(span_eq(json_tap_value(&t, 4), SPAN("[1,2,34]"))); /* all of the room */
        CHECK(json_tap_dropped(&t, 3));
        CHECK(!json_tap_dropped(&t, 1));
    }
}

TEST(a_name_is_known_however_it_is_written)
{
    static const struct span list[] = {SPAN_INIT("\xF0\x9F\x98\x80"), SPAN_INIT("\xC3\xA9\n")};
    struct json_names two;
    char room[8];
    struct json_tap t;
    const struct span body = SPAN("{\"\\uD83D\\uDE00\":1,\"\\uD83D\":2,\"\\u00e9\\n\":3}");
    json_names_init(&two, list, ARRAY_LEN(list));
    for (size_t cut = 0; cut <= body.n; cut++) {
        json_tap_init(&t, &two, room, sizeof room);
        CHECK(feed_in_three(&t, body, cut, cut) == ERR_OK);
        CHECK(span_eq(json_tap_value(&t, 0), SPAN("1")));
        CHECK(span_eq(json_tap_value(&t, 1), SPAN("3")));
    }
}

TEST(a_failure_stays)
{
    char room[64];
    struct json_tap t;
    uint64_t at = 0;
    json_tap_init(&t, &names, room, sizeof room);
    CHECK(json_tap_feed(&t, SPAN("{\"model\":1,")) == ERR_OK);
    CHECK(json_tap_reason(&t, &at) == NULL);
    CHECK(json_tap_feed(&t, SPAN(" ]}")) == ERR_BAD_JSON);
    CHECK(strcmp(json_tap_reason(&t, &at), "a member's name in quotes is expected") == 0);
    CHECK(at == 12);
    CHECK(json_tap_feed(&t, SPAN("}")) == ERR_BAD_JSON);
    CHECK(!json_tap_is_complete(&t));
    CHECK(span_eq(json_tap_value(&t, 0), SPAN("1"))); /* what was read before stays read */
    json_tap_reset(&t);
    CHECK(json_tap_feed(&t, SPAN("{\"model\":1,\"m\\u006fdel\"")) == ERR_BAD_JSON);
    CHECK(json_tap_reason(&t, &at) != NULL);
}

int main(void)
{
    json_names_init(&names, wanted, WANTED);
    RUN(every_two_cuts_of_a_document_give_the_same);
    RUN(the_tap_agrees_with_the_scanner_on_mutated_bodies);
    RUN(every_beginning_of_a_document_is_incomplete);
    RUN(a_value_without_room_is_dropped_and_others_stay);
    RUN(a_name_is_known_however_it_is_written);
    RUN(a_failure_stays);
    return TESTS_DONE();
}
