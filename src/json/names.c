#include "json/names.h"

/* The first and the last bytes of a name: of up to 16 bytes, they and its length are all of it. */
struct ends {
    uint64_t head, tail;
};

static inline struct ends ends_of(const char *p, size_t n)
{
    if (n >= 8) {
        uint64_t head, tail;
        memcpy(&head, p, sizeof head);
        memcpy(&tail, p + n - sizeof tail, sizeof tail);
        return (struct ends){head, tail};
    }
    if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, sizeof head);
        memcpy(&tail, p + n - sizeof tail, sizeof tail);
        return (struct ends){head, tail};
    }
    const unsigned char *const u = (const unsigned char *)p;
    return (struct ends){u[0], (uint64_t)u[n / 2] << 8 | u[n - 1]};
}

int json_names_find_among(const struct json_names *names, struct span name)
{
    unsigned i = names->first[json_names_slot(name)];
    if (LIKELY(i == 0))
        return -1;
    const struct ends ends = ends_of(name.p, name.n);
    for (; i; i = names->next[i - 1]) {
        const struct span *const wanted = &names->list[i - 1];
        if (wanted->n == name.n && names->head[i - 1] == ends.head &&
            names->tail[i - 1] == ends.tail &&
            (name.n <= 16 || memcmp(wanted->p + 8, name.p + 8, name.n - 16) == 0))
            return (int)i - 1;
    }
    return -1;
}

void json_names_init(struct json_names *names, const struct span *list, size_t count)
{
    ASSERT(count <= JSON_NAMES_MAX);
    *names = (struct json_names){.list = list, .count = (uint32_t)count};
    names->value_count = names->count;
    for (size_t i = 0; i < count; i++) {
        ASSERT(list[i].n > 0);
        ASSERT(list[i].n <= JSON_NAME_BYTES_MAX);
        ASSERT(json_names_find(names, list[i]) < 0);
        names->lengths |= UINT64_C(1) << (list[i].n - 1);
        const struct ends ends = ends_of(list[i].p, list[i].n);
        names->head[i] = ends.head;
        names->tail[i] = ends.tail;
        const unsigned slot = json_names_slot(list[i]);
        names->next[i] = names->first[slot];
        names->first[slot] = (uint8_t)(i + 1);
    }
}

void json_names_nest(struct json_names *names, size_t index, struct json_names *inside)
{
    ASSERT(index < names->count);
    ASSERT(!names->inside[index]);
    inside->first_value = names->value_count; /* counted from the first value of `names` */
    names->value_count += inside->value_count;
    names->inside[index] = inside;
}
