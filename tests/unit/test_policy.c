#include "base/mem.h"
#include "gate/policy.h"
#include "net/origin.h"
#include "tests/test.h"

TEST(a_star_stands_for_any_run_of_bytes)
{
    struct span star;
    CHECK(pattern_matches(SPAN("claude-*"), SPAN("claude-haiku"), &star));
    CHECK(span_eq(star, SPAN("haiku")));
    CHECK(pattern_matches(SPAN("claude-*"), SPAN("claude-"), &star) && star.n == 0);
    CHECK(!pattern_matches(SPAN("claude-*"), SPAN("claude"), &star) && star.n == 0);
    CHECK(pattern_matches(SPAN("*-latest"), SPAN("gpt-latest"), &star));
    CHECK(span_eq(star, SPAN("gpt")));
    CHECK(pattern_matches(SPAN("a*b"), SPAN("a/x/b"), &star) && span_eq(star, SPAN("/x/")));
    CHECK(!pattern_matches(SPAN("ab*ba"), SPAN("aba"), &star)); /* the ends may not overlap */
    CHECK(pattern_matches(SPAN("*"), SPAN(""), &star) && star.n == 0);
    CHECK(pattern_matches(SPAN("exact"), SPAN("exact"), NULL));
    CHECK(!pattern_matches(SPAN("exact"), SPAN("exactly"), NULL));
    CHECK(!pattern_matches(SPAN(""), SPAN("x"), NULL));
}

/* For every short pattern and text over two letters: as a search by trying every cut says. */
TEST(patterns_match_as_an_exhaustive_search_says)
{
    static const char letters[] = "ab*";
    for (int code = 0; code < 3 * 3 * 3 * 3; code++) {
        char p[4];
        int stars = 0;
        for (int i = 0, rest = code; i < 4; i++, rest /= 3)
            stars += (p[i] = letters[rest % 3]) == '*';
        if (stars > 1)
            continue;
        for (int bits = 0; bits < 64; bits++) {
            char t[6];
            for (int i = 0; i < 6; i++)
                t[i] = bits >> i & 1 ? 'a' : 'b';
            for (size_t n = 0; n <= 6; n++) {
                bool expected = false;
                for (size_t run = 0; run <= 6; run++) {
                    char filled[16];
                    size_t at = 0;
                    for (int i = 0; i < 4; i++) {
                        size_t first = at; /* the star stands for these bytes of the text */
                        for (size_t k = 0; p[i] == '*' && k < run && first + k < n; k++)
                            filled[at++] = t[first + k];
                        if (p[i] != '*')
                            filled[at++] = p[i];
                    }
                    expected |= at == n && memcmp(filled, t, n) == 0;
                }
                CHECK(pattern_matches(span(p, 4), span(t, n), NULL) == expected);
            }
        }
    }
}

static struct model models[] = {
    {.name = SPAN_INIT("*")},          {.name = SPAN_INIT("claude-*")},
    {.name = SPAN_INIT("gpt-4o")},     {.name = SPAN_INIT("claude-opus-*")},
    {.name = SPAN_INIT("claude-own")}, {.name = SPAN_INIT("*-opus-long")},
};

static struct policy *policy_with_models(void)
{
    struct policy *p = policy_new();
    p->models = ARENA_NEW_ARRAY(&p->arena, struct model *, ARRAY_LEN(models));
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        p->models[p->model_count++] = &models[i];
        if (span_find(models[i].name, '*') == models[i].name.n &&
            map_put(&p->models_by_name, models[i].name, &models[i]) != ERR_OK)
            abort();
    }
    policy_sort_models(p);
    return p;
}

