/* test_json_suite.c -- JSONTestSuite (Nicolas Seriot), read in place: y_ must be accepted, n_ must
 * be refused, of i_ is said what we do; by every reader, with every kernel, and the tap with every
 * document fed by single bytes. */
#include "base/arena.h"
#include "tests/json_reference.h"
#include "tests/test.h"
#include "json/kernel.h"
#include "json/scan.h"
#include "json/tap.h"
#include "json/tree.h"

#include <dirent.h>

enum { DOCUMENT_MAX = 1024 * 1024 };

/* Numbers are not converted, so none is too large; halves of pairs are reported, not refused. All
 * other i_ documents are not UTF-8 or deeper than we go, and are refused. */
static const char *const accepted[] = {
    "i_number_",
    "i_object_key_lone_2nd_surrogate",
    "i_string_1st_surrogate_but_2nd_missing",
    "i_string_1st_valid_surrogate_2nd_invalid",
    "i_string_incomplete_surrogate_and_escape_valid",
    "i_string_incomplete_surrogate_pair",
    "i_string_incomplete_surrogates_escape_valid",
    "i_string_invalid_lonely_surrogate",
    "i_string_invalid_surrogate",
    "i_string_inverted_surrogates_U+1D11E",
    "i_string_lone_second_surrogate",
};

static char document[DOCUMENT_MAX];
static struct json_names no_names;

static bool is_accepted_i(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++)
        if (strncmp(name, accepted[i], strlen(accepted[i])) == 0)
            return true;
    return false;
}

static bool tap_accepts(struct span body, size_t step)
{
    struct json_tap tap;
    json_tap_init(&tap, &no_names, NULL, 0);
    for (size_t at = 0; at < body.n; at += step)
        if (json_tap_feed(&tap, (struct span){body.p + at, MIN(step, body.n - at)}) != ERR_OK)
            return false;
    return json_tap_is_complete(&tap);
}

static bool tree_accepts(struct span body)
{
    struct arena a;
    const struct json_node *root;
    struct json_report report;
    arena_init(&a, (size_t)1 << 28, NULL, 0);
    const bool is_accepted = json_parse(&a, body, 0, &root, &report) == ERR_OK;
    arena_deinit(&a);
    return is_accepted;
}

/* Every reader must say what is expected. */
static bool check_document(const char *name, struct span body, bool expected)
{
    struct json_report report;
    size_t count;
    const struct json_kernel *const *const kernels = json_kernels(&count);
    bool is_right = reference_accepts(body) == expected;
    for (size_t i = 0; i < count; i++) {
        json_kernel_use(kernels[i]);
        is_right &= (json_scan(body, NULL, 0, NULL, &report) == ERR_OK) == expected;
        is_right &= (report.reason == NULL) == expected;
        is_right &= tree_accepts(body) == expected;
        is_right &= tap_accepts(body, body.n) == expected;
        is_right &= tap_accepts(body, 1) == expected;
    }
    const bool is_twice = strstr(name, "y_object_duplicated_key") != NULL;
    const bool is_unique = json_scan(body, NULL, JSON_UNIQUE_NAMES, NULL, &report) == ERR_OK;
    is_right &= is_unique == (expected && !is_twice);
    if (name[0] == 'i')
        printf("# %s: %s\n", name, expected ? "accepted" : report.reason);
    if (!is_right)
        printf("# %s: not as expected (%s)\n", name, expected ? "accept" : "refuse");
    return is_right;
}

static bool read_document(const char *folder, const char *name, struct span *body)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *const f = fopen(path, "rb");
    if (!f)
        return false;
    *body = (struct span){document, fread(document, 1, sizeof document, f)};
    fclose(f);
    return true;
}

static char folder[512];

TEST(every_document_of_the_suite)
{
    int count[3] = {0};
    bool is_right = true;
    DIR *const dir = opendir(folder);
    CHECK(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct span body;
        if (e->d_name[0] == '.')
            continue;
        CHECK(read_document(folder, e->d_name, &body));
        const char kind = e->d_name[0];
        count[kind == 'y' ? 0 : kind == 'n' ? 1 : 2]++;
        is_right &= check_document(e->d_name, body,
                                   kind == 'y' || (kind == 'i' && is_accepted_i(e->d_name)));
    }
    closedir(dir);
    printf("# %d to accept, %d to refuse, %d ours to decide\n", count[0], count[1], count[2]);
    CHECK(is_right);
    CHECK(count[0] >= 95);
    CHECK(count[1] >= 188);
    CHECK(count[2] >= 35);
}

int main(void)
{
    json_names_init(&no_names, NULL, 0);
    snprintf(folder, sizeof folder, "%s/conformance/json/test_parsing", test_shared());
    DIR *const dir = opendir(folder);
    if (dir) {
        closedir(dir);
        RUN(every_document_of_the_suite);
    } else {
        SKIP(every_document_of_the_suite, "the suite is not there; see PENSTOCK_SHARED");
    }
    return TESTS_DONE();
}
