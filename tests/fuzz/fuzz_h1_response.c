/* fuzz_h1_response -- the first byte is the method asked by and where the rest is cut. */
#include "http/h1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err parse(struct span bytes, size_t cut, enum http_method method,
                      struct http_head *head)
{
    struct h1_parser parser;
    h1_parser_init(&parser);
    enum err code = h1_parse_response(&parser, span(bytes.p, cut), method, head);
    if (code == ERR_AGAIN)
        code = h1_parse_response(&parser, bytes, method, head);
    if (code == ERR_OK)
        ASSERT(parser.consumed <= bytes.n);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_field fields[2][HTTP_FIELDS_MAX];
    struct http_head heads[2];
    if (size < 2)
        return 0;
    const struct span bytes = span((const char *)data + 1, size - 1);
    const enum http_method method = (enum http_method)(data[0] % HTTP_METHOD_COUNT);
    for (unsigned i = 0; i < 2; i++)
        http_head_init(&heads[i], fields[i], HTTP_FIELDS_MAX);
    const enum err whole = parse(bytes, bytes.n, method, &heads[0]);
    const enum err pieces = parse(bytes, data[0] * bytes.n / 255, method, &heads[1]);
    ASSERT(whole == pieces);
    ASSERT(whole == ERR_OK || whole == ERR_AGAIN || whole == ERR_PROTOCOL);
    if (whole != ERR_OK)
        return 0;
    ASSERT(heads[0].status >= 100);
    ASSERT(heads[0].status <= 599);
    ASSERT(heads[0].field_count == heads[1].field_count);
    ASSERT(heads[0].framing == heads[1].framing);
    ASSERT(heads[0].keep_alive == heads[1].keep_alive);
    return 0;
}
