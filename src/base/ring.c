#include "base/ring.h"

#include "base/mem.h"

/* A message is a 32-bit length and its bytes, padded to 4. It never wraps: where it would, a
 * length of SKIP sends the reader to the start. head and tail only ever grow. */
enum { HEAD = 4 };
static const uint32_t SKIP = UINT32_MAX;

static size_t padded(size_t n)
{
    return (n + HEAD + 3) & ~(size_t)3;
}

enum err ring_init(struct ring *r, size_t size)
{
    ASSERT(size >= 64 && (size & (size - 1)) == 0 && size < UINT32_MAX);
    *r = (struct ring){.size = size};
    r->buffer = mem_alloc(size);
    TRY_ALLOC(r->buffer);
    return ERR_OK;
}

void ring_deinit(struct ring *r)
{
    mem_free(r->buffer);
    r->buffer = NULL;
}

static bool has_room(struct ring *r, size_t head, size_t n)
{
    if (r->size - (head - r->tail_seen) >= n)
        return true;
    r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
    return r->size - (head - r->tail_seen) >= n;
}

char *ring_reserve(struct ring *r, size_t n)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t offset = head & (r->size - 1), to_end = r->size - offset, need = padded(n);
    size_t total = need <= to_end ? need : to_end + need;
    if (n > r->size / 2 || !has_room(r, head, total)) {
        atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    if (need > to_end) {
        memcpy(r->buffer + offset, &SKIP, HEAD);
        atomic_store_explicit(&r->head, head + to_end, memory_order_release);
        offset = 0;
    }
    return r->buffer + offset + HEAD;
}

void ring_commit(struct ring *r, size_t n)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t length = (uint32_t)n;
    memcpy(r->buffer + (head & (r->size - 1)), &length, HEAD);
    atomic_store_explicit(&r->head, head + padded(n), memory_order_release);
}

bool ring_put(struct ring *r, struct span message)
{
    char *place = ring_reserve(r, message.n);
    if (!place)
        return false;
    if (message.n)
        memcpy(place, message.p, message.n);
    ring_commit(r, message.n);
    return true;
}

bool ring_peek(struct ring *r, struct span *message)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (head == tail)
        return false;
    uint32_t length;
    memcpy(&length, r->buffer + (tail & (r->size - 1)), HEAD);
    if (length == SKIP) {
        tail += r->size - (tail & (r->size - 1));
        atomic_store_explicit(&r->tail, tail, memory_order_release);
        if (head == tail)
            return false;
        memcpy(&length, r->buffer, HEAD);
    }
    *message = span(r->buffer + (tail & (r->size - 1)) + HEAD, length);
    return true;
}

void ring_consume(struct ring *r)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t length;
    memcpy(&length, r->buffer + (tail & (r->size - 1)), HEAD);
    atomic_store_explicit(&r->tail, tail + padded(length), memory_order_release);
}

uint64_t ring_dropped(const struct ring *r)
{
    return atomic_load_explicit(&r->dropped, memory_order_relaxed);
}
