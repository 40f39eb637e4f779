#include "config/build.h"
#include "config/suggest.h"

static const struct span mock_name = SPAN_INIT("mock");

/* What one provider is made from. */
struct making {
    struct build *build;
    const struct node *node;
    const struct catalogue_entry *entry; /* NULL: the name is not in the catalogue */
    struct provider *provider;
};

static struct arena *arena_of(const struct making *m)
{
    return &m->build->policy->arena;
}

static enum err copy_text(const struct making *m, const char *word, struct span *copy)
{
    TRY_ALLOC(arena_dup(arena_of(m), node_text(m->node, word), copy));
    return ERR_OK;
}

static uint32_t read_dialects(const struct making *m)
{
    const struct node *n = node_get(m->node, "dialect");
    uint32_t set = 0;
    if (!n)
        return m->entry ? m->entry->dialects : 0;
    if (n->kind == NODE_SCALAR)
        return 1u << n->number;
    NODE_EACH(n, child)
    {
        if (child->is_valid)
            set |= 1u << child->number;
    }
    if (n->count == 0)
        report_error(m->build->report, n->at, "dialect: the list is empty; write what %s speaks",
                     report_quote(m->build->report, m->node->key));
    return set;
}

/* A name that is neither in the catalogue nor explained is more likely a slip of the finger. */
static void tell_incomplete(const struct making *m, const char *missing)
{
    struct report *report = m->build->report;
    struct suggestion s;
    suggest_init(&s, m->node->key);
    size_t count;
    const struct catalogue_entry *rows = catalogue_rows(&count);
    for (size_t i = 0; i < count && !m->entry; i++)
        suggest_offer(&s, span_of_cstr(rows[i].name));
    const char *quoted = report_quote(report, m->node->key);
    if (m->entry)
        report_error(report, m->node->key_at, "the provider %s needs the word \"%s\"", quoted,
                     missing);
    else if (s.nearest.n > 0)
        report_error(report, m->node->key_at,
                     "the provider %s is not in the catalogue and has no \"%s\"; did you mean %s?",
                     quoted, missing, report_quote(report, s.nearest));
    else
        report_error(report, m->node->key_at,
                     "the provider %s is not in the catalogue and needs \"dialect\" and "
                     "\"base_url\"",
                     quoted);
}

static bool path_has_version(struct span path)
{
    const char *slash = path.n > 0 ? memrchr(path.p, '/', path.n) : NULL;
    return slash && path.p + path.n - slash > 2 && slash[1] == 'v' && slash[2] >= '1' &&
           slash[2] <= '9';
}

/* Both mistakes end in a 404 of every call, far from the file. */
static void check_version(const struct making *m, const struct node *url)
{
    const uint32_t with =
        1u << DIALECT_OPENAI | 1u << DIALECT_OPENAI_RESPONSES | 1u << DIALECT_MISTRAL;
    const uint32_t without = 1u << DIALECT_ANTHROPIC | 1u << DIALECT_GEMINI | 1u << DIALECT_COHERE |
                             1u << DIALECT_OLLAMA;
    const struct provider *p = m->provider;
    if (!(p->dialects & without) && (p->dialects & with) && p->path.n == 0)
        report_warning(m->build->report, url->at,
                       "base_url: for this dialect it includes the version, as in %.*s/v1",
                       SPAN_ARG(p->origin.name));
    if (!(p->dialects & with) && (p->dialects & without) && path_has_version(p->path))
        report_warning(m->build->report, url->at,
                       "base_url: for this dialect it ends before the version, as in %.*s",
                       SPAN_ARG(p->origin.name));
}

static enum err build_proxy(const struct making *m)
{
    const char *why;
    struct span url;
    TRY(copy_text(m, "proxy", &url));
    if (url.n == 0)
        return ERR_OK;
    return origin_parse_proxy(url, arena_of(m), &m->provider->origin, &why);
}

