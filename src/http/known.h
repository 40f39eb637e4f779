/* known.h -- recognising a field name by one look into a table.
 *
 * Why: every field of every head is looked up. The place in the table comes from the two bytes at
 * either end and the length; then the whole name is compared at once, 32 bytes wide where the
 * machine can. Private to message.c, to the kernels (kernel.h), and to the test of the table.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_HTTP_KNOWN_H
#define PENSTOCK_HTTP_KNOWN_H

#include "http/message.h"

#include <endian.h>

enum { KNOWN_NAME_ROOM = 32 };

/* Bytes b are this name and its colon where (b | fold) == text. Only letters are folded, so that
 * no other byte becomes one that a name has. */
struct known_name {
    char text[KNOWN_NAME_ROOM]; /* lower case, with the colon; zeros for HTTP_KNOWN_NONE */
    uint8_t fold[KNOWN_NAME_ROOM];
};

extern const struct known_name known_names[HTTP_KNOWN_COUNT];
extern const uint8_t known_at[256]; /* by known_slot */

static inline uint32_t known_pair(const char *p)
{
    uint16_t pair;
    memcpy(&pair, p, sizeof pair);
    return le16toh(pair);
}

/* Reads the two bytes from `name` on and those before name + n; for n < 2 that is beyond the name
 * and the answer is of no use. Little-endian, so that the table is the same everywhere. */
static inline unsigned known_slot(const char *name, size_t n)
{
    const uint32_t ends = (known_pair(name) | known_pair(name + n - 2) << 16) | 0x20202020u;
    return (ends + (uint32_t)n) * 0x7f9dfc6du >> 24;
}

/* Appends a field that there is room for. */
static inline void head_put(struct http_head *head, struct span name, struct span value,
                            enum http_known known)
{
    const uint32_t at = head->field_count++;
    const uint64_t bit = (uint64_t)1 << known;
    head->fields[at] = (struct http_field){name, value};
    head->known_of[at] = (uint8_t)known;
    if (known == HTTP_KNOWN_NONE)
        return;
    if (UNLIKELY(head->present & bit)) {
        head->repeated |= bit;
        return;
    }
    head->present |= bit;
    head->first_of[known] = (uint8_t)at;
}

#endif
