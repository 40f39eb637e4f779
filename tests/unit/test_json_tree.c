#include "json/tree.h"

#include "base/builder.h"
#include "base/limits.h"
#include "tests/test.h"
#include "tests/unit/json_mutate.h"
#include "json/edit.h"
#include "json/write.h"

static const struct json_node *parse(struct arena *a, struct span body)
{
    const struct json_node *root;
    struct json_report report;
    return json_parse(a, body, JSON_UNIQUE_NAMES, &root, &report) == ERR_OK ? root : NULL;
}

#define WITH_TREE(a, root, text)                                                                   \
    struct arena a;                                                                                \
    arena_init(&a, 1 << 24, NULL, 0);                                                              \
    const struct json_node *const root = parse(&a, SPAN(text));                                    \
    CHECK(root)

TEST(a_tree_keeps_order_and_bytes)
{
    WITH_TREE(a, root, " {\"b\" : [1.0, -0 ,1e5],\"a\":{},\"\\u0063\":\"x\\ty\"} ");
    CHECK(root->kind == JSON_OBJECT);
    CHECK(root->count == 3);
    const struct json_node *const b = root->first;
    CHECK(span_eq(b->name, SPAN("b")));
    CHECK(span_eq(b->raw, SPAN("[1.0, -0 ,1e5]")));
    CHECK(b->count == 3);
    CHECK(span_eq(json_at(b, 0)->raw, SPAN("1.0")));
    CHECK(span_eq(json_at(b, 1)->raw, SPAN("-0")));
    CHECK(span_eq(json_at(b, 2)->raw, SPAN("1e5")));
    CHECK(json_at(b, 3) == NULL);
    CHECK(json_node_kind(json_find(root, SPAN("a"))) == JSON_OBJECT);
    CHECK(span_eq(json_find(root, SPAN("c"))->raw, SPAN("\"x\\ty\"")));
    CHECK(json_find(root, SPAN("d")) == NULL);
    CHECK(json_find(json_find(NULL, SPAN("x")), SPAN("y")) == NULL);
    size_t n = 0;
    JSON_EACH(child, root)
    n += child->parent == root;
    CHECK(n == 3);
    arena_deinit(&a);
}

