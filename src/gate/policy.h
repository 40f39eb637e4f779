/* policy.h -- what we decide by: models, providers, keys, routes; one immutable snapshot.
 *
 * Why: a request must see one consistent policy from its first to its last byte. A reload builds
 * a whole new policy and swaps a pointer; requests in flight keep theirs. The gate defines what
 * it needs, the configuration (a floor above) builds it.
 *
 * Owns:      everything in it lives in `arena`, the maps' slots excepted; policy_unref by the last
 *            holder frees it all.
 * Lends:     pointers and spans, while a reference is held.
 * Suspends:  never.     Threads: any may hold references; immutable once built.
 */
#ifndef PENSTOCK_GATE_POLICY_H
#define PENSTOCK_GATE_POLICY_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/map.h"
#include "llm/provider.h"

#include <stdatomic.h>

/* One place that a model can be served from. */
struct target {
    const struct provider *provider;
    struct span model; /* the provider's name for it; may hold one '*', filled by the pattern */
    uint32_t weight;
};

enum balance {
    BALANCE_ORDERED,
    BALANCE_WEIGHTED,
    BALANCE_FASTEST,
    BALANCE_LEAST_BUSY,
    BALANCE_CHEAPEST,
    BALANCE_HEADROOM,
    BALANCE_STICKY
};

/* A name that callers use. */
struct model {
    struct span name; /* or a pattern with one '*' */
    struct target *targets;
    size_t target_count;
    enum balance balance;
    const struct model **fallbacks; /* in order */
    size_t fallback_count;
};

struct route {
    struct span name;
    struct span model;   /* looked up as if the caller had said it; empty: what the caller says */
    uint32_t max_tokens; /* 0: no bound of its own */
    int64_t timeout_ns;  /* 0: the default */
};

/* Names or patterns of models; absent lists allow all, an empty one is never made. */
struct allowed {
    struct span *names;
    size_t count;
};

enum { LEVELS_ABOVE_KEY = 3 }; /* organisation, team, user */

struct key {
    struct span name;
    struct hash128 digest; /* of the key's text, under policy.key_secret; the text is not kept */
    struct span organisation, team, user;
    const struct route *route; /* NULL: none of its own */
    struct span *models;       /* the key's own list: names or patterns; count 0: all */
    size_t model_count;
    const struct allowed *above[LEVELS_ABOVE_KEY]; /* of those that it belongs to; NULL: all */
    int64_t expires_wall_ns;                       /* 0: never */
};

struct policy {
    struct arena arena;
    _Atomic uint64_t references;
    uint64_t generation; /* counts reloads, from 1 */

    struct provider **providers;
    size_t provider_count;
    struct map providers_by_name; /* struct provider */

    struct model **models; /* patterns last, the longest first */
    size_t model_count;
    struct map models_by_name; /* struct model, without patterns */
    bool models_are_open;      /* no models section: every provider/model is reachable */

    struct map routes_by_name; /* struct route */

    struct hash_key key_secret; /* drawn anew for every snapshot */
    struct key **keys;
    size_t key_count;
    struct map keys_by_digest; /* struct key, named by the 16 bytes of its digest */

    int64_t timeout_ns; /* a call's default, the whole of it */
};

/* What a policy may hold at most: beyond it a file is not written by people. */
enum { POLICY_BYTES_MAX = 256 * 1024 * 1024 };

/* An empty policy with one reference and a key_secret of its own; NULL when there is no memory. */
MUST_USE struct policy *policy_new(void);

/* Puts a key with this text and `k->digest` filled from it into the policy's table. False in
 * `is_new`: another key has the same text, nothing was changed. ERR_NO_MEMORY. */
MUST_USE enum err policy_add_key(struct policy *p, struct key *k, struct span text, bool *is_new);

/* Moves patterns behind names, the longest first: what policy_find_model relies on. */
void policy_sort_models(struct policy *p);

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);

/* The model that a caller's word names: exact, else the longest pattern; NULL: none. For a pattern
 * `star` is what its '*' stood for, else it is empty. */
const struct model *policy_find_model(const struct policy *p, struct span word, struct span *star);

/* The key whose text this is, or NULL. Takes the same time for every wrong key of one length. */
const struct key *policy_find_key(const struct policy *p, struct span text);

/* True when the lists of all levels have the caller's word. */
bool key_allows_model(const struct key *k, struct span word);

/* True when `text` matches `pattern`, which may hold one '*' for any run of bytes, none included.
 * `star` (may be NULL) is what it stood for, empty without one. */
bool pattern_matches(struct span pattern, struct span text, struct span *star);

#endif
