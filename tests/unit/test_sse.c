/* Server-sent events: the HTML standard's rules (section 9.2.6), every cut of a stream, and a slow
 * reader written from the standard. */
#include "base/mem.h"
#include "http/sse.h"
#include "tests/test.h"

enum { MAX = 1 << 20 };

/* Events as text, "name{data}" each, "name!" for a block without data; raw bytes apart. */
struct seen {
    struct builder events, raw;
};

static void seen_init(struct seen *s)
{
    builder_init(&s->events, MAX);
    builder_init(&s->raw, MAX);
}

static void seen_deinit(struct seen *s)
{
    builder_deinit(&s->events);
    builder_deinit(&s->raw);
}

static void see(struct seen *s, const struct sse_event *e)
{
    builder_add(&s->raw, e->raw);
    EXPECT(e->raw.n > 0);
    if (!e->has_data)
        return;
    builder_add(&s->events, e->name);
    builder_add_char(&s->events, '{');
    builder_add(&s->events, e->data);
    builder_add_char(&s->events, '}');
}

/* Each piece is a block of its own, gone before the next comes. */
static enum err see_piece(struct seen *s, struct sse_reader *r, struct span piece)
{
    char *block = malloc(piece.n + 1);
    memcpy(block, piece.p, piece.n);
    struct span rest = span(block, piece.n);
    struct sse_event event;
    enum err code;
    while ((code = sse_next(r, &rest, &event)) == ERR_OK)
        see(s, &event);
    EXPECT(code != ERR_AGAIN || rest.n == 0);
    free(block);
    return code;
}

/* Cut at a and b. What is left at the end is read by sse_finish into the raw bytes only. */
static enum err see_all(struct seen *s, struct span text, size_t a, size_t b, size_t event_max)
{
    struct sse_reader r;
    struct sse_event event;
    sse_reader_init(&r, event_max);
    builder_clear(&s->events);
    builder_clear(&s->raw);
    enum err code = see_piece(s, &r, span(text.p, a));
    if (code == ERR_AGAIN)
        code = see_piece(s, &r, span(text.p + a, b - a));
    if (code == ERR_AGAIN)
        code = see_piece(s, &r, span(text.p + b, text.n - b));
    if (code == ERR_AGAIN) {
        code = sse_finish(&r, &event);
        if (code == ERR_OK)
            builder_add(&s->raw, event.raw);
        if (code == ERR_AGAIN)
            code = ERR_OK;
    }
    sse_reader_deinit(&r);
    return code;
}

struct sse_case {
    const char *text, *events;
};

