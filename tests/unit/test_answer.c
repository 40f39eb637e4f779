/* The judge of `make bench`: what is right must pass however it is cut, and one wrong byte must
 * not. */
#include "bench/answer.c"
#include "bench/histogram.c"

#include "tests/test.h"

static const struct span STREAM =
    SPAN_INIT("data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: {\"n\":3}\n\ndata: [DONE]\n\n");

static struct answer a; /* larger than a frame may be */

/* RFC 9112, 7.1: chunks cut anywhere, an extension, upper and lower case digits, a trailer. */
static const char CHUNKED[] = "HTTP/1.1 200 OK\r\n"
                              "Content-Type: text/event-stream\r\n"
                              "TRANSFER-ENCODING: Chunked\r\n"
                              "\r\n"
                              "1A\r\ndata: {\"n\":1}\n\ndata: {\"n\":\r\n"
                              "14;x=y\r\n2}\n\ndata: {\"n\":3}\n\nd\r\n"
                              "d\r\nata: [DONE]\n\n\r\n"
                              "0\r\nServer-Timing: x\r\n\r\n";

static const char WITH_LENGTH[] = "HTTP/1.1 201 Created\r\n"
                                  "content-length:  5 \r\n"
                                  "Connection: close\r\n"
                                  "\r\n"
                                  "hello";

static struct reference reference_of(struct span body, enum reference_kind kind)
{
    struct reference r;
    char *copy = mem_dup(body.p, body.n);
    if (!EXPECT(copy && reference_init(&r, span(copy, body.n), kind) == ERR_OK))
        abort();
    return r;
}

/* Feeds all but the bytes left when the verdict fell; the pieces end at `cut` and `cut2`. */
static enum verdict feed_cut(const struct reference *r, struct span text, const size_t cuts[2])
{
    enum verdict v = VERDICT_MORE;
    size_t at = 0, ends[3] = {cuts[0], cuts[1], text.n}, used;
    answer_start(&a, NULL);
    for (int i = 0; i < 3 && v == VERDICT_MORE; i++) {
        v = answer_feed(&a, r, span_between(text.p + at, text.p + ends[i]), &used);
        at += used;
    }
    if (v == VERDICT_DONE && at != text.n)
        return VERDICT_WRONG_BODY;
    return v;
}

TEST(any_cut_of_a_right_answer_is_right)
{
    struct reference r = reference_of(STREAM, REFERENCE_STREAM);
    struct span text = span_of_cstr(CHUNKED);
    CHECK(r.event_count == 4);
    for (size_t i = 0; i <= text.n; i++) {
        for (size_t j = i; j <= text.n; j++) {
            CHECK(feed_cut(&r, text, (size_t[]){i, j}) == VERDICT_DONE);
            CHECK(a.events == 4 && a.at == STREAM.n && a.status == 200 && !a.closes);
        }
    }
    reference_deinit(&r);
}

TEST(one_changed_payload_byte_is_wrong)
{
    struct reference r = reference_of(STREAM, REFERENCE_STREAM);
    char text[sizeof(CHUNKED)];
    size_t wrong = 0;
    for (size_t i = 0; i + 1 < sizeof(CHUNKED); i++) {
        memcpy(text, CHUNKED, sizeof(text));
        text[i] ^= 1;
        struct span changed = span(text, sizeof(text) - 1);
        wrong += feed_cut(&r, changed, (size_t[]){0, 0}) == VERDICT_WRONG_BODY;
    }
    CHECK(wrong >= STREAM.n); /* and in the framing some more */
    reference_deinit(&r);
}

TEST(a_cut_stream_is_never_done)
{
    struct reference r = reference_of(STREAM, REFERENCE_STREAM);
    struct span text = span_of_cstr(CHUNKED);
    size_t used;
    for (size_t n = 0; n < text.n; n++) {
        answer_start(&a, NULL);
        CHECK(answer_feed(&a, &r, span(text.p, n), &used) == VERDICT_MORE);
        CHECK(answer_closed(&a, &r) != VERDICT_DONE);
    }
    reference_deinit(&r);
}

TEST(a_missing_or_repeated_event_is_wrong)
{
    struct reference r = reference_of(STREAM, REFERENCE_STREAM);
    static const char missing[] = "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"
                                  "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";
    static const char repeated[] = "HTTP/1.1 200 OK\r\n\r\ndata: {\"n\":1}\n\ndata: {\"n\":1}\n\n";
    CHECK(feed_cut(&r, span_of_cstr(missing), (size_t[]){0, 0}) == VERDICT_WRONG_BODY);
    CHECK(feed_cut(&r, span_of_cstr(repeated), (size_t[]){0, 0}) == VERDICT_WRONG_BODY);
    reference_deinit(&r);
}

