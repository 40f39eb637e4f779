#include "base/sys.h"
#include "config/build.h"

/* A key's own place among organisations, teams and users; NULL where it names none. */
struct owner {
    const struct node *organisation, *team, *user;
};

/* The list of allowed models of a level, made once however many keys belong to it. */
static enum err find_allowed(struct build *b, struct map *lists, const struct node *level,
                             const struct allowed **result)
{
    *result = NULL;
    const struct node *list = level ? node_get(level, "models") : NULL;
    if (!list || list->kind != NODE_LIST)
        return ERR_OK;
    struct node **id = ARENA_NEW(b->scratch, struct node *);
    TRY_ALLOC(id);
    memcpy(id, &list, sizeof list);
    struct span name = span((const char *)id, sizeof *id);
    struct allowed *a = map_get(lists, name);
    if (!a) {
        a = ARENA_NEW(&b->policy->arena, struct allowed);
        TRY_ALLOC(a);
        TRY(build_names(b, list, &a->names, &a->count));
        TRY(map_put(lists, name, a));
    }
    *result = a;
    return ERR_OK;
}

/* Levels without a key are checked too: a slip in a team's list is a slip. */
static enum err check_levels(struct build *b, struct map *lists)
{
    const struct allowed *unused;
    NODE_EACH(node_get(b->root, "organisations"), organisation)
    {
        TRY(find_allowed(b, lists, organisation, &unused));
        NODE_EACH(node_get(organisation, "teams"), team)
        {
            if (span_find(team->key, '/') < team->key.n)
                report_error(b->report, team->key_at,
                             "%s holds a slash; a team is called ORGANISATION/TEAM elsewhere",
                             report_quote(b->report, team->key));
            TRY(find_allowed(b, lists, team, &unused));
            NODE_EACH(node_get(team, "users"), user)
            {
                TRY(find_allowed(b, lists, user, &unused));
            }
        }
    }
    return ERR_OK;
}

static void find_owner(struct build *b, const struct node *n, struct owner *o)
{
    *o = (struct owner){NULL, NULL, NULL};
    const struct node *team = node_get(n, "team"), *user = node_get(n, "user");
    const struct node *all = node_get(b->root, "organisations");
    if (user && !node_child(n, SPAN("team")))
        report_error(b->report, user->at, "a key with a user needs its team; add \"team\"");
    if (!team)
        return;
    struct span organisation_name, team_name;
    span_cut(team->text, '/', &organisation_name, &team_name);
    o->organisation = all ? node_child(all, organisation_name) : NULL;
    if (!o->organisation) {
        build_tell_unknown(b, team->at, "organisation", organisation_name, all);
        return;
    }
    const struct node *teams = node_get(o->organisation, "teams");
    o->team = teams ? node_child(teams, team_name) : NULL;
    if (!o->team) {
        build_tell_unknown(b, team->at, "team", team_name, teams);
        return;
    }
    const struct node *users = node_get(o->team, "users");
    o->user = users && user ? node_child(users, user->text) : NULL;
    if (user && !o->user)
        build_tell_unknown(b, user->at, "user", user->text, users);
}

static enum err copy_name(struct build *b, const struct node *level, struct span *name)
{
    if (level)
        TRY_ALLOC(arena_dup(&b->policy->arena, level->key, name));
    return ERR_OK;
}

static enum err build_owner(struct build *b, const struct node *n, struct key *k, struct map *lists)
{
    struct owner o;
    find_owner(b, n, &o);
    TRY(copy_name(b, o.organisation, &k->organisation));
    TRY(copy_name(b, o.team, &k->team));
    TRY(copy_name(b, o.user, &k->user));
    TRY(find_allowed(b, lists, o.organisation, &k->above[0]));
    TRY(find_allowed(b, lists, o.team, &k->above[1]));
    return find_allowed(b, lists, o.user, &k->above[2]);
}

static void build_route(struct build *b, const struct node *n, struct key *k)
{
    const struct node *route = node_get(n, "route");
    if (!route)
        return;
    k->route = map_get(&b->policy->routes_by_name, route->text);
    if (!k->route)
        build_tell_unknown(b, route->at, "route", route->text, node_get(b->root, "routes"));
}

static void build_expiry(struct build *b, const struct node *n, struct key *k)
{
    const struct node *expires = node_get(n, "expires");
    if (!expires)
        return;
    k->expires_wall_ns = expires->number;
    if (expires->number <= wall_ns())
        report_warning(b->report, expires->at, "the key %s has expired: it answers 401",
                       report_quote(b->report, k->name));
}

/* Puts it under its text, which no other key may have. */
static enum err enter_key(struct build *b, const struct node *n, struct key *k)
{
    const struct node *text = node_get(n, "key");
    if (!text)
        return ERR_OK;
    bool is_new;
    TRY(policy_add_key(b->policy, k, text->text, &is_new));
    if (!is_new)
        report_error(b->report, text->at, "key: the key %s has the same text; give each its own",
                     report_quote(b->report, policy_find_key(b->policy, text->text)->name));
    return ERR_OK;
}

static enum err check_name(struct build *b, const struct node *n, struct map *names)
{
    const struct node *name = node_get(n, "name");
    if (!name)
        return ERR_OK;
    const struct node *before = map_get(names, name->text);
    if (before) {
        report_error(b->report, name->at, "name: the key on line %u is called %s already",
                     before->at.line, report_quote(b->report, name->text));
        return ERR_OK;
    }
    union {
        const struct node *read;
        void *write;
    } value = {.read = name}; /* the map only lends it back */
    return map_put(names, name->text, value.write);
}

static enum err build_key(struct build *b, const struct node *n, struct map *names,
                          struct map *lists)
{
    struct policy *p = b->policy;
    struct key *k = ARENA_NEW(&p->arena, struct key);
    TRY_ALLOC(k);
    TRY_ALLOC(arena_dup(&p->arena, node_text(n, "name"), &k->name));
    TRY(check_name(b, n, names));
    TRY(build_owner(b, n, k, lists));
    build_route(b, n, k);
    build_expiry(b, n, k);
    TRY(build_names(b, node_get(n, "models"), &k->models, &k->model_count));
    TRY(enter_key(b, n, k));
    p->keys[p->key_count++] = k;
    return ERR_OK;
}

static enum err build_all_keys(struct build *b, const struct node *all, struct map *names,
                               struct map *lists)
{
    TRY(check_levels(b, lists));
    if (!all || all->kind != NODE_LIST || all->count == 0)
        return ERR_OK;
    b->policy->keys = ARENA_NEW_ARRAY(&b->policy->arena, struct key *, all->count);
    TRY_ALLOC(b->policy->keys);
    NODE_EACH(all, n)
    {
        if (n->kind == NODE_MAPPING)
            TRY(build_key(b, n, names, lists));
    }
    return ERR_OK;
}

/* One text must not open both doors. */
static void check_admin_key(struct build *b)
{
    const struct node *key = node_get(node_get(b->root, "admin"), "key");
    if (key && policy_find_key(b->policy, key->text))
        report_error(b->report, key->at,
                     "key: a caller's key has the same text; give operators "
                     "one of their own");
}

enum err build_keys(struct build *b)
{
    struct map names = {0}, lists = {0};
    enum err code = build_all_keys(b, node_get(b->root, "keys"), &names, &lists);
    map_deinit(&names);
    map_deinit(&lists);
    check_admin_key(b);
    return code;
}
