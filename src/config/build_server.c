#include "config/build.h"

static enum err copy_text(struct build *b, const struct node *section, const char *word,
                          struct span *copy)
{
    TRY_ALLOC(arena_dup(&b->config->arena, node_text(section, word), copy));
    return ERR_OK;
}

/* An address is a text, or a mapping with its TLS. */
static enum err build_address(struct build *b, const struct node *n, struct config_listen *l)
{
    if (n->kind == NODE_SCALAR) {
        TRY_ALLOC(arena_dup(&b->config->arena, n->text, &l->address));
        return ERR_OK;
    }
    const struct node *tls = node_get(n, "tls");
    TRY(copy_text(b, n, "address", &l->address));
    TRY(copy_text(b, tls, "certificate", &l->certificate_file));
    TRY(copy_text(b, tls, "key", &l->key_file));
    TRY(copy_text(b, tls, "client_ca", &l->client_ca_file));
    return ERR_OK;
}

static bool is_any_port(struct span address)
{
    return span_ends(address, SPAN(":0")) && !span_starts(address, SPAN("unix:"));
}

static void check_listened_once(struct build *b, const struct node *n,
                                const struct config_listen *one)
{
    const struct config *c = b->config;
    for (size_t i = 0; i < c->listen_count; i++) {
        if (&c->listen[i] != one && span_eq(c->listen[i].address, one->address) &&
            one->address.n > 0 && !is_any_port(one->address))
            report_error(b->report, n->at, "%s is listened on already; write each address once",
                         report_quote(b->report, one->address));
    }
}

static enum err add_listen(struct build *b, const struct node *n)
{
    struct config *c = b->config;
    if (c->listen_count == LISTEN_MAX) {
        report_error(b->report, n->at, "there are too many addresses; the most is %d", LISTEN_MAX);
        return ERR_OK;
    }
    struct config_listen *l = &c->listen[c->listen_count];
    TRY(build_address(b, n, l));
    check_listened_once(b, n, l);
    c->listen_count++;
    return ERR_OK;
}

static enum err build_listen(struct build *b)
{
    const struct node *n = node_get(b->root, "listen");
    if (!n)
        return ERR_OK;
    if (n->kind != NODE_LIST)
        return add_listen(b, n);
    if (n->count == 0)
        report_error(b->report, n->at, "listen: the list is empty; write at least one address");
    NODE_EACH(n, child)
    {
        if (child->is_valid)
            TRY(add_listen(b, child));
    }
    return ERR_OK;
}

static enum err build_admin(struct build *b)
{
    const struct node *admin = node_get(b->root, "admin");
    const struct node *listen = node_get(admin, "listen");
    TRY(build_secret(&b->config->arena, node_text(admin, "key"), &b->config->admin_key));
    if (listen) {
        TRY(build_address(b, listen, &b->config->admin_listen));
        check_listened_once(b, listen, &b->config->admin_listen);
    }
    return ERR_OK;
}

static uint32_t small_number(const struct node *section, const char *word)
{
    int64_t n = node_number(section, word);
    ASSERT(n >= 0 && n <= UINT32_MAX); /* the schema's bounds are narrower */
    return (uint32_t)n;
}

static void build_bounds(struct build *b)
{
    struct config *c = b->config;
    const struct node *limits = node_get(b->root, "limits");
    const struct node *timeouts = node_get(b->root, "timeouts");
    c->body_max = (uint64_t)node_number(limits, "body");
    c->memory_max = (uint64_t)node_number(limits, "memory");
    c->connections_max = small_number(limits, "connections");
    c->requests_max = small_number(limits, "requests");
    c->header_timeout_ns = node_number(timeouts, "header");
    c->body_timeout_ns = node_number(timeouts, "body");
    c->write_timeout_ns = node_number(timeouts, "write");
    c->keepalive_timeout_ns = node_number(timeouts, "keepalive");
    c->drain_timeout_ns = node_number(timeouts, "drain");
    b->policy->timeout_ns = node_number(timeouts, "call");
    c->half_close = (enum half_close)node_number(b->root, "client_half_close");
}

enum err build_server(struct build *b)
{
    TRY(build_listen(b));
    TRY(build_admin(b));
    /* "auto" is choice 0 of its shape, so its number is 0 too: one a core. */
    b->config->workers = small_number(b->root, "workers");
    TRY(copy_text(b, b->root, "access_log", &b->config->access_log));
    TRY(copy_text(b, b->root, "store", &b->config->store));
    build_bounds(b);
    return ERR_OK;
}