TEST(integers_are_exact_or_refused)
{
    static const struct {
        const char *text;
        bool is_i64, is_u64;
        int64_t i;
        uint64_t u;
    } rows[] = {
        {"0", true, true, 0, 0},
        {"-0", true, false, 0, 0},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", false, true, 0, (uint64_t)INT64_MAX + 1},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"18446744073709551616", false, false, 0, 0},
        {"1.5", false, false, 0, 0},
        {"1.0", false, false, 0, 0},
        {"1e2", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
        {"true", false, false, 0, 0},
        {"null", false, false, 0, 0},
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        const struct span raw = span_of_cstr(rows[r].text);
        int64_t i = 0;
        uint64_t u = 0;
        CHECK((json_to_i64(raw, &i) == ERR_OK) == rows[r].is_i64);
        CHECK((json_to_u64(raw, &u) == ERR_OK) == rows[r].is_u64);
        CHECK(!rows[r].is_i64 || i == rows[r].i);
        CHECK(!rows[r].is_u64 || u == rows[r].u);
    }
}

TEST(strings_are_decoded_or_lent)
{
    WITH_TREE(a, root,
              "[\"plain\",\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\\u00e9\\u20AC\\ud83d\\ude00\","
              "\"\\ud83d!\\ude00\",\"\",\"a\\u0000b\",1]");
    static const struct span texts[] = {
        SPAN_INIT("plain"),
        SPAN_INIT("\"\\/\b\f\n\r\t"),
        SPAN_INIT("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
        SPAN_INIT("\xEF\xBF\xBD!\xEF\xBF\xBD"),
        SPAN_INIT(""),
        SPAN_INIT("a\0b"),
    };
    struct span text;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CHECK(json_node_string(json_at(root, i), &a, &text) == ERR_OK);
        CHECK(span_eq(text, texts[i]));
        CHECK(json_string_is(json_at(root, i)->raw, texts[i]));
        CHECK(!json_string_is(json_at(root, i)->raw, SPAN("plai")));
        CHECK(!json_string_is(json_at(root, i)->raw, SPAN("plain\n")));
    }
    CHECK(json_node_string(json_at(root, 0), &a, &text) == ERR_OK);
    CHECK(text.p == json_at(root, 0)->raw.p + 1); /* no copy */
    CHECK(json_node_string(json_at(root, 6), &a, &text) == ERR_BAD_REQUEST);
    CHECK(json_node_string(NULL, &a, &text) == ERR_BAD_REQUEST);
    arena_deinit(&a);
}

TEST(a_path_leads_to_the_node)
{
    WITH_TREE(a, root, "{\"messages\":[1,2,{\"content\":{\"a b\":{\"q\\\"\":[0,[7]]}}}]}");
    char buffer[JSON_PATH_MAX];
    const struct json_node *n = json_find(json_at(root->first, 2), SPAN("content"));
    CHECK(span_eq(json_path(root, buffer), SPAN("")));
    CHECK(span_eq(json_path(root->first, buffer), SPAN("messages")));
    CHECK(span_eq(json_path(n, buffer), SPAN("messages[2].content")));
    n = json_at(json_at(n->first->first, 1), 0);
    CHECK(span_eq(n->raw, SPAN("7")));
    CHECK(span_eq(json_path(n, buffer), SPAN("messages[2].content[\"a b\"][\"q?\"][1][0]")));
    arena_deinit(&a);
}

TEST(a_long_path_is_cut_in_front)
{
    struct builder b;
    builder_init(&b, 1 << 16);
    for (int i = 0; i < JSON_DEPTH_MAX - 1; i++)
        builder_add(&b, SPAN("{\"some_name\":"));
    builder_add(&b, SPAN("[true]"));
    for (int i = 0; i < JSON_DEPTH_MAX - 1; i++)
        builder_add(&b, SPAN("}"));
    struct arena a;
    arena_init(&a, 1 << 24, NULL, 0);
    const struct json_node *n = parse(&a, builder_span(&b));
    CHECK(n);
    while (n->first)
        n = n->first;
    char buffer[JSON_PATH_MAX];
    const struct span path = json_path(n, buffer);
    CHECK(span_starts(path, SPAN("....some_name.some_name")));
    CHECK(span_ends(path, SPAN("some_name[0]")));
    CHECK(path.n <= JSON_PATH_MAX);
    arena_deinit(&a);
    builder_deinit(&b);
}

TEST(too_many_values_and_too_little_memory_are_errors)
{
    struct builder b;
    const struct json_node *root;
    struct json_report report;
    struct arena a;
    builder_init(&b, 1 << 22);
    builder_add(&b, SPAN("[0"));
    for (int i = 0; i < JSON_NODES_MAX; i++)
        builder_add(&b, SPAN(",0"));
    builder_add(&b, SPAN("]"));
    arena_init(&a, (size_t)1 << 30, NULL, 0);
    CHECK(json_parse(&a, builder_span(&b), 0, &root, &report) == ERR_TOO_LARGE);
    CHECK(strcmp(report.reason, "too many values") == 0);
    arena_deinit(&a);
    arena_init(&a, 4096, NULL, 0);
    CHECK(json_parse(&a, builder_span(&b), 0, &root, &report) == ERR_NO_MEMORY);
    arena_deinit(&a);
    builder_deinit(&b);
}

/* --- walks ---------------------------------------------------------------------------------- */

/* A walk sees what the tree holds. */
static bool walk_agrees(const struct json_node *node)
{
    struct json_walk w = json_walk(node->raw);
    bool is_right = true;
    size_t count = 0;
    JSON_EACH(child, node)
    {
        is_right &= json_walk_next(&w) && w.index == count++;
        is_right &= span_eq(w.value, child->raw) && w.value.p == child->raw.p;
        is_right &= node->kind != JSON_OBJECT || json_string_is(w.name, child->name);
        is_right &= walk_agrees(child);
    }
    return EXPECT(is_right) && EXPECT(!json_walk_next(&w)) && EXPECT(count == node->count);
}

TEST(walks_see_what_the_tree_holds)
{
    char text[MUTATE_MAX];
    int seen = 0;
    for (int i = mutate_tries(100000); i > 0; i--) {
        const struct span body = {text, mutate_body(text)};
        struct arena a;
        arena_init(&a, 1 << 24, NULL, 0);
        const struct json_node *const root = parse(&a, body);
        const bool is_right = !root || walk_agrees(root);
        seen += root != NULL;
        arena_deinit(&a);
        CHECK(is_right);
    }
    CHECK(seen > 1000);
    const struct span object = SPAN("{\"a\":1,\"\\u0062\":[2]}");
    CHECK(span_eq(json_member(object, SPAN("b")), SPAN("[2]")));
    CHECK(json_member(object, SPAN("c")).p == NULL);
    CHECK(json_member(SPAN("[1]"), SPAN("a")).p == NULL);
}

/* --- edits ---------------------------------------------------------------------------------- */

static struct span joined(struct builder *b, const struct json_pieces *pieces)
{
    builder_clear(b);
    for (size_t i = 0; i < pieces->count; i++)
        builder_add(b, pieces->piece[i]);
    return builder_span(b);
}

/* What the edits mean, told by writing the tree anew without white space. */
static void write_edited(struct json_writer *w, const struct json_node *node,
                         const struct json_edit *edits, size_t count)
{
    const struct json_edit *mine = NULL;
    for (size_t i = 0; i < count; i++)
        if (edits[i].change == JSON_REPLACE && edits[i].at.p == node->raw.p)
            mine = &edits[i];
    if (mine || (node->kind != JSON_OBJECT && node->kind != JSON_ARRAY)) {
        json_write_raw(w, mine ? mine->value : node->raw);
        return;
    }
    if (node->kind == JSON_OBJECT)
        json_write_object(w);
    else
        json_write_array(w);
    for (size_t i = 0; i < count; i++) {
        if (edits[i].change == JSON_INSERT && edits[i].at.p == node->raw.p) {
            json_write_name(w, edits[i].name);
            json_write_raw(w, edits[i].value);
        }
    }
    JSON_EACH(child, node)
    {
        bool is_removed = false;
        for (size_t i = 0; i < count; i++)
            is_removed |= edits[i].change == JSON_REMOVE && edits[i].at.p == child->raw.p;
        if (is_removed)
            continue;
        if (node->kind == JSON_OBJECT)
            json_write_name(w, child->name);
        write_edited(w, child, edits, count);
    }
    if (node->kind == JSON_OBJECT)
        json_write_object_end(w);
    else
        json_write_array_end(w);
}

static void write_tree(struct builder *b, const struct json_node *root,
                       const struct json_edit *edits, size_t count)
{
    struct json_writer w;
    builder_clear(b);
    json_writer_init(&w, b);
    write_edited(&w, root, edits, count);
    if (json_writer_end(&w) != ERR_OK)
        builder_clear(b);
}

/* The n-th node in document order. */
static const struct json_node *nth_node(const struct json_node *node, unsigned n)
{
    while (n-- > 0) {
        if (node->first) {
            node = node->first;
            continue;
        }
        while (node && !node->next)
            node = node->parent;
        if (!node)
            return NULL;
        node = node->next;
    }
    return node;
}

static bool edit_equals_tree(struct arena *a, struct span body, const struct json_edit *edits,
                             size_t count)
{
    static struct json_pieces pieces;
    struct builder spliced, expected, seen;
    const struct json_node *const root = parse(a, body);
    if (json_edit(body, edits, count, &pieces) != ERR_OK)
        return true; /* the edits contradict each other: tested below */
    builder_init(&spliced, 1 << 16);
    builder_init(&expected, 1 << 16);
    builder_init(&seen, 1 << 16);
    const struct span text = joined(&spliced, &pieces);
    bool is_right = EXPECT(text.n == pieces.bytes);
    write_tree(&expected, root, edits, count);
    const struct json_node *root_after;
    struct json_report report;
    is_right &= EXPECT(json_parse(a, text, 0, &root_after, &report) == ERR_OK);
    if (is_right) {
        write_tree(&seen, root_after, NULL, 0);
        is_right = EXPECT(span_eq(builder_span(&seen), builder_span(&expected)));
    }
    if (!is_right)
        printf("# %.*s\n# -> %.*s\n", SPAN_ARG(body), SPAN_ARG(text));
    builder_deinit(&spliced);
    builder_deinit(&expected);
    builder_deinit(&seen);
    return is_right;
}

static const struct span edit_bodies[] = {
    SPAN_INIT("{}"),
    SPAN_INIT(" { } "),
    SPAN_INIT("{\"a\":1}"),
    SPAN_INIT("{ \"a\" : 1 }"),
    SPAN_INIT("{\"a\":1,\"b\":[1,2,3],\"c\":{\"d\":null,\"e\":\"x\\\"\"}}"),
    SPAN_INIT(
        "\n{ \"a\" : 1 ,\n \"b\\\"\" : [ 1 , 2 , {} ] ,\t\"\\\\\" : { \"d\" : {} , \"\\\\\\\"\" "
        ": \"x\" } }\n"),
    SPAN_INIT("[[],[1],[{\"a\":{\"b\":{}}},2]]"),
};

TEST(splicing_equals_editing_the_tree)
{
    static const struct span values[] = {SPAN_INIT("null"), SPAN_INIT("\"new\""),
                                         SPAN_INIT("{\"x\":[]}")};
    static const struct span new_names[] = {SPAN_INIT("n1"), SPAN_INIT("n2"), SPAN_INIT("n3"),
                                            SPAN_INIT("n4")};
    int applied = 0;
    for (int i = mutate_tries(200000); i > 0; i--) {
        struct arena a;
        arena_init(&a, 1 << 24, NULL, 0);
        const struct span body = edit_bodies[mutate_random(ARRAY_LEN(edit_bodies))];
        const struct json_node *const root = parse(&a, body);
        struct json_edit edits[4];
        size_t count = 0;
        for (unsigned k = mutate_random(5); k > 0; k--) {
            const struct json_node *const node = nth_node(root, mutate_random(12));
            const enum json_change change = (enum json_change)mutate_random(3);
            if (!node || (change == JSON_INSERT && node->kind != JSON_OBJECT) ||
                (change == JSON_REMOVE && node == root))
                continue;
            edits[count] = (struct json_edit){change, node->raw, new_names[count],
                                              values[mutate_random(ARRAY_LEN(values))]};
            count++;
        }
        applied += count > 1;
        const bool is_right = edit_equals_tree(&a, body, edits, count);
        arena_deinit(&a);
        CHECK(is_right);
    }
    CHECK(applied > 1000);
}

static bool edits_to(const char *body, enum json_change change, const char *at, const char *after)
{
    struct builder b;
    struct json_pieces pieces;
    const struct span s = span_of_cstr(body);
    const struct json_edit edit = {change, {strstr(body, at), strlen(at)}, SPAN("n"), SPAN("0")};
    builder_init(&b, 4096);
    bool is_right = EXPECT(json_edit(s, &edit, 1, &pieces) == ERR_OK);
    if (is_right)
        is_right = EXPECT(span_eq(joined(&b, &pieces), span_of_cstr(after)));
    builder_deinit(&b);
    return is_right;
}

TEST(every_other_byte_stays_as_it_was)
{
    CHECK(edits_to("{ \"a\" : 7 , \"b\":8 }", JSON_REPLACE, "7", "{ \"a\" : 0 , \"b\":8 }"));
    CHECK(edits_to("{ \"a\" : 7 , \"b\":8 }", JSON_REMOVE, "7", "{ \"b\":8 }"));
    CHECK(edits_to("{ \"a\" : 7 , \"b\":8 }", JSON_REMOVE, "8", "{ \"a\" : 7  }"));
    CHECK(edits_to("{\"a\":7}", JSON_REMOVE, "7", "{}"));
    CHECK(edits_to("[1, 7 ,2]", JSON_REMOVE, "7", "[1, 2]"));
    CHECK(edits_to("{ }", JSON_INSERT, "{ }", "{\"n\":0 }"));
    CHECK(edits_to(" {\"a\":7} ", JSON_INSERT, "{\"a\":7}", " {\"n\":0,\"a\":7} "));
    CHECK(edits_to("[{}]", JSON_INSERT, "{}", "[{\"n\":0}]"));
    CHECK(edits_to("7", JSON_REPLACE, "7", "0"));
}

TEST(a_member_can_take_the_place_of_the_first)
{
    const struct span body = SPAN("{\"a\":7,\"b\":8}");
    const struct json_edit insert = {JSON_INSERT, body, SPAN("n"), SPAN("0")};
    const struct json_edit a = {.change = JSON_REMOVE, .at = {body.p + 5, 1}};
    const struct json_edit b = {.change = JSON_REMOVE, .at = {body.p + 11, 1}};
    const struct json_edit orders[][3] = {{insert, a, b}, {a, insert, b}, {b, a, insert}};
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        struct json_pieces pieces;
        struct builder text;
        builder_init(&text, 100);
        CHECK(json_edit(body, orders[i], 3, &pieces) == ERR_OK);
        CHECK(span_eq(joined(&text, &pieces), SPAN("{\"n\":0}")));
        builder_deinit(&text);
    }
}

