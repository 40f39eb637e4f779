/* Every kernel reads heads as the careful reader does, byte for byte. The careful reader alone is
 * the "portable" kernel; it is held against the grammar by test_h1. */
#include "base/mem.h"
#include "http/h1_parse.h"
#include "http/kernel.h"
#include "http/scan.h"
#include "tests/test.h"

enum { ROOM = 4096, ROUNDS = 60000 };

struct reading {
    enum err code;
    const char *why;
    size_t consumed;
    struct http_head head;
    struct http_field fields[HTTP_FIELDS_MAX];
};

static uint64_t state = 88172645463325252u;

static unsigned below(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

static void read_with(const struct http_kernel *kernel, struct span bytes, struct reading *r)
{
    struct h1_parser parser;
    http_kernel_use(kernel);
    h1_parser_init(&parser);
    http_head_init(&r->head, r->fields, HTTP_FIELDS_MAX);
    r->code = h1_parse_request(&parser, bytes, &r->head);
    r->why = parser.why;
    r->consumed = r->code == ERR_OK ? parser.consumed : 0;
}

static bool is_same_span(struct span a, struct span b)
{
    return a.n == b.n && a.p == b.p;
}

static bool is_same(const struct reading *a, const struct reading *b)
{
    if (a->code != b->code || a->consumed != b->consumed ||
        a->head.field_count != b->head.field_count || a->head.present != b->head.present ||
        a->head.repeated != b->head.repeated || (a->why == NULL) != (b->why == NULL) ||
        (a->why && strcmp(a->why, b->why) != 0))
        return false;
    for (uint32_t i = 0; i < a->head.field_count; i++)
        if (!is_same_span(a->fields[i].name, b->fields[i].name) ||
            !is_same_span(a->fields[i].value, b->fields[i].value) ||
            http_known_at(&a->head, i) != http_known_at(&b->head, i))
            return false;
    for (unsigned k = 1; k < HTTP_KNOWN_COUNT; k++)
        if (!is_same_span(http_get(&a->head, k), http_get(&b->head, k)))
            return false;
    return true;
}

/* A name: a known one in any case, or token bytes, now and then as long as a block and longer. */
static size_t put_name(char *at)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789----"
                                "_.!#$%&'*+^`|~";
    if (below(2)) {
        const struct span name =
            http_known_name((enum http_known)(1 + below(HTTP_KNOWN_COUNT - 1)));
        for (size_t i = 0; i < name.n; i++)
            at[i] = below(4) || name.p[i] == '-'
                        ? name.p[i]
                        : (char)(name.p[i] & (name.p[i] >= 'a' ? ~0x20 : ~0));
        return name.n;
    }
    const size_t n = below(40) ? 1 + below(below(8) ? 20 : 70) : 0;
    for (size_t i = 0; i < n; i++)
        at[i] = bytes[below(below(3) ? 66 : sizeof bytes - 1)];
    return n;
}

static size_t put_value(char *at)
{
    const size_t n = below(6) ? below(40) : below(200);
    for (size_t i = 0; i < n; i++)
        at[i] = (char)(below(50) ? 0x20 + below(0x5f) : below(2) ? 0x80 + below(0x80) : '\t');
    return n;
}

static size_t put_head(char *text)
{
    char *p = text + sprintf(text, "POST /v1/chat HTTP/1.%u\r\n%s", below(8) ? 1 : 0,
                             below(8) ? "Host: a\r\n" : "");
    for (unsigned i = below(20); i; i--) {
        p += put_name(p);
        *p++ = ':';
        for (unsigned blanks = below(6) ? 1 : below(3); blanks; blanks--)
            *p++ = below(8) ? ' ' : '\t';
        p += put_value(p);
        *p++ = '\r';
        *p++ = '\n';
    }
    return (size_t)(p - text) +
           (size_t)sprintf(p, "\r\n%.*s", (int)below(100),
                           "{\"model\": \"a: b\", \"x\": [\"Name: value\\r\\n\", 1],"
                           "\"messages\": [{\"role\": \"user\", \"content\": 1}]}");
}

/* Heads of any length, some with a byte changed or cut off, in memory that ends where they do. */
TEST(kernels_agree_with_the_careful_reader)
{
    static const char breaking[] = "\r\n: \t\x7f"; /* and NUL */
    static char text[16 * ROOM];
    static struct reading wanted, got;
    size_t count, good = 0;
    const struct http_kernel *const *kernels = http_kernels(&count);
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = put_head(text);
        if (below(2))
            text[below((unsigned)n)] =
                below(2) ? (char)below(256) : breaking[below(sizeof breaking)];
        if (below(4) == 0)
            n = below((unsigned)n + 1);
        char *own = malloc(n + 1);
        memcpy(own, text, n);
        own = n ? realloc(own, n) : own;
        read_with(kernels[0], span(own, n), &wanted);
        good += wanted.code == ERR_OK;
        for (size_t k = 1; k < count; k++) {
            read_with(kernels[k], span(own, n), &got);
            if (!is_same(&wanted, &got))
                printf("# round %d: %s says %d, wanted %d\n", round, kernels[k]->name, got.code,
                       wanted.code);
            CHECK(is_same(&wanted, &got));
        }
        free(own);
    }
    CHECK(good > ROUNDS / 10); /* and it is not all refused */
}

TEST(unusual_bytes_are_counted)
{
    size_t count;
    const struct http_kernel *const *kernels = http_kernels(&count);
    for (size_t k = 0; k < count; k++)
        for (size_t n = 0; n <= 130; n++)
            for (int c = 0; c < 256; c++) {
                char *text = malloc(n + 1);
                size_t wanted = 0;
                memset(text, 'a', n + 1);
                for (size_t i = n % 7; i < n; i += 1 + below(9)) {
                    text[i] = (char)c;
                    wanted += c < 0x20 || c > 0x7e;
                }
                text = n ? realloc(text, n) : text;
                const size_t got = kernels[k]->unusual(text, text + n);
                free(text);
                CHECK(got == wanted);
            }
}

int main(void)
{
    RUN(kernels_agree_with_the_careful_reader);
    RUN(unusual_bytes_are_counted);
    return TESTS_DONE();
}
