/* unique.c -- finds equal names in one object.
 *
 * A stack of (hash, name) for all open objects. When an object closes, few names are compared each
 * with each by hash, many are sorted: the order is total (hash, then text), so the time is n log n
 * for any input, and nobody can choose names that make it worse. */
#include "base/mem.h"
#include "json/scan_state.h"
#include "json/value.h"

enum { FEW_NAMES = 16 };

void unique_init(struct unique *u)
{
    u->list = u->fixed;
    u->count = 0;
    u->room = ARRAY_LEN(u->fixed);
}

void unique_deinit(struct unique *u)
{
    if (u->list != u->fixed)
        mem_free(u->list);
}

static COLD enum err grow(struct unique *u)
{
    if (u->room >= JSON_OPEN_NAMES_MAX)
        return ERR_TOO_LARGE;
    const uint32_t room = MIN(u->room * 4, (uint32_t)JSON_OPEN_NAMES_MAX);
    struct open_name *old = u->list == u->fixed ? NULL : u->list;
    struct open_name *list = mem_realloc(old, room * sizeof *list);
    TRY_ALLOC(list);
    if (!old)
        memcpy(list, u->fixed, sizeof u->fixed);
    u->list = list;
    u->room = room;
    return ERR_OK;
}

static uint64_t load(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Of the length, the first eight and the last eight bytes. Only a filter: equality is decided by
 * the text. */
static uint64_t name_hash(const char *head, const char *tail, size_t n)
{
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        a = load(head);
        b = load(tail);
    } else {
        for (size_t i = 0; i < n; i++)
            a = a << 8 | (unsigned char)head[i];
    }
    a = (a ^ n) * 0x9E3779B97F4A7C15u;
    b = (b ^ (a >> 32)) * 0xC2B2AE3D27D4EB4Fu;
    return a ^ b ^ b >> 29;
}

/* The same hash for a name with escapes, of its decoded bytes. */
static COLD uint64_t escaped_name_hash(struct span text)
{
    char head[8] = {0}, tail[8] = {0};
    size_t n = 0;
    const char *p = text.p, *const end = text.p + text.n;
    while (p < end) {
        char bytes[4];
        unsigned count;
        p = json_decode_step(p, end, bytes, &count);
        for (unsigned i = 0; i < count; i++, n++) {
            if (n < 8)
                head[n] = bytes[i];
            memmove(tail, tail + 1, 7);
            tail[7] = bytes[i];
        }
    }
    return name_hash(head, tail, n);
}

enum err unique_add(struct unique *u, struct span raw)
{
    const struct span text = {raw.p + 1, raw.n - 2};
    if (UNLIKELY(u->count == u->room))
        TRY(grow(u));
    struct open_name *name = &u->list[u->count++];
    name->raw = raw;
    name->hash = memchr(text.p, '\\', text.n)
                     ? escaped_name_hash(text)
                     : name_hash(text.p, text.p + text.n - MIN(text.n, 8), text.n);
    return ERR_OK;
}

static int compare(const struct open_name *a, const struct open_name *b)
{
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return json_string_cmp(a->raw, b->raw);
}

static void sift_down(struct open_name *list, size_t i, size_t n)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && compare(&list[child], &list[child + 1]) < 0)
            child++;
        if (compare(&list[i], &list[child]) >= 0)
            return;
        const struct open_name moved = list[i];
        list[i] = list[child];
        list[child] = moved;
        i = child;
    }
}

/* Heap sort: in place, no recursion, no bad case. */
static void sort(struct open_name *list, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(list, i, n);
    while (n-- > 1) {
        const struct open_name largest = list[0];
        list[0] = list[n];
        list[n] = largest;
        sift_down(list, 0, n);
    }
}

static struct span later(struct span a, struct span b)
{
    return a.p > b.p ? a : b;
}

static COLD struct span repeated_of_many(struct open_name *list, size_t n)
{
    struct span found = {NULL, 0};
    sort(list, n);
    for (size_t i = 1; i < n; i++)
        if (compare(&list[i - 1], &list[i]) == 0)
            found = later(found, later(list[i - 1].raw, list[i].raw));
    return found;
}

struct span unique_close(struct unique *u, unsigned level)
{
    struct open_name *list = u->list + u->first[level];
    const size_t n = u->count - u->first[level];
    u->count = u->first[level];
    if (UNLIKELY(n > FEW_NAMES))
        return repeated_of_many(list, n);
    for (size_t i = n; i-- > 1;)
        for (size_t k = 0; k < i; k++)
            if (UNLIKELY(list[i].hash == list[k].hash) && compare(&list[i], &list[k]) == 0)
                return list[i].raw;
    return (struct span){NULL, 0};
}
