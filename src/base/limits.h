/* limits.h -- every maximum that is not configuration, with its reason.
 *
 * Why: whatever a peer can make grow has a bound, and the bounds are found in one place. What an
 * operator may want to change is in the configuration schema; its bounds are there.
 */
#ifndef PENSTOCK_BASE_LIMITS_H
#define PENSTOCK_BASE_LIMITS_H

enum {
    /* JSON: deep enough for every schema seen in the wild, and recursion is bounded by it. */
    JSON_DEPTH_MAX = 128,

    /* A request line holds a path and at most a key; 8 KiB is what the field's proxies allow. */
    HTTP_TARGET_MAX = 8 * 1024,
    /* SDKs send about 20 fields and 2 KiB; proxies in front of us add some. */
    HTTP_HEAD_MAX = 32 * 1024,
    HTTP_FIELDS_MAX = 100,
    /* A chunk's extension carries nothing that we use. */
    HTTP_CHUNK_LINE_MAX = 256,
    HTTP_TRAILER_MAX = 8 * 1024,
    /* Requests read ahead of the one being answered. */
    HTTP_PIPELINE_MAX = 64,

    /* One server-sent event: a tool call with a large argument is the longest seen. */
    SSE_EVENT_MAX = 4 * 1024 * 1024,

    /* HTTP/2: what one connection may have open, and how much nonsense it may send. */
    H2_STREAMS_MAX = 128,
    H2_GLITCHES_MAX = 512,

    /* Names that become metric labels, log fields, YAML keys. */
    NAME_MAX_BYTES = 128,

    /* The contract: 16 to 256 visible ASCII characters. */
    KEY_BYTES_MIN = 16,
    KEY_BYTES_MAX = 256,

    /* A configuration is written by people. */
    CONFIG_BYTES_MAX = 16 * 1024 * 1024,
    CONFIG_DEPTH_MAX = 32,
    CONFIG_NODES_MAX = 1024 * 1024,

    WORKERS_MAX = 256,
};

#endif