TEST(a_shorter_or_longer_payload_is_wrong)
{
    struct span text = span_of_cstr(WITH_LENGTH);
    struct reference same = reference_of(SPAN("hello"), REFERENCE_PLAIN);
    struct reference longer = reference_of(SPAN("hello "), REFERENCE_PLAIN);
    struct reference shorter = reference_of(SPAN("hell"), REFERENCE_PLAIN);
    CHECK(feed_cut(&same, text, (size_t[]){0, 0}) == VERDICT_DONE);
    CHECK(a.closes && a.status == 201);
    CHECK(feed_cut(&longer, text, (size_t[]){0, 0}) == VERDICT_WRONG_BODY);
    CHECK(feed_cut(&shorter, text, (size_t[]){0, 0}) == VERDICT_WRONG_BODY);
    CHECK(feed_cut(&same, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), (size_t[]){0, 0}) ==
          VERDICT_WRONG_BODY);
    reference_deinit(&same);
    reference_deinit(&longer);
    reference_deinit(&shorter);
}

TEST(an_answer_may_end_with_the_connection)
{
    struct reference r = reference_of(SPAN("hello"), REFERENCE_PLAIN);
    size_t used;
    answer_start(&a, NULL);
    CHECK(answer_feed(&a, &r, SPAN("HTTP/1.1 200 OK\r\n\r\nhel"), &used) == VERDICT_MORE);
    CHECK(answer_closed(&a, &r) == VERDICT_WRONG_BODY);
    CHECK(answer_feed(&a, &r, SPAN("lo"), &used) == VERDICT_MORE);
    CHECK(answer_closed(&a, &r) == VERDICT_DONE);
    reference_deinit(&r);
}

TEST(errors_and_nonsense_are_not_answers)
{
    static const char *const nonsense[] = {
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    };
    struct reference r = reference_of(SPAN("hello"), REFERENCE_PLAIN);
    for (size_t i = 0; i < ARRAY_LEN(nonsense); i++)
        CHECK(feed_cut(&r, span_of_cstr(nonsense[i]), (size_t[]){0, 0}) == VERDICT_BAD_HTTP);
    CHECK(feed_cut(&r, SPAN("HTTP/1.1 502 Bad Gateway\r\n\r\n"), (size_t[]){0, 0}) ==
          VERDICT_BAD_STATUS);
    CHECK(feed_cut(&r, SPAN("HTTP/1.1 100 Continue\r\n\r\n"), (size_t[]){0, 0}) ==
          VERDICT_BAD_STATUS);
    reference_deinit(&r);
}

TEST(a_head_has_a_maximum)
{
    static char head[ANSWER_HEAD_MAX + 64];
    memset(head, 'a', sizeof(head));
    memcpy(head, "HTTP/1.1 200 OK\r\nx: ", 20);
    struct reference r = reference_of(SPAN("hello"), REFERENCE_PLAIN);
    CHECK(feed_cut(&r, span(head, sizeof(head)), (size_t[]){100, 200}) == VERDICT_BAD_HTTP);
    reference_deinit(&r);
}

TEST(a_reference_stream_must_be_whole)
{
    struct reference r;
    struct span cut = span_from(STREAM, 0);
    cut.n--;
    CHECK(reference_init(&r, cut, REFERENCE_STREAM) == ERR_BAD_REQUEST);
    CHECK(reference_init(&r, cut, REFERENCE_STREAM_PREFIX) == ERR_OK);
    CHECK(r.event_count == 3);
    mem_free(r.event_ends);
}

/* Against the definition: the smallest value that at least the share of all values do not exceed.
 */
TEST(quantiles_are_within_two_percent)
{
    static struct histogram h;
    enum { COUNT = 10000 };
    for (int64_t i = 1; i <= COUNT; i++)
        histogram_add(&h, i * i * 7); /* from 7 ns to 0.7 s */
    for (int64_t percent = 1; percent < 100; percent++) {
        int64_t rank = percent * COUNT / 100 + 1, exact = rank * rank * 7;
        int64_t got = histogram_quantile(&h, (double)percent / 100);
        CHECK(got > exact - exact / 50 && got < exact + exact / 50);
    }
    CHECK(h.max_ns == (int64_t)COUNT * COUNT * 7);
    histogram_add(&h, INT64_MAX);
    histogram_add(&h, -1);
    CHECK(h.count == COUNT + 2 && h.max_ns == HISTOGRAM_MAX_NS);
}

int main(void)
{
    RUN(any_cut_of_a_right_answer_is_right);
    RUN(one_changed_payload_byte_is_wrong);
    RUN(a_cut_stream_is_never_done);
    RUN(a_missing_or_repeated_event_is_wrong);
    RUN(a_shorter_or_longer_payload_is_wrong);
    RUN(an_answer_may_end_with_the_connection);
    RUN(errors_and_nonsense_are_not_answers);
    RUN(a_head_has_a_maximum);
    RUN(a_reference_stream_must_be_whole);
    RUN(quantiles_are_within_two_percent);
    return TESTS_DONE();
}