TEST(names_come_before_patterns_and_long_patterns_before_short)
{
    static const struct {
        const char *word, *found, *star;
    } cases[] = {
        {"gpt-4o", "gpt-4o", ""},
        {"claude-own", "claude-own", ""},
        {"claude-haiku", "claude-*", "haiku"},
        {"claude-opus-4", "claude-opus-*", "4"},
        {"claude-opus-long", "claude-opus-*", "long"}, /* 13 bytes against 11 */
        {"x-opus-long", "*-opus-long", "x"},
        {"anything", "*", "anything"},
        {"", "*", ""},
    };
    struct policy *p = policy_with_models();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span star;
        const struct model *m = policy_find_model(p, span_of_cstr(cases[i].word), &star);
        CHECK(m != NULL);
        CHECK(span_eq(m->name, span_of_cstr(cases[i].found)));
        CHECK(span_eq(star, span_of_cstr(cases[i].star)));
    }
    policy_unref(p);
}

TEST(without_a_match_there_is_no_model)
{
    struct policy *p = policy_new();
    struct span star = SPAN("left over");
    CHECK(policy_find_model(p, SPAN("gpt-4o"), &star) == NULL);
    CHECK(star.n == 0);
    policy_unref(p);
}

TEST(a_key_is_found_by_its_text_only)
{
    struct policy *p = policy_new();
    static struct key keys[100];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char text[32];
        bool is_new = false;
        int n = snprintf(text, sizeof text, "a-rather-long-key-%zu", i);
        CHECK(policy_add_key(p, &keys[i], span(text, (size_t)n), &is_new) == ERR_OK && is_new);
        CHECK(policy_add_key(p, &keys[0], span(text, (size_t)n), &is_new) == ERR_OK && !is_new);
        CHECK(policy_find_key(p, span(text, (size_t)n)) == &keys[i]);
        CHECK(policy_find_key(p, span(text, (size_t)n - 1)) == (i < 10 ? NULL : &keys[i / 10]));
    }
    CHECK(policy_find_key(p, SPAN("")) == NULL);
    CHECK(policy_find_key(p, SPAN("a-rather-long-key-100")) == NULL);
    policy_unref(p);
}

TEST(digests_differ_between_snapshots)
{
    struct policy *p = policy_new(), *q = policy_new();
    struct key k = {0}, l = {0};
    bool is_new;
    CHECK(policy_add_key(p, &k, SPAN("the same text here"), &is_new) == ERR_OK);
    CHECK(policy_add_key(q, &l, SPAN("the same text here"), &is_new) == ERR_OK);
    CHECK(!hash128_eq(k.digest, l.digest));
    CHECK(q->generation == p->generation + 1);
    policy_unref(p);
    policy_unref(q);
}

TEST(all_levels_must_allow_a_model)
{
    struct span team_names[] = {SPAN("gpt-*"), SPAN("fast")};
    struct span own_names[] = {SPAN("gpt-4o"), SPAN("o1")};
    const struct allowed team = {.names = team_names, .count = 2};
    struct key k = {0};
    CHECK(key_allows_model(&k, SPAN("anything")));
    k.above[1] = &team;
    CHECK(key_allows_model(&k, SPAN("gpt-4o")) && key_allows_model(&k, SPAN("fast")));
    CHECK(!key_allows_model(&k, SPAN("o1")));
    k.models = own_names;
    k.model_count = 2;
    CHECK(key_allows_model(&k, SPAN("gpt-4o")));
    CHECK(!key_allows_model(&k, SPAN("fast")) && !key_allows_model(&k, SPAN("o1")));
}

static int freed;

static void count_free(void *arg)
{
    (void)arg;
    freed++;
}

TEST(the_last_reference_frees)
{
    freed = 0;
    struct policy *p = policy_new();
    CHECK(arena_defer(&p->arena, count_free, NULL));
    CHECK(policy_ref(p) == p);
    policy_unref(p);
    CHECK(freed == 0);
    policy_unref(p);
    CHECK(freed == 1);
}

/* --- origins and the catalogue ------------------------------------------------------------------
 */