static enum err build_origin(const struct making *m)
{
    struct provider *p = m->provider;
    const struct node *word = node_get(m->node, "base_url");
    struct span url = word       ? word->text
                      : m->entry ? span_of_cstr(m->entry->base_url ? m->entry->base_url : "")
                                 : span(NULL, 0);
    if (url.n == 0) {
        /* Told already when it is there and wrong. */
        if (!node_child(m->node, SPAN("base_url")))
            tell_incomplete(m, "base_url");
        return ERR_OK;
    }
    TRY_ALLOC(arena_dup(arena_of(m), url, &url));
    const char *why;
    enum err code = origin_parse_url(url, &p->origin, &p->path, &why);
    ASSERT(code == ERR_OK); /* the schema and the tests of the catalogue have seen to it */
    p->origin.version = (enum http_version_policy)node_number(m->node, "http");
    TRY(copy_text(m, "ca_file", &p->origin.ca_file));
    TRY(copy_text(m, "certificate", &p->origin.certificate_file));
    TRY(copy_text(m, "key", &p->origin.key_file));
    TRY(build_proxy(m));
    TRY(origin_seal(&p->origin, arena_of(m)));
    if (word)
        check_version(m, word);
    return ERR_OK;
}

static void check_certificate(const struct making *m)
{
    const struct node *certificate = node_get(m->node, "certificate");
    const struct node *key = node_get(m->node, "key");
    if (!certificate != !key)
        report_error(m->build->report, certificate ? certificate->at : key->at,
                     "certificate and key belong together; write \"%s\" too",
                     certificate ? "key" : "certificate");
}

/* The mock's socket is made by the server at start; until then its origin has no address. */
static enum err build_mock(const struct making *m)
{
    struct provider *p = m->provider;
    p->is_mock = true;
    p->is_available = true;
    p->dialects = 1u << DIALECT_OPENAI;
    p->origin.name = p->origin.id = p->origin.authority = mock_name;
    p->path = SPAN("/v1");
    return ERR_OK;
}

static enum err build_provider(const struct making *m)
{
    struct provider *p = m->provider;
    const struct node *node = m->node;
    p->is_private = node_number(node, "private") != 0;
    p->max_concurrent = (uint32_t)node_number(node, "max_concurrent");
    p->connect_timeout_ns = node_number(node, "connect_timeout");
    p->first_byte_timeout_ns = node_number(node, "first_byte_timeout");
    p->idle_timeout_ns = node_number(node, "idle_timeout");
    TRY(copy_text(m, "region", &p->region));
    TRY(build_secret(arena_of(m), node_text(node, "api_key"), &p->api_key));
    if (span_eq(node->key, mock_name) && !node_child(node, SPAN("base_url")))
        return build_mock(m);
    p->dialects = read_dialects(m);
    if (p->dialects == 0 && !node_child(node, SPAN("dialect"))) {
        tell_incomplete(m, "dialect");
        return ERR_OK;
    }
    check_certificate(m);
    TRY(build_origin(m));
    bool wants_key = m->entry && m->entry->key_variable && !node_get(node, "base_url");
    p->is_available = !wants_key || p->api_key.private_bytes.n > 0;
    return ERR_OK;
}

enum err build_providers(struct build *b)
{
    struct policy *policy = b->policy;
    const struct node *all = node_get(b->root, "providers");
    if (all && all->kind != NODE_MAPPING)
        return ERR_OK;
    if (!all || all->count == 0) {
        report_warning(b->report, b->root->at,
                       "there are no providers: no call can be answered; add \"providers\"");
        return ERR_OK;
    }
    policy->providers = ARENA_NEW_ARRAY(&policy->arena, struct provider *, all->count);
    TRY_ALLOC(policy->providers);
    NODE_EACH(all, n)
    {
        struct provider *p = ARENA_NEW(&policy->arena, struct provider);
        TRY_ALLOC(p);
        TRY_ALLOC(arena_dup(&policy->arena, n->key, &p->name));
        TRY(map_put(&policy->providers_by_name, p->name, p));
        policy->providers[policy->provider_count++] = p;
        /* Of a provider that is no mapping only its name is of use, for the checks to come. */
        if (n->kind == NODE_MAPPING)
            TRY(build_provider(&(struct making){
                .build = b, .node = n, .entry = catalogue_find(n->key), .provider = p}));
    }
    return ERR_OK;
}
