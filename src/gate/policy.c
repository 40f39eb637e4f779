#include "gate/policy.h"

#include "base/mem.h"
#include "base/sys.h"

#include <stdlib.h>

static _Atomic uint64_t generations;

struct policy *policy_new(void)
{
    struct policy *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    arena_init(&p->arena, POLICY_BYTES_MAX, NULL, 0);
    atomic_init(&p->references, 1);
    p->generation = atomic_fetch_add(&generations, 1) + 1;
    sys.random(&p->key_secret, sizeof p->key_secret);
    return p;
}

struct policy *policy_ref(struct policy *p)
{
    uint64_t before = atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
    ASSERT(before > 0); /* a dead policy cannot be taken up again */
    return p;
}

void policy_unref(struct policy *p)
{
    /* Release what this holder did with it, acquire what all others did, before it is freed. */
    uint64_t before = atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    map_deinit(&p->providers_by_name);
    map_deinit(&p->models_by_name);
    map_deinit(&p->routes_by_name);
    map_deinit(&p->keys_by_digest);
    arena_deinit(&p->arena);
    mem_wipe(&p->key_secret, sizeof p->key_secret);
    mem_free(p);
}

/* --- models -------------------------------------------------------------------------------------
 */

bool pattern_matches(struct span pattern, struct span text, struct span *star)
{
    struct span head, tail;
    struct span filling = {NULL, 0};
    bool is_match;
    if (span_cut(pattern, '*', &head, &tail)) {
        is_match = text.n >= head.n + tail.n && span_starts(text, head) && span_ends(text, tail);
        if (is_match)
            filling = span(text.p + head.n, text.n - head.n - tail.n);
    } else {
        is_match = span_eq(pattern, text);
    }
    if (star)
        *star = filling;
    return is_match;
}

static bool is_pattern(struct span name)
{
    return span_find(name, '*') < name.n;
}

/* Among patterns of one length the alphabet decides, so that the order never depends on chance. */
static int names_then_longest(const void *one, const void *other)
{
    const struct model *a = *(const struct model *const *)one;
    const struct model *b = *(const struct model *const *)other;
    if (is_pattern(a->name) != is_pattern(b->name))
        return is_pattern(a->name) ? 1 : -1;
    if (is_pattern(a->name) && a->name.n != b->name.n)
        return a->name.n > b->name.n ? -1 : 1;
    return span_cmp(a->name, b->name);
}

void policy_sort_models(struct policy *p)
{
    if (p->model_count > 0)
        qsort(p->models, p->model_count, sizeof p->models[0], names_then_longest);
}

const struct model *policy_find_model(const struct policy *p, struct span word, struct span *star)
{
    if (star)
        *star = span(NULL, 0);
    const struct model *exact = map_get(&p->models_by_name, word);
    if (exact)
        return exact;
    /* Patterns are behind all names, which are just those of the map. */
    for (size_t i = p->models_by_name.count; i < p->model_count; i++) {
        if (pattern_matches(p->models[i]->name, word, star))
            return p->models[i];
    }
    return NULL;
}

/* --- keys ---------------------------------------------------------------------------------------
 */

/* The map is searched by a keyed hash of a keyed hash: which slot is looked at, and how far the
 * comparison of digests gets, tells nothing about the text. */
static struct span digest_span(const struct hash128 *digest)
{
    return span((const char *)digest, sizeof *digest);
}

enum err policy_add_key(struct policy *p, struct key *k, struct span text, bool *is_new)
{
    struct hash128 digest = hash_keyed(&p->key_secret, text);
    *is_new = map_get(&p->keys_by_digest, digest_span(&digest)) == NULL;
    if (!*is_new)
        return ERR_OK;
    k->digest = digest;
    return map_put(&p->keys_by_digest, digest_span(&k->digest), k);
}

const struct key *policy_find_key(const struct policy *p, struct span text)
{
    struct hash128 digest = hash_keyed(&p->key_secret, text);
    const struct key *k = map_get(&p->keys_by_digest, digest_span(&digest));
    return k && hash128_eq(k->digest, digest) ? k : NULL;
}

static bool list_has(const struct span *names, size_t count, struct span word)
{
    for (size_t i = 0; i < count; i++) {
        if (pattern_matches(names[i], word, NULL))
            return true;
    }
    return false;
}

bool key_allows_model(const struct key *k, struct span word)
{
    for (size_t i = 0; i < LEVELS_ABOVE_KEY; i++) {
        const struct allowed *a = k->above[i];
        if (a && !list_has(a->names, a->count, word))
            return false;
    }
    return k->model_count == 0 || list_has(k->models, k->model_count, word);
}
