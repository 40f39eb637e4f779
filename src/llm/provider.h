/* provider.h -- who answers calls: dialect, address, credentials.
 *
 * Why: the catalogue (data) and the configuration both make providers; the stages that attempt a
 * call see one struct, whatever it was made from.
 *
 * Owns:      nothing: everything lives in the snapshot's arena.
 * Suspends:  never.     Threads: any; immutable once built, except what is marked.
 */
#ifndef PENSTOCK_LLM_PROVIDER_H
#define PENSTOCK_LLM_PROVIDER_H

#include "base/err.h"
#include "base/span.h"
#include "net/origin.h"

/* The contract's words, in its order: dialect_name() gives them back. */
enum dialect {
    DIALECT_OPENAI,
    DIALECT_OPENAI_RESPONSES,
    DIALECT_AZURE,
    DIALECT_ANTHROPIC,
    DIALECT_GEMINI,
    DIALECT_VERTEX,
    DIALECT_BEDROCK,
    DIALECT_COHERE,
    DIALECT_MISTRAL,
    DIALECT_OLLAMA,
    DIALECT_COUNT
};

/* "openai", "openai-responses", ...; ends in a NUL. */
struct span dialect_name(enum dialect d);

/* DIALECT_COUNT when there is no such dialect. */
enum dialect dialect_find(struct span name);

/* A secret is only ever read through this type, which nothing prints. */
struct secret {
    struct span private_bytes;
};

struct provider {
    struct span name;
    uint32_t dialects; /* bit set: 1u << enum dialect */
    struct origin origin;
    struct span path;      /* what stands before the dialect's own paths: "/v1" */
    struct secret api_key; /* empty: none is sent */
    bool is_private;       /* reachable without the public internet; for routing by residency */
    bool is_mock;          /* the built-in mock provider: its origin is filled in at start */
    bool is_available;     /* false: it wants an API key and has none; never a target */
    struct span region;
    uint32_t max_concurrent; /* 0: no bound */
    int64_t connect_timeout_ns, first_byte_timeout_ns, idle_timeout_ns;
};

/* A row of the catalogue: providers that need no more than a key. */
struct catalogue_entry {
    const char *name;     /* the word in the configuration: "openai" */
    const char *title;    /* the vendor's own spelling, for the documentation */
    const char *base_url; /* as CONTRACT: with or without the version; NULL: each user has one */
    uint32_t dialects;
    const char *key_variable; /* environment variable that the vendor's own SDK reads, or the
                               * customary one; NULL: it works without a key */
};

/* NULL when there is no such provider. */
const struct catalogue_entry *catalogue_find(struct span name);

/* All rows, for the demo and the documentation. */
const struct catalogue_entry *catalogue_rows(size_t *count);

#endif
