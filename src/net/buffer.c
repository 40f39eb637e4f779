#include "net/buffer.h"

#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"

enum { CLASSES = 4, OVERSIZE = CLASSES };

/* With malloc's header a buffer of a class is a whole number of pages. */
enum { MALLOC_HEADER = 16 };

static const struct {
    size_t bytes; /* of the whole allocation */
    size_t keep;  /* free ones that a quiet loop keeps */
} classes[CLASSES] = {{BUFFER_SMALL, 32},
                      {BUFFER_USUAL, 32},
                      {4 * BUFFER_USUAL + 4096, 4}, /* a window of HTTP/2 fits, 64 KiB less one */
                      {16 * BUFFER_USUAL, 1}};

static const int64_t TRIM_AFTER_NS = 2 * NS_PER_S;

static _Thread_local struct {
    struct buffer *free[CLASSES];
    size_t free_count[CLASSES];
    size_t in_use, max;
    bool has_max;
    struct timer trim_timer;
} pool;

static size_t room_of(size_t size_class)
{
    return classes[size_class].bytes - sizeof(struct buffer) - MALLOC_HEADER;
}

void buffers_set_max(size_t bytes_max)
{
    pool.max = bytes_max;
    pool.has_max = true;
}

size_t buffers_in_use(void)
{
    return pool.in_use;
}

static size_t budget(void)
{
    return pool.has_max ? pool.max : SIZE_MAX;
}

bool buffers_are_short(void)
{
    return pool.in_use > budget() / 8 * 7;
}

static struct buffer *fresh(size_t room, size_t size_class)
{
    struct buffer *b = mem_alloc(sizeof *b + room);
    if (b)
        *b = (struct buffer){.size_class = (uint32_t)size_class, .room = room};
    return b;
}

struct buffer *buffer_take(size_t room)
{
    size_t size_class = 0;
    while (size_class < CLASSES && room > room_of(size_class))
        size_class++;
    size_t bytes = size_class == OVERSIZE ? room : room_of(size_class);
    if (UNLIKELY(bytes > budget() - MIN(pool.in_use, budget())))
        return NULL;
    struct buffer *b;
    if (size_class != OVERSIZE && pool.free[size_class]) {
        b = pool.free[size_class];
        pool.free[size_class] = b->next;
        pool.free_count[size_class]--;
        b->n = b->at = 0;
    } else {
        b = fresh(bytes, size_class);
    }
    if (b)
        pool.in_use += b->room;
    return b;
}

static void on_trim(struct timer *t)
{
    (void)t;
    buffers_trim(false);
}

/* Load left more free buffers than a quiet loop needs: look again once it may be over. */
static void trim_later(void)
{
    if (!loop_self())
        return;
    if (!pool.trim_timer.fn)
        timer_init(&pool.trim_timer, on_trim);
    if (!timer_is_set(&pool.trim_timer))
        loop_set_timer(&pool.trim_timer, loop_now() + TRIM_AFTER_NS);
}

void buffer_put(struct buffer *b)
{
    if (!b)
        return;
    ASSERT(pool.in_use >= b->room);
    pool.in_use -= b->room;
    /* Under ASan every use after the end must show. */
    if (b->size_class == OVERSIZE || WITH_ASAN) {
        mem_free(b);
        return;
    }
    b->next = pool.free[b->size_class];
    pool.free[b->size_class] = b;
    if (++pool.free_count[b->size_class] > classes[b->size_class].keep)
        trim_later();
}

void buffers_trim(bool all)
{
    for (size_t c = 0; c < CLASSES; c++) {
        size_t keep = all ? 0 : classes[c].keep;
        while (pool.free_count[c] > keep) {
            struct buffer *b = pool.free[c];
            pool.free[c] = b->next;
            pool.free_count[c]--;
            mem_free(b);
        }
    }
    if (all && pool.trim_timer.fn)
        timer_stop(&pool.trim_timer);
}
