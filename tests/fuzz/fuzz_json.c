/* fuzz_json.c -- scanner, tree, tap and writer must agree on any bytes.
 *
 * The first byte of the input chooses the kernel, the second where the tap's pieces are cut. */
#include "base/arena.h"
#include "json/edit.h"
#include "json/kernel.h"
#include "json/scan.h"
#include "json/tap.h"
#include "json/tree.h"
#include "json/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct span wanted[] = {SPAN_INIT("model"), SPAN_INIT("stream"), SPAN_INIT("usage"),
                                     SPAN_INIT("a")};
enum { WANTED = ARRAY_LEN(wanted) };
static struct json_names names;

static void check_tap(struct span body, size_t step, bool is_json, const struct span *values)
{
    static char room[64 * 1024];
    struct json_tap t;
    enum err code = ERR_OK;
    json_tap_init(&t, &names, room, sizeof room);
    for (size_t at = 0; at < body.n; at += step)
        code = json_tap_feed(&t, (struct span){body.p + at, MIN(step, body.n - at)});
    ASSERT((code == ERR_OK && json_tap_is_complete(&t)) == is_json);
    for (size_t i = 0; is_json && i < WANTED; i++)
        ASSERT(json_tap_dropped(&t, i) || span_eq(json_tap_value(&t, i), values[i]));
}

/* Every string reads back as it was after the writer wrote it. */
static void check_strings(struct arena *a, const struct json_node *node)
{
    struct span text, again;
    struct builder b;
    struct json_writer w;
    if (node->kind != JSON_STRING)
        return;
    ASSERT(json_node_string(node, a, &text) == ERR_OK);
    builder_init(&b, 1 << 24);
    json_writer_init(&w, &b);
    json_write_string(&w, text);
    ASSERT(json_writer_end(&w) == ERR_OK);
    ASSERT(json_to_string(builder_span(&b), a, &again) == ERR_OK);
    ASSERT(span_eq(text, again));
    builder_deinit(&b);
}

static void check_tree(struct span body, bool is_unique, const struct span *values)
{
    struct arena a;
    const struct json_node *root;
    struct json_report report;
    arena_init(&a, 1 << 28, NULL, 0);
    const enum err code = json_parse(&a, body, JSON_UNIQUE_NAMES, &root, &report);
    ASSERT((code == ERR_OK) == is_unique);
    for (size_t i = 0; is_unique && i < WANTED; i++) {
        const struct json_node *const member = json_find(root, wanted[i]);
        ASSERT((member ? member->raw.p : NULL) == values[i].p);
        ASSERT((member ? member->raw.n : 0) == values[i].n);
    }
    const struct json_node *node = is_unique ? root : NULL;
    for (int n = 0; node && n < 1000; n++) {
        char path[JSON_PATH_MAX];
        check_strings(&a, node);
        ASSERT(json_path(node, path).n <= JSON_PATH_MAX);
        if (node->first) {
            node = node->first;
            continue;
        }
        while (node && !node->next)
            node = node->parent;
        node = node ? node->next : NULL;
    }
    arena_deinit(&a);
}

/* Removing all wanted members and inserting one leaves a valid body that has that one only. */
static void check_edit(struct span body, const struct span *values)
{
    static struct json_pieces pieces;
    struct json_edit edits[WANTED + 1];
    struct span after[WANTED];
    struct json_report report;
    struct builder b;
    size_t count = 0;
    edits[count++] = (struct json_edit){JSON_INSERT, span_trim(body), wanted[0], SPAN("7")};
    for (size_t i = 0; i < WANTED; i++)
        if (values[i].p)
            edits[count++] = (struct json_edit){.change = JSON_REMOVE, .at = values[i]};
    if (json_edit(body, edits, count, &pieces) != ERR_OK)
        return; /* the body is no object, or begins with a line end */
    builder_init(&b, 1 << 24);
    for (size_t i = 0; i < pieces.count; i++)
        builder_add(&b, pieces.piece[i]);
    ASSERT(json_scan(builder_span(&b), &names, 0, after, &report) == ERR_OK);
    ASSERT(span_eq(after[0], SPAN("7")));
    for (size_t i = 1; i < WANTED; i++)
        ASSERT(!after[i].p);
    builder_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span values[WANTED];
    struct json_report report;
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    if (size < 2)
        return 0;
    json_names_init(&names, wanted, WANTED);
    json_kernel_use(kernels[data[0] % count]);
    const struct span body = {(const char *)data + 2, size - 2};
    const bool is_json = json_scan(body, &names, 0, values, &report) == ERR_OK;
    ASSERT(is_json == (report.reason == NULL));
    ASSERT(report.at <= body.n);
    const bool is_unique = json_scan(body, NULL, JSON_UNIQUE_NAMES, NULL, &report) == ERR_OK;
    check_tap(body, 1u + data[1], is_json, values);
    check_tree(body, is_unique, values);
    ASSERT(is_json || !is_unique);
    if (is_json)
        check_edit(body, values);
    return 0;
}