TEST(urls_are_cut_into_origins)
{
    static const struct {
        const char *url, *name, *authority, *path;
    } cases[] = {
        {"https://api.openai.com/v1", "https://api.openai.com:443", "api.openai.com", "/v1"},
        {"https://api.openai.com/v1/", "https://api.openai.com:443", "api.openai.com", "/v1"},
        {"http://10.0.0.5:8000/v1", "http://10.0.0.5:8000", "10.0.0.5:8000", "/v1"},
        {"http://host", "http://host:80", "host", ""},
        {"http://host/", "http://host:80", "host", ""},
        {"http://host//", "http://host:80", "host", ""},
        {"https://[::1]:8443/a/b", "https://[::1]:8443", "[::1]:8443", "/a/b"},
        {"https://[fe80::1]", "https://[fe80::1]:443", "[fe80::1]", ""},
        {"http://a_b.c-d.e:65535", "http://a_b.c-d.e:65535", "a_b.c-d.e:65535", ""},
        {"unix:/run/x.sock", "unix:/run/x.sock", "localhost", ""},
        {"unix:/run/x.sock:/v1/", "unix:/run/x.sock", "localhost", "/v1"},
        {"unix:@abstract:/v1", "unix:@abstract", "localhost", "/v1"},
    };
    struct arena a;
    arena_init(&a, 1 << 20, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct origin o = {0};
        struct span path;
        const char *why = NULL;
        CHECK(origin_parse_url(span_of_cstr(cases[i].url), &o, &path, &why) == ERR_OK);
        CHECK(origin_seal(&o, &a) == ERR_OK);
        CHECK(span_eq(o.name, span_of_cstr(cases[i].name)));
        CHECK(span_eq(o.authority, span_of_cstr(cases[i].authority)));
        CHECK(span_eq(path, span_of_cstr(cases[i].path)));
    }
    arena_deinit(&a);
}

TEST(what_is_no_url_is_refused_with_a_reason)
{
    static const char *const wrong[] = {
        "",
        "api.openai.com",
        "ftp://x",
        "http://",
        "http:///v1",
        "http://:80",
        "http://u:p@x",
        "http://u@x/v1",
        "http://x:0",
        "http://x:65536",
        "http://x:",
        "http://x:8o",
        "http://x:-1",
        "http://x?q",
        "http://x/v1?a=b",
        "http://x/v1#f",
        "http://x y",
        "http://x/a b",
        "http://x/\x7f",
        "http://x/\xc3\xa9",
        "http://[::1",
        "http://[x]",
        "http://[]",
        "http://[::1]x",
        "http://10.0.0.256",
        "http://10.0.0",
        "http://1.2.3.4.5",
        "http://01.2.3.4",
        "http://a..b",
        "http://.a",
        "http://evil#.openai.azure.com",
        "http://a@b",
        "http://a\\b",
        "http://a%00b",
        "HTTPS://x",
        "unix:",
        "unix:relative",
        "unix:/x:v1",
        "unix:@",
        "https://x\n/v1",
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct origin o = {0};
        struct span path;
        const char *why = NULL;
        bool refused = origin_parse_url(span_of_cstr(wrong[i]), &o, &path, &why) != ERR_OK;
        if (!refused || !why)
            printf("# %s\n", wrong[i]);
        CHECK(refused && why);
    }
}

