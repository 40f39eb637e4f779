#include "json/names.h"

void json_names_init(struct json_names *names, const struct span *list, size_t count)
{
    ASSERT(count <= JSON_NAMES_MAX);
    *names = (struct json_names){.list = list, .count = (uint32_t)count};
    names->value_count = names->count;
    for (size_t i = 0; i < count; i++) {
        ASSERT(list[i].n > 0);
        ASSERT(list[i].n <= JSON_NAME_BYTES_MAX);
        ASSERT(json_names_find(names, list[i]) < 0);
        json_name_ends(list[i], &names->head[i], &names->tail[i]);
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