static const struct sse_case cases[] = {
    {"data: a\n\n", "{a}"},
    {"data:a\n\n", "{a}"},
    {"data:  a\n\n", "{ a}"}, /* one space only is taken */
    {"data:\ta\n\n", "{\ta}"},
    {"data\n\n", "{}"},
    {"data:\n\n", "{}"},
    {"data\ndata\n\n", "{\n}"}, /* the standard's own example */
    {"data: a\ndata: b\n\n", "{a\nb}"},
    {"data: a\ndata:\ndata: c\n\n", "{a\n\nc}"},
    {"event: e\ndata: a\n\n", "e{a}"},
    {"data: a\nevent: e\n\n", "e{a}"},
    {"event: e\nevent: f\ndata: a\n\n", "f{a}"},
    {"event: e\nevent\ndata: a\n\n", "{a}"},
    {"event: e\n\ndata: a\n\n", "{a}"}, /* a name without data is forgotten */
    {"id: 1\nretry: 10\ndata: a\nother: x\n\n", "{a}"},
    {"Data: a\n\n", ""}, /* names are case-sensitive */
    {" data: a\n\n", ""},
    {"data : a\n\n", ""},
    {"datax: a\n\n", ""},
    {": comment\n\n", ""},
    {":\n\ndata: a\n\n", "{a}"},
    {": c\ndata: a\n: c\ndata: b\n\n", "{a\nb}"},
    {"data: a:b: c\n\n", "{a:b: c}"},
    {"data: a\r\n\r\n", "{a}"},
    {"data: a\r\rdata: b\r\r", "{a}{b}"},
    {"data: a\r\ndata: b\rdata: c\ndata: d\n\r\n", "{a\nb\nc\nd}"},
    {"data: a\n\r\ndata: b\r\n\ndata: c\r\n\r", "{a}{b}"}, /* the last CR may still get its LF */
    {"data: a\r\r\n\r\ndata: b\r\n\r\n", "{a}{b}"},
    {"\n\n\ndata: a\n\n\n\n", "{a}"},
    {"\r\n\r\ndata: a\r\n\r\n", "{a}"},
    {"\xEF\xBB\xBF"
     "data: a\n\n",
     "{a}"},
    {"\xEF\xBB\xBF\xEF\xBB\xBF"
     "data: a\n\n",
     ""}, /* one mark, at the start */
    {"data: a\n\n\xEF\xBB\xBF"
     "data: b\n\n",
     "{a}"},
    {"\xEF\xBB\xBF"
     ": c\n\ndata: a\n\n",
     "{a}"},
    {"data: caf\xc3\xa9 \xe2\x80\xa8 x\n\n", "{caf\xc3\xa9 \xe2\x80\xa8 x}"},
    {"data: {\"a\":\"\\n\"}\n\ndata: [DONE]\n\n", "{{\"a\":\"\\n\"}}{[DONE]}"},
    {"data: a", ""},
    {"data: a\n", ""},
    {"data: a\n\ndata: b\n", "{a}"},
    {"", ""},
};

TEST(every_cut_gives_the_events_of_the_standard)
{
    struct seen s;
    seen_init(&s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct span text = span_of_cstr(cases[i].text);
        for (size_t a = 0; a <= text.n; a++)
            for (size_t b = a; b <= text.n; b++) {
                CHECK(see_all(&s, text, a, b, MAX) == ERR_OK);
                if (!span_eq(builder_span(&s.events), span_of_cstr(cases[i].events)))
                    printf("# case %zu cut at %zu, %zu: %.*s\n", i, a, b,
                           SPAN_ARG(builder_span(&s.events)));
                CHECK(span_eq(builder_span(&s.events), span_of_cstr(cases[i].events)));
                CHECK(span_eq(builder_span(&s.raw), text)); /* no byte lost, none twice */
            }
    }
    seen_deinit(&s);
}

/* --- a slow reader, line by line, as the standard tells it -------------------------------------
 */

static void slow_line(struct span line, struct builder *data, struct builder *name, unsigned *lines,
                      struct builder *out)
{
    struct span field, value;
    if (line.n == 0) {
        if (*lines) {
            builder_add(out, builder_span(name));
            builder_add_char(out, '{');
            struct span all = builder_span(data);
            all.n--; /* the last newline */
            builder_add(out, all);
            builder_add_char(out, '}');
        }
        builder_clear(data);
        builder_clear(name);
        *lines = 0;
        return;
    }
    (void)span_cut(line, ':', &field, &value);
    if (value.n && value.p[0] == ' ')
        value = span_from(value, 1);
    if (span_eq(field, SPAN("data"))) {
        builder_add(data, value);
        builder_add_char(data, '\n');
        ++*lines;
    } else if (span_eq(field, SPAN("event"))) {
        builder_clear(name);
        builder_add(name, value);
    }
}