TEST(proxies_carry_their_credentials_as_a_header)
{
    struct arena a;
    arena_init(&a, 1 << 20, NULL, 0);
    struct origin o = {0};
    const char *why = NULL;
    /* RFC 7617, section 2: the user Aladdin with the password "open sesame". */
    CHECK(origin_parse_proxy(SPAN("http://Aladdin:open%20sesame@proxy.local:8888"), &a, &o, &why) ==
          ERR_OK);
    CHECK(span_eq(o.proxy_authorization, SPAN("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
    CHECK(span_eq(o.proxy_host, SPAN("proxy.local")) && o.proxy_port == 8888);
    CHECK(origin_parse_proxy(SPAN("http://proxy/"), &a, &o, &why) == ERR_OK);
    CHECK(o.proxy_authorization.n == 0 && o.proxy_port == 3128);
    CHECK(origin_parse_proxy(SPAN("https://proxy"), &a, &o, &why) == ERR_BAD_REQUEST);
    CHECK(origin_parse_proxy(SPAN("http://a%0ab:c@proxy"), &a, &o, &why) == ERR_BAD_REQUEST);
    CHECK(origin_parse_proxy(SPAN("http://a%3ab:c@proxy"), &a, &o, &why) == ERR_BAD_REQUEST);
    CHECK(origin_parse_proxy(SPAN("http://a%zz:c@proxy"), &a, &o, &why) == ERR_BAD_REQUEST);
    arena_deinit(&a);
}

/* Each field alone keeps two origins apart. */
TEST(only_equal_origins_share_an_id)
{
    struct origin o[9];
    struct arena a;
    arena_init(&a, 1 << 20, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        o[i] = (struct origin){.tls = true, .host = SPAN("x"), .port = 443, .authority = SPAN("x")};
    }
    o[1].tls = false;
    o[2].port = 444;
    o[3].authority = SPAN("y");
    o[4].version = HTTP_VERSION_2;
    o[5].ca_file = SPAN("f");
    o[6].certificate_file = SPAN("f");
    o[7].proxy_host = SPAN("f");
    o[8].proxy_authorization = SPAN("f");
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        CHECK(origin_seal(&o[i], &a) == ERR_OK);
        for (size_t k = 0; k < i; k++)
            CHECK(!span_eq(o[i].id, o[k].id));
    }
    struct origin same = o[8];
    CHECK(origin_seal(&same, &a) == ERR_OK && span_eq(same.id, o[8].id));
    arena_deinit(&a);
}

TEST(the_catalogue_is_sorted_and_its_urls_are_right)
{
    size_t count;
    const struct catalogue_entry *rows = catalogue_rows(&count);
    CHECK(count >= 25);
    for (size_t i = 0; i < count; i++) {
        struct origin o = {0};
        struct span path;
        const char *why = NULL;
        CHECK(i == 0 || strcmp(rows[i - 1].name, rows[i].name) < 0);
        CHECK(catalogue_find(span_of_cstr(rows[i].name)) == &rows[i]);
        CHECK(rows[i].dialects != 0 && rows[i].dialects < 1u << DIALECT_COUNT);
        CHECK(!rows[i].base_url ||
              origin_parse_url(span_of_cstr(rows[i].base_url), &o, &path, &why) == ERR_OK);
        /* A key never leaves in the clear. */
        CHECK(!rows[i].base_url || !rows[i].key_variable || o.tls);
    }
    CHECK(catalogue_find(SPAN("mock")) == NULL && catalogue_find(SPAN("")) == NULL);
}

TEST(dialects_have_the_words_of_the_contract)
{
    static const char *const words[] = {
        "openai", "openai-responses", "azure",  "anthropic", "gemini",
        "vertex", "bedrock",          "cohere", "mistral",   "ollama"};
    CHECK(ARRAY_LEN(words) == DIALECT_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        CHECK(dialect_find(span_of_cstr(words[i])) == (enum dialect)i);
        CHECK(span_eq(dialect_name((enum dialect)i), span_of_cstr(words[i])));
    }
    CHECK(dialect_find(SPAN("OpenAI")) == DIALECT_COUNT);
}

int main(void)
{
    RUN(a_star_stands_for_any_run_of_bytes);
    RUN(patterns_match_as_an_exhaustive_search_says);
    RUN(names_come_before_patterns_and_long_patterns_before_short);
    RUN(without_a_match_there_is_no_model);
    RUN(a_key_is_found_by_its_text_only);
    RUN(digests_differ_between_snapshots);
    RUN(all_levels_must_allow_a_model);
    RUN(the_last_reference_frees);
    RUN(urls_are_cut_into_origins);
    RUN(what_is_no_url_is_refused_with_a_reason);
    RUN(proxies_carry_their_credentials_as_a_header);
    RUN(only_equal_origins_share_an_id);
    RUN(the_catalogue_is_sorted_and_its_urls_are_right);
    RUN(dialects_have_the_words_of_the_contract);
    return TESTS_DONE();
}
