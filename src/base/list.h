/* list.h -- an intrusive, circular, doubly linked list.
 *
 * Why: states are lists (a pooled connection is on the list of its state), and an object must
 * leave its list in constant time, knowing only itself.
 *
 * Owns:      nothing: the node lives in the object.
 * Suspends:  never.     Threads: one owner.
 */
#ifndef PENSTOCK_BASE_LIST_H
#define PENSTOCK_BASE_LIST_H

#include "base/base.h"

struct list {
    struct list *prev, *next; /* a lone node or an empty head points at itself */
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_add_before(struct list *place, struct list *node)
{
    node->prev = place->prev;
    node->next = place;
    place->prev->next = node;
    place->prev = node;
}

static inline void list_push(struct list *head, struct list *node)
{
    list_add_before(head->next, node);
}

static inline void list_append(struct list *head, struct list *node)
{
    list_add_before(head, node);
}

/* The node can be removed again, or asked with list_is_empty whether it is on a list. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves all nodes of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

/* The first object, or NULL. */
#define LIST_FIRST(head, type, field)                                                              \
    (list_is_empty(head) ? NULL : CONTAINER_OF((head)->next, type, field))
#define LIST_LAST(head, type, field)                                                               \
    (list_is_empty(head) ? NULL : CONTAINER_OF((head)->prev, type, field))

/* The body may remove `var` from the list, and nothing else. */
#define LIST_EACH(head, type, field, var)                                                          \
    for (type *var = CONTAINER_OF((head)->next, type, field),                                      \
              *var##_then = CONTAINER_OF(var->field.next, type, field);                            \
         &var->field != (head);                                                                    \
         var = var##_then, var##_then = CONTAINER_OF(var->field.next, type, field))

#endif