TEST(edits_that_contradict_are_refused)
{
    const struct span body = SPAN("{\"a\":{\"b\":1},\"c\":2}"), value = SPAN("0");
    const struct span a = {body.p + 5, 7}, b = {body.p + 10, 1}, none = {NULL, 0};
    const struct json_edit rows[][2] = {
        {{JSON_REPLACE, a, none, value}, {JSON_REPLACE, a, none, value}},
        {{JSON_REMOVE, a, none, none}, {JSON_REMOVE, a, none, none}},
        {{JSON_REMOVE, a, none, none}, {JSON_REPLACE, b, none, value}},
        {{JSON_REPLACE, b, none, value}, {JSON_REPLACE, a, none, value}},
        {{JSON_INSERT, a, SPAN("n"), value}, {JSON_REMOVE, a, none, none}},
        {{JSON_INSERT, b, SPAN("n"), value}, {JSON_REMOVE, a, none, none}},
        {{JSON_INSERT, a, SPAN("\"n"), value}, {JSON_REPLACE, b, none, value}},
        {{JSON_REPLACE, none, none, value}, {JSON_REPLACE, b, none, value}},
        {{JSON_REPLACE, value, none, value}, {JSON_REPLACE, b, none, value}},
        {{JSON_REPLACE, a, none, none}, {JSON_INSERT, body, SPAN("n"), value}},
        {{JSON_REMOVE, body, none, none}, {JSON_INSERT, body, SPAN("n"), value}},
    };
    static struct json_pieces pieces;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(json_edit(body, rows[i], 2, &pieces) == ERR_BAD_REQUEST);
        const struct json_edit turned[] = {rows[i][1], rows[i][0]};
        CHECK(json_edit(body, turned, 2, &pieces) == ERR_BAD_REQUEST);
    }
    struct json_edit many[JSON_EDITS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct json_edit){JSON_INSERT, body, SPAN("n"), value};
    CHECK(json_edit(body, many, JSON_EDITS_MAX + 1, &pieces) == ERR_TOO_LARGE);
    CHECK(json_edit(body, many, JSON_EDITS_MAX, &pieces) == ERR_OK);
    CHECK(pieces.count <= JSON_PIECES_MAX);
}

int main(void)
{
    RUN(a_tree_keeps_order_and_bytes);
    RUN(integers_are_exact_or_refused);
    RUN(strings_are_decoded_or_lent);
    RUN(a_path_leads_to_the_node);
    RUN(a_long_path_is_cut_in_front);
    RUN(too_many_values_and_too_little_memory_are_errors);
    RUN(walks_see_what_the_tree_holds);
    RUN(splicing_equals_editing_the_tree);
    RUN(every_other_byte_stays_as_it_was);
    RUN(a_member_can_take_the_place_of_the_first);
    RUN(edits_that_contradict_are_refused);
    return TESTS_DONE();
}
