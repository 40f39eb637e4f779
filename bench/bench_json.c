/* bench_json.c -- what it costs to check chat bodies and to read a few members of them.
 *
 *     bench_json                           a table: GB/s and ns, for each kernel, body and reader
 *     bench_json KERNEL BODY BYTES TIMES   scans one body TIMES times and prints nothing; for
 *                                          perf stat -e instructions:u or valgrind, where the
 *                                          difference of two counts is the cost of a scan
 *
 * BODY: prose (English with the escapes of a chat), code (an escape every 30 bytes), chinese.
 */
#include "base/arena.h"
#include "base/builder.h"
#include "json/edit.h"
#include "json/kernel.h"
#include "json/scan.h"
#include "json/tap.h"
#include "json/tree.h"
#include "json/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const struct span wanted[] = {
    SPAN_INIT("model"),
    SPAN_INIT("stream"),
    SPAN_INIT("max_tokens"),
    SPAN_INIT("user"),
    SPAN_INIT("max_completion_tokens"),
    SPAN_INIT("n"),
};
static struct json_names names;
static const char *const bodies[] = {"prose", "code", "chinese"};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct span sentence(const char *kind)
{
    if (strcmp(kind, "chinese") == 0)
        return SPAN("网关对每一个请求进行认证、限流、路由和计费，然后把它转发给模型。\n");
    if (strcmp(kind, "code") == 0)
        return SPAN("    if (s == \"quit\") {\n        return 1;\n    }\n\tputs(\"no\");\n");
    return SPAN("The gateway checks who is calling, what they may use and how much of it is left, "
                "then passes the call on: the caller’s words arrive as they were sent. A turbine "
                "does not care who opened the gate, but the accountant of the power station "
                "does.\n\n");
}

/* A chat of about `bytes`, as the SDKs write it. The caller frees the builder. */
static struct span make_body(struct builder *b, const char *kind, size_t bytes)
{
    builder_init(b, bytes * 2 + 4096);
    builder_add(b, SPAN("{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\","
                        "\"content\":\"You are a helpful assistant.\"}"));
    const size_t turn = MIN(bytes / 2, 2000), tail = 120;
    for (int i = 0; builder_span(b).n + turn / 2 < bytes; i++) {
        const size_t room = bytes - builder_span(b).n;
        char text[3072];
        struct builder t;
        builder_init_fixed(&t, text, sizeof text);
        const size_t want = MIN(turn, room > tail ? room - tail : 1);
        while (builder_span(&t).n < want)
            builder_add(&t, sentence(kind));
        struct json_writer w;
        builder_add_char(b, ',');
        json_writer_init(&w, b);
        json_write_object(&w);
        JSON_MEMBER(&w, "role", string, i % 2 ? SPAN("assistant") : SPAN("user"));
        JSON_MEMBER(&w, "content", string, builder_span(&t));
        json_write_object_end(&w);
        if (json_writer_end(&w) != ERR_OK)
            exit(1);
    }
    builder_add(b, SPAN("],\"temperature\":0.7,\"max_tokens\":256,\"stream\":true,"
                        "\"user\":\"u-8f3a2b\"}"));
    if (builder_check(b) != ERR_OK)
        exit(1);
    return builder_span(b);
}

static void read_by_scan(struct span body)
{
    struct span values[ARRAY_LEN(wanted)];
    struct json_report report;
    if (json_scan(body, &names, 0, values, &report) != ERR_OK || values[1].n != 4)
        exit(1);
}

static void read_by_unique_scan(struct span body)
{
    struct span values[ARRAY_LEN(wanted)];
    struct json_report report;
    if (json_scan(body, &names, JSON_UNIQUE_NAMES, values, &report) != ERR_OK)
        exit(1);
}

static void read_by_tree(struct span body)
{
    static char room[64 * 1024];
    struct arena a;
    const struct json_node *root;
    struct json_report report;
    arena_init(&a, 64 * 1024 * 1024, room, sizeof room);
    if (json_parse(&a, body, JSON_UNIQUE_NAMES, &root, &report) != ERR_OK)
        exit(1);
    arena_deinit(&a);
}

static void read_by_tap(struct span body)
{
    char room[256];
    struct json_tap tap;
    json_tap_init(&tap, &names, room, sizeof room);
    if (json_tap_feed(&tap, body) != ERR_OK || !json_tap_is_complete(&tap))
        exit(1);
}

static const struct {
    const char *name;
    void (*read)(struct span body);
} readers[] = {
    {"scan", read_by_scan},
    {"scan, unique", read_by_unique_scan},
    {"tree", read_by_tree},
    {"tap", read_by_tap},
};

/* The fastest of several rounds: others use this machine too. */
static double best_ns(void (*read)(struct span), struct span body)
{
    double best = 1e18;
    const int times = (int)(2000000 / body.n) + 1;
    for (int round = 0; round < 15; round++) {
        const int64_t from = now_ns();
        for (int i = 0; i < times; i++)
            read(body);
        best = MIN(best, (double)(now_ns() - from) / times);
    }
    return best;
}

static void print_row(const char *kind, size_t bytes)
{
    struct builder b;
    const struct span body = make_body(&b, kind, bytes);
    for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
        const double ns = best_ns(readers[i].read, body);
        printf("%-9s %-8s %7zu  %-13s %10.0f ns %7.2f GB/s\n", json_kernel()->name, kind, body.n,
               readers[i].name, ns, (double)body.n / ns);
    }
    builder_deinit(&b);
}

static bool use_kernel(const char *name)
{
    size_t count;
    const struct json_kernel *const *list = json_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i]->name, name) == 0) {
            json_kernel_use(list[i]);
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    json_names_init(&names, wanted, ARRAY_LEN(wanted));
    if (argc == 5 && use_kernel(argv[1])) {
        struct builder b;
        const struct span body = make_body(&b, argv[2], (size_t)atol(argv[3]));
        for (long i = atol(argv[4]); i > 0; i--)
            read_by_scan(body);
        builder_deinit(&b);
        return 0;
    }
    size_t count;
    const struct json_kernel *const *list = json_kernels(&count);
    for (size_t k = 0; k < count; k++) {
        json_kernel_use(list[k]);
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
            for (size_t bytes = 1000; bytes <= 100000; bytes *= 10)
                print_row(bodies[i], bytes);
    }
    return 0;
}
