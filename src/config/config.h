/* config.h -- from YAML text to one immutable snapshot, or to messages that say what is wrong.
 *
 * Why: a gateway that starts with half a configuration, or reloads to one, loses calls. The whole
 * text is read, every mistake is told with its place and the nearest right word, and only a
 * configuration without a mistake becomes a snapshot.
 *
 * Owns:      the returned struct config, until config_free; its policy has its own references.
 * Bounds:    CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX (aliases count as what they say).
 * Errors:    in `report`, one message a line.
 * Suspends:  never; reads files that the text names (certificates).     Threads: any.
 */
#ifndef PENSTOCK_CONFIG_CONFIG_H
#define PENSTOCK_CONFIG_CONFIG_H

#include "base/builder.h"
#include "gate/policy.h"
#include "http/server.h" /* enum half_close */

enum { LISTEN_MAX = 16 };

struct config_listen {
    struct span address; /* as written: "127.0.0.1:8080", "[::]:80", "unix:/run/x" */
    struct span certificate_file, key_file; /* empty: no TLS */
    struct span client_ca_file;             /* not empty: clients must show a certificate */
};

struct config {
    struct arena arena;
    struct config_listen listen[LISTEN_MAX];
    size_t listen_count;
    struct config_listen admin_listen; /* address empty: the operators' paths answer on `listen` */
    uint32_t workers;                  /* 0: one a core */
    struct span access_log;            /* "stdout", "off", or a path */
    struct secret admin_key;           /* empty: one is made at start */
    struct span store;                 /* "sqlite:penstock.db" */
    bool is_demo;                      /* made from the built-in demo: set by who made it */

    /* Bounds and deadlines of the inbound side. */
    uint64_t body_max;            /* bytes, after decompression */
    uint64_t memory_max;          /* bytes of buffers and arenas before load is shed; 0: off */
    uint32_t connections_max;     /* per worker */
    uint32_t requests_max;        /* in flight, per worker */
    int64_t header_timeout_ns;    /* from the first byte of a head to its last */
    int64_t body_timeout_ns;      /* between two reads of a body */
    int64_t write_timeout_ns;     /* a client that does not read */
    int64_t keepalive_timeout_ns; /* an idle connection */
    int64_t drain_timeout_ns;     /* calls in flight at TERM */
    enum half_close half_close;

    struct policy *policy; /* the snapshot's own reference */
};

/* Reads `text`. `file` is the name that messages show and that relative paths are taken from; env
 * looks a variable up (NULL: not set). NULL: it is not valid, `report` says why: one line a
 * message, FILE:LINE:COLUMN: what is wrong, and what would be right. Warnings go to `report` too,
 * marked as such ("FILE:LINE:COLUMN: warning: "), with a result that is not NULL. Values of
 * variables and secrets are never shown. */
MUST_USE struct config *config_parse(struct span text, const char *file,
                                     const char *(*env)(const char *name), struct builder *report);

/* Gives its reference to the policy back; NULL is fine. */
void config_free(struct config *c);

/* The built-in demo as YAML text, with the providers whose keys are in the environment. It listens
 * on loopback only, which is why its key can be known: CONFIG_DEMO_KEY. */
#define CONFIG_DEMO_KEY "pk-demo-only-on-loopback"
void config_demo(const char *(*env)(const char *name), struct builder *out);

/* From the schema table: the manual's reference (Markdown), and the JSON Schema. */
void config_write_reference(struct builder *out);
void config_write_json_schema(struct builder *out);

#endif
