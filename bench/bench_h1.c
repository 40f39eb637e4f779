/* bench_h1.c -- what it costs to read heads, chunks and events.
 *
 *     bench_h1                a table: ns, GB/s, and instructions where the kernel lets us count
 *     bench_h1 ROUNDS PART    one line of it only, its number from 0: for two runs of different
 *                             length under callgrind, where nobody else counts
 *
 * The heads are those that SDKs and providers really send, keys replaced.
 */
#include "http/chunk.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/sse.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 200000, REPEATS = 5 };

static long rounds = ROUNDS;

static const char sdk_request[] =
    "POST /v1/chat/completions HTTP/1.1\r\n"
    "Host: gateway.internal.example.com:8080\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Connection: keep-alive\r\n"
    "Accept: application/json\r\n"
    "Content-Type: application/json\r\n"
    "User-Agent: OpenAI/Python 1.54.3\r\n"
    "X-Stainless-Lang: python\r\n"
    "X-Stainless-Package-Version: 1.54.3\r\n"
    "X-Stainless-OS: Linux\r\n"
    "X-Stainless-Arch: x64\r\n"
    "X-Stainless-Runtime: CPython\r\n"
    "Authorization: Bearer sk-0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVW"
    "XYZ0123456789abcdefghijklmnopqrstuvwxyz01234567\r\n"
    "x-stainless-retry-count: 0\r\n"
    "Content-Length: 1024\r\n"
    "\r\n";

static const char provider_answer[] =
    "HTTP/1.1 200 OK\r\n"
    "Date: Mon, 03 Jun 2024 10:11:12 GMT\r\n"
    "Content-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\n"
    "Connection: keep-alive\r\n"
    "access-control-expose-headers: X-Request-ID\r\n"
    "openai-organization: user-0123456789abcdef\r\n"
    "openai-processing-ms: 731\r\n"
    "openai-version: 2020-10-01\r\n"
    "x-ratelimit-limit-requests: 10000\r\n"
    "x-ratelimit-limit-tokens: 200000\r\n"
    "x-ratelimit-remaining-requests: 9999\r\n"
    "x-ratelimit-remaining-tokens: 199733\r\n"
    "x-request-id: req_0123456789abcdef0123456789abcdef\r\n"
    "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    "\r\n";

/* The body that follows lets the wide loops run to the head's end, as it does in a real read. */
static const char body[] = "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\"}]}";

static void read_request(struct span text)
{
    struct http_field fields[HTTP_FIELDS_MAX];
    struct http_head head;
    struct h1_parser parser;
    h1_parser_init(&parser);
    http_head_init(&head, fields, HTTP_FIELDS_MAX);
    if (h1_parse_request(&parser, text, &head) != ERR_OK)
        abort();
}

static void read_answer(struct span text)
{
    struct http_field fields[HTTP_FIELDS_MAX];
    struct http_head head;
    struct h1_parser parser;
    h1_parser_init(&parser);
    http_head_init(&head, fields, HTTP_FIELDS_MAX);
    if (h1_parse_response(&parser, text, HTTP_POST, &head) != ERR_OK)
        abort();
}

/* An answer of ours, of eight fields. */
static void write_answer(struct span text)
{
    char room[1024];
    struct builder out;
    struct h1_writer w;
    builder_init_fixed(&out, room, sizeof room);
    h1_begin_response(&w, &out, 200);
    h1_own_field(&w, SPAN("content-type"), SPAN("application/json"));
    h1_own_field(&w, SPAN("x-request-id"), span(text.p, 34));
    h1_own_field(&w, SPAN("x-penstock-target"), SPAN("openai/gpt-4o-mini"));
    h1_own_field(&w, SPAN("x-penstock-reason"), SPAN("the only target"));
    h1_own_field_u64(&w, SPAN("x-penstock-attempts"), 1);
    h1_own_field(&w, SPAN("x-penstock-cache"), SPAN("off"));
    h1_own_field(&w, SPAN("x-penstock-cost-usd"), SPAN("0.000123456"));
    h1_own_field_u64(&w, SPAN("content-length"), text.n);
    if (h1_end(&w) != ERR_OK)
        abort();
}

static void read_chunk(struct span text)
{
    struct chunk_decoder d;
    struct span payload;
    enum err code;
    chunk_decoder_init(&d, 1 << 20);
    while ((code = chunk_next(&d, &text, &payload)) == ERR_OK && !chunk_is_done(&d))
        ;
    if (code != ERR_OK)
        abort();
}

static struct sse_reader reader;

static void read_event(struct span text)
{
    struct sse_event event;
    if (sse_next(&reader, &text, &event) != ERR_OK || text.n || !event.has_data)
        abort();
}

/* Instructions of this thread in user mode; -1 where that cannot be counted. */
static int open_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t read_counter(int counter)
{
    uint64_t value = 0;
    if (counter < 0 || read(counter, &value, sizeof value) != sizeof value)
        return 0;
    return value;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The best of several runs: what disturbs a run only makes it slower. `n` are the bytes that count.
 */
static void measure(int counter, const char *what, void (*fn)(struct span), struct span text,
                    size_t n)
{
    double best_ns = 1e18, instructions = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        const uint64_t count = read_counter(counter);
        const int64_t start_ns = now_ns();
        for (long i = 0; i < rounds; i++) {
            __asm__ volatile("" : : "r"(text.p) : "memory");
            fn(text);
        }
        best_ns = MIN(best_ns, (double)(now_ns() - start_ns) / (double)rounds);
        instructions = (double)(read_counter(counter) - count) / (double)rounds;
    }
    printf("%-28s %6zu %8.1f %8.2f", what, n, best_ns, (double)n / best_ns);
    if (counter >= 0)
        printf(" %13.0f\n", instructions);
    else
        printf(" %13s\n", "-");
}

static struct span with_body(char *room, size_t size, const char *head)
{
    const int n = snprintf(room, size, "%s%s", head, body);
    return span(room, (size_t)n);
}

int main(int argc, char **argv)
{
    char request[1024], answer[1024];
    const int counter = open_counter();
    const long only = argc > 2 ? atol(argv[2]) : -1;
    if (argc > 1)
        rounds = atol(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct span event =
        SPAN("data: {\"id\":\"chatcmpl-0123456789abcdefghij\",\"object\":\"chat.completion.chunk\","
             "\"created\":1717400000,\"model\":\"gpt-4o-mini-2024-07-18\",\"system_fingerprint\":"
             "\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},"
             "\"finish_reason\":null}]}\n\n");
    const struct span chunk = SPAN("34\r\n{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":"
                                   "\"user\"}]}\r\n0\r\n\r\n");
    const struct {
        const char *what;
        void (*fn)(struct span);
        struct span text;
        size_t n;
    } parts[] = {
        {"read a request, 14 fields", read_request, with_body(request, sizeof request, sdk_request),
         sizeof sdk_request - 1},
        {"read an answer, 14 fields", read_answer,
         with_body(answer, sizeof answer, provider_answer), sizeof provider_answer - 1},
        {"write an answer, 8 fields", write_answer, span(request, 100), 278},
        {"read a chunked body", read_chunk, chunk, chunk.n},
        {"read an event", read_event, event, event.n},
    };
    sse_reader_init(&reader, SSE_EVENT_MAX);
    printf("%-28s %6s %8s %8s %13s\n", "", "bytes", "ns", "GB/s", "instructions");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (only < 0 || only == (long)i)
            measure(counter, parts[i].what, parts[i].fn, parts[i].text, parts[i].n);
    sse_reader_deinit(&reader);
    return 0;
}
