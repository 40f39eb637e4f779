/* fuzz_h1_request -- the first byte says where the rest is cut; whole and in two pieces must agree,
 * and no span may leave the bytes. */
#include "http/h1_parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span s, struct span bytes)
{
    ASSERT(s.n == 0 || (s.p >= bytes.p && s.p + s.n <= bytes.p + bytes.n));
}

static void check_head(const struct http_head *head, struct span bytes)
{
    check_inside(head->target, bytes);
    check_inside(head->path, bytes);
    check_inside(head->query, bytes);
    check_inside(head->authority, bytes);
    ASSERT(http_is_token(head->method_text));
    ASSERT(head->path.n > 0);
    for (uint32_t i = 0; i < head->field_count; i++) {
        check_inside(head->fields[i].name, bytes);
        check_inside(head->fields[i].value, bytes);
        ASSERT(http_is_token(head->fields[i].name));
        ASSERT(http_is_value(head->fields[i].value));
    }
}

/* The answer to `bytes`, after the first `cut` of them were seen elsewhere in memory. */
static enum err parse(struct span bytes, size_t cut, struct http_head *head, size_t *consumed)
{
    struct h1_parser parser;
    h1_parser_init(&parser);
    char *first = malloc(cut + 1);
    memcpy(first, bytes.p, cut);
    enum err code = h1_parse_request(&parser, span(first, cut), head);
    free(first);
    if (code == ERR_AGAIN)
        code = h1_parse_request(&parser, bytes, head);
    else if (code == ERR_OK)
        http_head_rebase(head, first, bytes.p);
    ASSERT((code == ERR_OK || code == ERR_AGAIN) == (parser.why == NULL));
    *consumed = parser.consumed;
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_field fields[2][HTTP_FIELDS_MAX];
    struct http_head heads[2];
    size_t consumed[2];
    if (size < 2)
        return 0;
    const struct span bytes = span((const char *)data + 1, size - 1);
    const size_t cut = data[0] * bytes.n / 255;
    for (unsigned i = 0; i < 2; i++)
        http_head_init(&heads[i], fields[i], HTTP_FIELDS_MAX);
    const enum err whole = parse(bytes, bytes.n, &heads[0], &consumed[0]);
    const enum err pieces = parse(bytes, cut, &heads[1], &consumed[1]);
    ASSERT(whole == pieces);
    if (whole != ERR_OK)
        return 0;
    ASSERT(consumed[0] == consumed[1]);
    ASSERT(consumed[0] <= bytes.n);
    ASSERT(heads[0].field_count == heads[1].field_count);
    ASSERT(heads[0].framing == heads[1].framing);
    check_head(&heads[0], bytes);
    check_head(&heads[1], bytes);
    return 0;
}