static void slow_events(struct span text, struct builder *out)
{
    struct builder data, name;
    unsigned lines = 0;
    builder_init(&data, MAX);
    builder_init(&name, MAX);
    builder_clear(out);
    size_t at = 0;
    if (span_starts(text, SPAN("\xEF\xBB\xBF")))
        at = 3;
    for (size_t i = at; i < text.n; i++) {
        if (text.p[i] != '\r' && text.p[i] != '\n')
            continue;
        slow_line(span(text.p + at, i - at), &data, &name, &lines, out);
        if (text.p[i] == '\r' && i + 1 < text.n && text.p[i + 1] == '\n')
            i++;
        at = i + 1;
    }
    builder_deinit(&data);
    builder_deinit(&name);
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static const char *const bits[] = {"data: ",
                                   "data",
                                   "event: e",
                                   "a",
                                   "\n",
                                   "\n",
                                   "\n\n",
                                   "\r",
                                   "\r\n",
                                   ":",
                                   " ",
                                   "data: x\n\n",
                                   "0123456789abcdefghij"};

TEST(agrees_with_the_slow_reader)
{
    uint64_t random = 99;
    struct seen s;
    struct builder text, expected;
    seen_init(&s);
    builder_init(&text, MAX);
    builder_init(&expected, MAX);
    unsigned with_events = 0;
    for (unsigned i = 0; i < 100000; i++) {
        builder_clear(&text);
        for (unsigned n = 1 + next_random(&random) % 12; n; n--)
            builder_add_cstr(&text, bits[next_random(&random) % ARRAY_LEN(bits)]);
        builder_add_cstr(&text, "\n"); /* a CR at the very end could wait for its LF */
        const struct span t = builder_span(&text);
        const size_t b = next_random(&random) % (t.n + 1), a = next_random(&random) % (b + 1);
        slow_events(t, &expected);
        CHECK(see_all(&s, t, a, b, MAX) == ERR_OK);
        if (!span_eq(builder_span(&s.events), builder_span(&expected)))
            printf("# cut at %zu, %zu: %.*s\n", a, b, SPAN_ARG(t));
        CHECK(span_eq(builder_span(&s.events), builder_span(&expected)));
        CHECK(span_eq(builder_span(&s.raw), t));
        with_events += builder_span(&expected).n > 0;
    }
    CHECK(with_events > 20000);
    seen_deinit(&s);
    builder_deinit(&text);
    builder_deinit(&expected);
}

/* --- bounds, ends and copies -------------------------------------------------------------------
 */

TEST(an_event_is_bounded_however_it_comes)
{
    struct seen s;
    seen_init(&s);
    const struct span fits = SPAN("data: 0123456789\n\ndata: a\n\n"); /* the longest has 18 bytes */
    for (size_t a = 0; a <= fits.n; a++)
        for (size_t b = a; b <= fits.n; b++) {
            CHECK(see_all(&s, fits, a, b, 18) == ERR_OK);
            CHECK(see_all(&s, fits, a, b, 17) == ERR_TOO_LARGE);
        }
    struct sse_reader r;
    struct sse_event event;
    sse_reader_init(&r, 1000);
    enum err code = ERR_AGAIN;
    unsigned fed = 0;
    while (code == ERR_AGAIN) { /* an endless line */
        struct span piece = SPAN("0123456789");
        code = sse_next(&r, &piece, &event);
        fed++;
    }
    CHECK(code == ERR_TOO_LARGE && fed == 101);
    struct span more = SPAN("data: a\n\n");
    CHECK(sse_next(&r, &more, &event) == ERR_TOO_LARGE); /* final */
    sse_reader_deinit(&r);
    seen_deinit(&s);
}

TEST(a_whole_event_is_not_copied)
{
    struct sse_reader r;
    struct sse_event event;
    sse_reader_init(&r, 1000);
    const char *text = "event: e\ndata: abc\n\n: c\n\n";
    struct span rest = span_of_cstr(text);
    CHECK(sse_next(&r, &rest, &event) == ERR_OK);
    CHECK(event.raw.p == text && event.raw.n == 20);
    CHECK(event.data.p == text + 15 && event.data.n == 3);
    CHECK(event.name.p == text + 7 && event.name.n == 1);
    CHECK(sse_next(&r, &rest, &event) == ERR_OK);
    CHECK(!event.has_data && event.raw.p == text + 20 && event.raw.n == 5);
    CHECK(sse_next(&r, &rest, &event) == ERR_AGAIN && rest.n == 0);
    sse_reader_deinit(&r);
}

/* An event must not wait for the byte behind it where its own line ends show that it is complete.
 */
TEST(an_event_comes_with_its_last_byte)
{
    static const char *const texts[] = {"data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct sse_reader r;
        struct sse_event event;
        sse_reader_init(&r, 1000);
        struct span rest = span_of_cstr(texts[i]);
        CHECK(sse_next(&r, &rest, &event) == ERR_OK && rest.n == 0);
        CHECK(span_eq(event.raw, span_of_cstr(texts[i])) && span_eq(event.data, SPAN("a")));
        sse_reader_deinit(&r);
    }
}

TEST(the_rest_of_a_stream_can_be_seen)
{
    struct sse_reader r;
    struct sse_event event;
    sse_reader_init(&r, 1000);
    struct span rest = SPAN("data: a\n\ndata: b\ndata: c");
    CHECK(sse_next(&r, &rest, &event) == ERR_OK);
    CHECK(sse_next(&r, &rest, &event) == ERR_AGAIN);
    CHECK(sse_finish(&r, &event) == ERR_OK);
    CHECK(event.has_data && span_eq(event.data, SPAN("b\nc")));
    CHECK(span_eq(event.raw, SPAN("data: b\ndata: c")));
    CHECK(sse_finish(&r, &event) == ERR_AGAIN);
    rest = SPAN("{\"error\":1}\n");
    CHECK(sse_next(&r, &rest, &event) == ERR_AGAIN);
    CHECK(sse_finish(&r, &event) == ERR_OK);
    CHECK(!event.has_data && span_eq(event.raw, SPAN("{\"error\":1}\n")));
    sse_reader_deinit(&r);
}

TEST(what_is_written_is_read_back)
{
    static const struct {
        const char *name, *data, *read;
    } writes[] = {
        {"", "a", "{a}"},       {"e", "{}", "e{{}}"},       {"", "", "{}"},
        {"", "a\nb", "{a\nb}"}, {"", "a\r\nb", "{a\nb}"},   {"", "a\rb", "{a\nb}"},
        {"", "a\n", "{a\n}"},   {"", "\n\na", "{\n\na}"},   {"", " a", "{ a}"},
        {"", ": x", "{: x}"},   {"", "\r\n\r\n", "{\n\n}"}, {"", "a\n\ndata: b", "{a\n\ndata: b}"},
    };
    struct seen s;
    seen_init(&s);
    struct builder out;
    builder_init(&out, MAX);
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        builder_clear(&out);
        CHECK(sse_write(&out, span_of_cstr(writes[i].name), span_of_cstr(writes[i].data)) ==
              ERR_OK);
        sse_write_comment(&out, SPAN("alive"));
        const struct span text = builder_span(&out);
        CHECK(see_all(&s, text, text.n, text.n, MAX) == ERR_OK);
        CHECK(span_eq(builder_span(&s.events), span_of_cstr(writes[i].read)));
    }
    builder_clear(&out);
    CHECK(sse_write(&out, SPAN("a\nb"), SPAN("x")) == ERR_PROTOCOL);
    CHECK(sse_write(&out, SPAN("a\rb"), SPAN("x")) == ERR_PROTOCOL);
    CHECK(sse_write(&out, SPAN("a\0b"), SPAN("x")) == ERR_PROTOCOL);
    CHECK(builder_span(&out).n == 0);
    builder_deinit(&out);
    seen_deinit(&s);
}

int main(void)
{
    RUN(every_cut_gives_the_events_of_the_standard);
    RUN(agrees_with_the_slow_reader);
    RUN(an_event_is_bounded_however_it_comes);
    RUN(a_whole_event_is_not_copied);
    RUN(an_event_comes_with_its_last_byte);
    RUN(the_rest_of_a_stream_can_be_seen);
    RUN(what_is_written_is_read_back);
    return TESTS_DONE();
}
