/* HTTP/1 heads and bodies: the table of raw bytes (tests/http1_cases.txt), every way to cut it, and
 * a second parser that shares nothing with the first. */
#include "base/builder.h"
#include "base/mem.h"
#include "http/chunk.h"
#include "http/h1_parse.h"
#include "tests/test.h"
#include "tests/unit/slow_h1.h"

#ifdef HTTP_SCAN_PORTABLE /* test_h1_portable.c: the loops without wide instructions */
#include "../../src/http/h1_parse.c"
#endif

/* --- the table ---------------------------------------------------------------------------------
 */

enum { CASE_MAX = 2 << 20, CASES_MAX = 1024, OUTCOMES_MAX = 256, OFF_PAGE = 1 };

struct http_case {
    char name[80], outcomes[64], facts[256];
    char *bytes;
    size_t n;
};

static struct http_case cases[CASES_MAX];
static size_t case_count;

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Takes one escaped byte from the front. */
static char unescape_one(const char **at)
{
    const char c = *(*at)++;
    if (c != '\\')
        return c;
    const char kind = *(*at)++;
    if (kind == 'x') {
        const int value = hex_digit((*at)[0]) * 16 + hex_digit((*at)[1]);
        *at += 2;
        return (char)value;
    }
    return kind == 'r' ? '\r' : kind == 'n' ? '\n' : kind == 't' ? '\t' : kind;
}

static void unescape(const char *at, struct builder *out)
{
    while (*at) {
        if (at[0] != '\\' || at[1] != '{') {
            builder_add_char(out, unescape_one(&at));
            continue;
        }
        char *inner;
        long count = strtol(at + 2, &inner, 10);
        const char *end = inner + 1;
        while (count-- > 0) {
            end = inner + 1;
            while (*end != '}')
                builder_add_char(out, unescape_one(&end));
        }
        at = end + 1;
    }
}

static bool copy_text(char *out, size_t size, const char *text)
{
    const size_t n = strlen(text);
    if (n >= size)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

static bool read_case(char *line)
{
    char *part[4] = {line};
    for (int i = 1; i < 4; i++) {
        char *bar = strstr(part[i - 1], " | ");
        if (!bar)
            return false;
        *bar = 0;
        part[i] = bar + 3;
    }
    struct http_case *c = &cases[case_count++];
    if (!copy_text(c->name, sizeof c->name, part[0]) ||
        !copy_text(c->outcomes, sizeof c->outcomes, part[1]) ||
        !copy_text(c->facts, sizeof c->facts, part[2]))
        return false;
    struct builder b;
    builder_init(&b, CASE_MAX);
    unescape(part[3], &b);
    if (builder_check(&b) != ERR_OK)
        return false;
    c->n = builder_span(&b).n;
    c->bytes = mem_dup(builder_span(&b).p, c->n);
    builder_deinit(&b);
    return c->bytes != NULL;
}

static bool read_cases(const char *path)
{
    static char line[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool good = true;
    while (good && fgets(line, sizeof line, file)) {
        char *newline = strchr(line, '\n');
        good = newline != NULL;
        if (good)
            *newline = 0;
        if (good && line[0] && line[0] != '#')
            good = read_case(line);
    }
    fclose(file);
    return good;
}

/* --- what our reader makes of some bytes -------------------------------------------------------
 */

/* A connection as a server reads it: heads and bodies in turn, from a buffer that grows by pieces
 * and moves, and forgets what was taken. */
struct peer {
    struct h1_parser parser;
    struct chunk_decoder chunks;
    struct http_field fields[HTTP_FIELDS_MAX];
    struct http_head head;
    struct builder outcomes; /* "200, 400 close" */
    struct builder facts;    /* of the last request accepted */
    struct builder body;
    uint64_t left;
    bool in_body, is_over;
};

static void begin_head(struct peer *x)
{
    h1_parser_init(&x->parser);
    http_head_init(&x->head, x->fields, HTTP_FIELDS_MAX);
    x->in_body = false;
}

static void peer_init(struct peer *x)
{
    memset(x, 0, sizeof *x);
    builder_init(&x->outcomes, 1024);
    builder_init(&x->facts, 1 << 20);
    builder_init(&x->body, 1 << 20);
    begin_head(x);
}

static void peer_deinit(struct peer *x)
{
    builder_deinit(&x->outcomes);
    builder_deinit(&x->facts);
    builder_deinit(&x->body);
}

static void say(struct peer *x, const char *word, bool is_over)
{
    builder_printf(&x->outcomes, "%s%s", builder_span(&x->outcomes).n ? ", " : "", word);
    x->is_over = is_over;
}

static void say_error(struct peer *x, enum err code)
{
    char word[32];
    snprintf(word, sizeof word, "%d close", err_info(code)->status);
    say(x, word, true);
}

static const char *const framing_names[] = {"none", "length", "chunked", "until_close", "stream"};

static void note_facts(struct peer *x)
{
    const struct http_head *h = &x->head;
    builder_clear(&x->facts);
    builder_printf(&x->facts, "path=%.*s query=%.*s host=%.*s fields=%u framing=%s ",
                   SPAN_ARG(h->path), SPAN_ARG(h->query), SPAN_ARG(h->authority), h->field_count,
                   framing_names[h->framing]);
}

static void end_message(struct peer *x)
{
    say(x, x->head.keep_alive ? "200" : "200 close", !x->head.keep_alive);
    begin_head(x);
}

static void begin_body(struct peer *x)
{
    note_facts(x);
    builder_clear(&x->body);
    x->in_body = true;
    x->left = x->head.content_length;
    chunk_decoder_init(&x->chunks, 1 << 20);
}

/* Takes what can be taken from the front of the bytes; returns how many. */
static size_t take(struct peer *x, struct span bytes)
{
    if (!x->in_body) {
        const enum err code = h1_parse_request(&x->parser, bytes, &x->head);
        if (code == ERR_AGAIN)
            return 0;
        if (code != ERR_OK) {
            EXPECT(x->parser.why != NULL);
            say_error(x, code);
            return 0;
        }
        begin_body(x);
        return x->parser.consumed;
    }
    if (x->head.framing == HTTP_BODY_CHUNKED) {
        struct span rest = bytes, payload;
        const enum err code = chunk_next(&x->chunks, &rest, &payload);
        builder_add(&x->body, payload);
        if (code == ERR_OK && chunk_is_done(&x->chunks))
            end_message(x);
        else if (code != ERR_OK && code != ERR_AGAIN)
            say_error(x, code);
        return bytes.n - rest.n;
    }
    const size_t n = MIN(bytes.n, (size_t)x->left);
    builder_add_bytes(&x->body, bytes.p, n);
    x->left -= n;
    if (x->left == 0)
        end_message(x);
    return n;
}

/* Feeds the bytes cut at the places given (ascending, the last one is the end). Each time the
 * unread bytes are in a new block of exactly their size, so that sanitizers see every step beyond.
 */
static void feed(struct peer *x, const char *bytes, const size_t *cuts, size_t cut_count)
{
    size_t taken = 0;
    char *block = NULL;
    for (size_t i = 0; i < cut_count && !x->is_over; i++) {
        const size_t n = cuts[i] - taken;
        char *moved = malloc(n + OFF_PAGE);
        memcpy(moved, bytes + taken, n);
        free(block);
        block = moved;
        size_t at = 0;
        for (;;) {
            const bool was_in_body = x->in_body;
            const size_t step = take(x, span(block + at, n - at));
            at += step;
            if (x->is_over || (step == 0 && was_in_body == x->in_body))
                break;
            if (!x->in_body && at == n)
                break;
        }
        taken += at;
    }
    if (!x->is_over && (x->in_body || taken < cuts[cut_count - 1]))
        say(x, "more", false);
    free(block);
}

/* "outcomes; facts body=...", in memory of the caller's. */
static void run(const struct http_case *c, const size_t *cuts, size_t cut_count,
                struct builder *out)
{
    struct peer *x = malloc(sizeof *x);
    peer_init(x);
    feed(x, c->bytes, cuts, cut_count);
    builder_clear(out);
    builder_add(out, builder_span(&x->outcomes));
    builder_add(out, SPAN("; "));
    builder_add(out, builder_span(&x->facts));
    builder_add(out, SPAN("body="));
    builder_add(out, builder_span(&x->body));
    peer_deinit(x);
    free(x);
}

/* --- the table's tests -------------------------------------------------------------------------
 */

/* "200" of the table stands for our "200"; "ok" for either of ours. */
static bool same_outcomes(const char *expected, struct span got)
{
    if (strcmp(expected, "ok") == 0)
        return span_eq(got, SPAN("200")) || span_eq(got, SPAN("200 close"));
    return span_eq(got, span_of_cstr(expected));
}

static bool has_fact(struct span got, const char *fact)
{
    struct builder b;
    builder_init(&b, 4096);
    builder_add_char(&b, ' ');
    unescape(fact, &b);
    const struct span f = builder_span(&b);
    bool found = false;
    /* body= is the last and ends with the text; the others end with a blank. */
    const bool is_body = strncmp(fact, "body=", 5) == 0;
    for (size_t i = 0; i + f.n <= got.n && !found; i++)
        found = memcmp(got.p + i, f.p, f.n) == 0 &&
                (is_body ? i + f.n == got.n : got.p[i + f.n] == ' ');
    builder_deinit(&b);
    return found;
}

static bool check_whole(const struct http_case *c, struct builder *got)
{
    run(c, &c->n, 1, got);
    struct span outcomes = builder_span(got), facts;
    for (size_t i = 0; i < outcomes.n; i++)
        if (outcomes.p[i] == ';') {
            facts = span_from(builder_span(got), i + 1);
            outcomes.n = i;
        }
    bool good = same_outcomes(c->outcomes, outcomes);
    char list[256];
    snprintf(list, sizeof list, "%s", c->facts);
    char *rest = NULL;
    for (char *f = strtok_r(list, " ", &rest); f && good; f = strtok_r(NULL, " ", &rest))
        good = strcmp(f, "-") == 0 || has_fact(facts, f);
    if (!good)
        printf("# %s: expected %s (%s), got %.*s\n", c->name, c->outcomes, c->facts,
               (int)MIN(builder_span(got).n, (size_t)200), builder_span(got).p);
    return good;
}

TEST(table_is_met)
{
    CHECK(case_count >= 250);
    struct builder got;
    builder_init(&got, 4 << 20);
    size_t bad = 0;
    for (size_t i = 0; i < case_count; i++)
        bad += !check_whole(&cases[i], &got);
    builder_deinit(&got);
    CHECK(bad == 0);
}

static bool same_by_cuts(const struct http_case *c, const size_t *cuts, size_t count,
                         const struct builder *whole, struct builder *got)
{
    run(c, cuts, count, got);
    if (span_eq(builder_span(got), builder_span(whole)))
        return true;
    printf("# %s cut at %zu: %.*s instead of %.*s\n", c->name, cuts[0],
           (int)MIN(builder_span(got).n, (size_t)200), builder_span(got).p,
           (int)MIN(builder_span(whole).n, (size_t)200), builder_span(whole).p);
    return false;
}

/* Long cases are cut at fewer places: what a cut meets in them repeats. */
static size_t cut_step(const struct http_case *c)
{
    return c->n <= 2048 ? 1 : 1 + c->n / 61;
}

TEST(any_two_pieces_are_the_same)
{
    struct builder whole, got;
    builder_init(&whole, 4 << 20);
    builder_init(&got, 4 << 20);
    size_t bad = 0;
    for (size_t i = 0; i < case_count && bad < 10; i++) {
        const struct http_case *c = &cases[i];
        run(c, &c->n, 1, &whole);
        for (size_t at = 0; at <= c->n; at += cut_step(c)) {
            const size_t cuts[] = {at, c->n};
            bad += !same_by_cuts(c, cuts, 2, &whole, &got);
        }
    }
    builder_deinit(&whole);
    builder_deinit(&got);
    CHECK(bad == 0);
}

TEST(byte_by_byte_is_the_same)
{
    struct builder whole, got;
    builder_init(&whole, 4 << 20);
    builder_init(&got, 4 << 20);
    size_t *cuts = malloc(CASE_MAX * sizeof *cuts);
    size_t bad = 0;
    for (size_t i = 0; i < case_count; i++) {
        const struct http_case *c = &cases[i];
        /* Moving a long head a byte at a time is quadratic in the test itself. */
        const size_t step = c->n <= 2048 ? 1 : c->n <= 70000 ? 13 : 997;
        size_t count = 0;
        for (size_t at = step; at < c->n; at += step)
            cuts[count++] = at;
        cuts[count++] = c->n;
        run(c, &c->n, 1, &whole);
        bad += !same_by_cuts(c, cuts, count, &whole, &got);
    }
    free(cuts);
    builder_deinit(&whole);
    builder_deinit(&got);
    CHECK(bad == 0);
}

/* --- a second opinion --------------------------------------------------------------------------
 */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static const char *const seeds[] = {
    "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\nX-A: b\r\n\r\n",
    "GET http://a/x%20y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: x\r\n\r\n",
    "PUT /a HTTP/1.0\r\nHost: b.c:\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: b\r\nExpect: 100-continue\r\nTransfer-Encoding: x\r\n\r\n",
};
static const char *const pieces[] = {"\r\n",
                                     "\n",
                                     "\r",
                                     " ",
                                     "\t",
                                     ":",
                                     "%",
                                     "%00",
                                     "%4a",
                                     "#",
                                     "?",
                                     ",",
                                     ";",
                                     "@",
                                     "/",
                                     "*",
                                     "chunked",
                                     "identity",
                                     "Content-Length: 12\r\n",
                                     "Transfer-Encoding: chunked\r\n",
                                     "Host: a\r\n",
                                     "HTTP/1.0",
                                     "HTTP/1.2",
                                     "\x7f",
                                     "\x80",
                                     "\xa0",
                                     "\x01",
                                     "\x0b",
                                     "0",
                                     "5",
                                     "-",
                                     "_",
                                     "http://",
                                     "X-B:\r\n"};

/* One to three edits: a byte replaced, a run taken out, a piece put in. Returns the new length. */
static size_t mutate(char *text, uint64_t *random)
{
    size_t n = strlen(text);
    for (unsigned edits = 1 + next_random(random) % 3; edits; edits--) {
        const size_t at = next_random(random) % n;
        const char *piece = pieces[next_random(random) % ARRAY_LEN(pieces)];
        const size_t piece_n = strlen(piece), wish = 1 + next_random(random) % 4;
        const size_t cut = MIN(wish, n - at); /* MIN reads its arguments twice */
        switch (next_random(random) % 3) {
        case 0:
            text[at] = (char)(1 + next_random(random) % 255);
            break;
        case 1:
            memmove(text + at, text + at + cut, n - at - cut + 1);
            n -= cut;
            break;
        default:
            memmove(text + at + piece_n, text + at, n - at + 1);
            memcpy(text + at, piece, piece_n);
            n += piece_n;
            break;
        }
    }
    return n;
}

/* The head ends where an empty line first stands; the slow reader is given exactly that. Two
 * things it does not know: the empty line allowed in front, and bytes after the head. */
static bool cut_to_head(const char *text, size_t *n)
{
    const char *end = strstr(text, "\r\n\r\n");
    if (!end || strncmp(text, "\r\n", 2) == 0)
        return false;
    *n = (size_t)(end - text) + 4;
    return true;
}

TEST(agrees_with_the_slow_parser)
{
    uint64_t random = 20240607;
    unsigned accepted = 0, refused = 0;
    for (unsigned i = 0; i < 400000; i++) {
        static char text[1024];
        snprintf(text, sizeof text, "%s", seeds[next_random(&random) % ARRAY_LEN(seeds)]);
        size_t n = mutate(text, &random);
        if (!cut_to_head(text, &n))
            continue;
        struct http_field fields[32];
        struct http_head head;
        struct h1_parser parser;
        h1_parser_init(&parser);
        http_head_init(&head, fields, 32);
        const enum err code = h1_parse_request(&parser, span(text, n), &head);
        const int status = code == ERR_OK ? 200 : code == ERR_AGAIN ? 0 : err_info(code)->status;
        const int expected = slow_status(text, n);
        if (status != expected)
            printf("# expected %d, got %d (%s):\n%s\n", expected, status,
                   parser.why ? parser.why : "", text);
        CHECK(status == expected);
        CHECK(code != ERR_OK || parser.consumed == n);
        accepted += status == 200;
        refused += status != 200;
    }
    CHECK(accepted > 20000 && refused > 20000); /* both sides are really tried */
}

/* --- answers -----------------------------------------------------------------------------------
 */

static enum err parse_answer(const char *text, size_t n, enum http_method method,
                             struct http_head *head)
{
    static struct http_field fields[16];
    enum err first = ERR_OK;
    for (size_t cut = 0; cut <= n; cut++) { /* every two pieces; the head is that of the last */
        struct h1_parser parser;
        h1_parser_init(&parser);
        http_head_init(head, fields, 16);
        enum err code = h1_parse_response(&parser, span(text, cut), method, head);
        if (code == ERR_AGAIN)
            code = h1_parse_response(&parser, span(text, n), method, head);
        if (cut == 0)
            first = code;
        EXPECT(code == first || parser.consumed <= cut);
        EXPECT(code == ERR_OK || code == ERR_AGAIN || parser.why);
    }
    return first;
}

struct answer_case {
    const char *text;
    enum http_method method;
    enum err code;
    int status;
    enum http_framing framing;
    bool keep_alive;
};

#define OK_LINE "HTTP/1.1 200 OK\r\n"
#define CL5 "Content-Length: 5\r\n"
#define TEC "Transfer-Encoding: chunked\r\n"

static const struct answer_case answers[] = {
    {OK_LINE CL5 "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_LENGTH, true},
    {OK_LINE TEC "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_CHUNKED, true},
    {OK_LINE "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_UNTIL_CLOSE, false},
    {OK_LINE "Connection: close\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_LENGTH, false},
    {"HTTP/1.0 200 OK\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_LENGTH, false},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 200,
     HTTP_BODY_LENGTH, true},
    {"HTTP/1.1 200 \r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_LENGTH, true},
    {"HTTP/1.1 200\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 200, HTTP_BODY_LENGTH, true},
    {"HTTP/1.1 429 Too many \xe9\t!\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 429, HTTP_BODY_LENGTH, true},
    /* No body follows, whatever the fields say (RFC 9112 section 6.3, item 1). */
    {OK_LINE CL5 "\r\n", HTTP_HEAD, ERR_OK, 200, HTTP_BODY_NONE, true},
    {OK_LINE TEC "\r\n", HTTP_HEAD, ERR_OK, 200, HTTP_BODY_NONE, true},
    {OK_LINE "\r\n", HTTP_HEAD, ERR_OK, 200, HTTP_BODY_NONE, true},
    {"HTTP/1.1 100 Continue\r\n\r\n", HTTP_POST, ERR_OK, 100, HTTP_BODY_NONE, true},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", HTTP_POST, ERR_OK, 103, HTTP_BODY_NONE, true},
    {"HTTP/1.1 204 No Content\r\n\r\n", HTTP_GET, ERR_OK, 204, HTTP_BODY_NONE, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", HTTP_GET, ERR_OK, 204, HTTP_BODY_NONE,
     true},
    {"HTTP/1.1 304 Not Modified\r\n" CL5 "\r\n", HTTP_GET, ERR_OK, 304, HTTP_BODY_NONE, true},
    {OK_LINE "\r\n", HTTP_CONNECT, ERR_OK, 200, HTTP_BODY_NONE, true},
    {"HTTP/1.1 407 No\r\n" CL5 "\r\n", HTTP_CONNECT, ERR_OK, 407, HTTP_BODY_LENGTH, true},
    /* Ambiguous or wrong: the connection cannot be trusted. */
    {OK_LINE CL5 TEC "\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE TEC TEC "\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE CL5 CL5 "\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE CL5 "Content-Length: 6\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Content-Length: 5, 5\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Content-Length: -5\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Content-Length: \r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Transfer-Encoding: gzip\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "Transfer-Encoding:\x0b"
             "chunked\r\n\r\n",
     HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.0 200 OK\r\n" TEC "\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/2.0 200 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.2 200 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"http/1.1 200 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1  200 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 20 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 2000 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 099 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 600 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 +20 OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 200OK\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"HTTP/1.1 200 OK\n\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {"5\r\nhello\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false}, /* a chunk taken for an answer */
    {"\r\n" OK_LINE CL5 "\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "X : y\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "X: y\r\n z\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "X: y\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE "X: y\rz\r\n\r\n", HTTP_GET, ERR_PROTOCOL, 0, 0, false},
    {OK_LINE CL5, HTTP_GET, ERR_AGAIN, 0, 0, false},
    {"HTTP/1.", HTTP_GET, ERR_AGAIN, 0, 0, false},
    {"", HTTP_GET, ERR_AGAIN, 0, 0, false},
};

TEST(answers_are_read_strictly)
{
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer_case *a = &answers[i];
        struct http_head head;
        const enum err code = parse_answer(a->text, strlen(a->text), a->method, &head);
        bool good = code == a->code;
        if (good && code == ERR_OK)
            good = head.status == a->status && head.framing == a->framing &&
                   head.keep_alive == a->keep_alive;
        if (!good)
            printf("# answer %zu: %s\n", i, a->text);
        CHECK(good);
    }
}

TEST(an_answer_to_head_still_tells_its_length)
{
    struct http_head head;
    const char *text = OK_LINE CL5 "\r\n";
    CHECK(parse_answer(text, strlen(text), HTTP_HEAD, &head) == ERR_OK);
    CHECK(head.has_content_length && head.content_length == 5);
    CHECK(span_eq(head.reason, SPAN("OK")));
}

TEST(what_a_request_asks_for_is_noted)
{
    struct http_field fields[16];
    struct http_head head;
    struct h1_parser parser;
    h1_parser_init(&parser);
    http_head_init(&head, fields, 16);
    const struct span text = SPAN("GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, Upgrade\r\n"
                                  "Upgrade: websocket\r\nExpect: 100-continue\r\n\r\n");
    CHECK(h1_parse_request(&parser, text, &head) == ERR_OK);
    CHECK(head.asks_upgrade && head.keep_alive);
    CHECK(!head.expects_continue); /* nothing to wait for: there is no body */
    CHECK(head.method == HTTP_GET && head.minor == 1);
    CHECK(span_eq(http_get(&head, HTTP_KNOWN_UPGRADE), SPAN("websocket")));
}

/* --- slow heads --------------------------------------------------------------------------------
 */

/* A head that comes byte by byte must cost as much as its bytes do, not their square: the longest
 * line is read anew only when it can have ended. Counted by the parser's own position. */
TEST(a_slow_line_is_not_read_again)
{
    static char text[HTTP_HEAD_MAX];
    const struct span start = SPAN("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(text, 'a', sizeof text);
    memcpy(text, start.p, start.n);
    struct http_field fields[4];
    struct http_head head;
    struct h1_parser parser;
    h1_parser_init(&parser);
    http_head_init(&head, fields, 4);
    for (size_t n = 0; n < sizeof text; n++) {
        CHECK(h1_parse_request(&parser, span(text, n), &head) == ERR_AGAIN);
        CHECK(parser.at + parser.seen == n); /* all is known; only what is new will be read */
    }
    CHECK(h1_parse_request(&parser, span(text, sizeof text), &head) == ERR_HEAD_TOO_LARGE);
}

int main(void)
{
    if (read_cases("tests/http1_cases.txt")) {
        RUN(table_is_met);
        RUN(any_two_pieces_are_the_same);
        RUN(byte_by_byte_is_the_same);
    } else {
        printf("not ok %d - tests/http1_cases.txt can be read\n", ++test_number);
        test_failures++;
    }
    RUN(agrees_with_the_slow_parser);
    RUN(answers_are_read_strictly);
    RUN(an_answer_to_head_still_tells_its_length);
    RUN(what_a_request_asks_for_is_noted);
    RUN(a_slow_line_is_not_read_again);
    for (size_t i = 0; i < case_count; i++)
        mem_free(cases[i].bytes);
    return TESTS_DONE();
}
