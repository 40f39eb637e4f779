#include "net/dns.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sys.h"
#include "fiber/loop.h"
#include "net/dns_channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum {
    NAME_BYTES_MAX = 253, /* RFC 1035, 2.3.4, as text */
    TTL_MIN_S = 1,
    TTL_MAX_S = 300,
};
static const int64_t FAILURE_NS = NS_PER_S;      /* how long a failure is believed */
static const int64_t STALE_NS = 60 * NS_PER_S;   /* how long past its time an answer is used */
static const int64_t PATIENCE_NS = NS_PER_S / 2; /* for servers, when there is a stale answer */

/* A name, what is known of it, and who waits for more. */
struct entry {
    struct list link; /* on the resolver's list, the latest used first */
    struct resolver *resolver;
    struct list waiters;
    bool is_asking;
    uint64_t answers; /* how often the servers have answered or failed */
    int64_t fresh_until, stale_until;
    const char *reason; /* of a failure, static; NULL: none */
    enum err failed;
    unsigned turn; /* of the rotation */
    size_t count;
    struct address addresses[DNS_ADDRESSES_MAX];
    size_t name_n;
    char name[]; /* lower case, with a NUL */
};

struct waiter {
    struct list link;
    struct fiber *fiber;
};

struct resolver {
    struct dns_channel channel;
    struct map names;
    struct list entries;
    size_t count;
};

struct resolver *resolver_new(struct span servers)
{
    struct resolver *r = mem_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    list_init(&r->entries);
    if (dns_channel_open(&r->channel, servers) == ERR_OK)
        return r;
    mem_free(r);
    return NULL;
}

static void free_entry(struct resolver *r, struct entry *e)
{
    ASSERT(list_is_empty(&e->waiters));
    (void)map_remove(&r->names, span(e->name, e->name_n));
    list_remove(&e->link);
    r->count--;
    mem_free(e);
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    dns_channel_close(&r->channel);
    LIST_EACH(&r->entries, struct entry, link, e)
        free_entry(r, e);
    map_deinit(&r->names);
    mem_free(r);
}

/* --- answers ---------------------------------------------------------------------------------- */

static const char *reason_of(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
        return "there is no such name";
    case ARES_ENODATA:
        return "the name has no address";
    case ARES_ETIMEOUT:
        return "the DNS servers do not answer";
    case ARES_ECONNREFUSED:
        return "the DNS servers refuse connections";
    case ARES_ESERVFAIL:
        return "the DNS server failed (SERVFAIL)";
    case ARES_EREFUSED:
        return "the DNS server refused the question";
    case ARES_EBADNAME:
        return "it is not a host's name";
    default:
        return ares_strerror(status);
    }
}

static void note_failure(struct entry *e, int status)
{
    int64_t now = loop_now();
    bool is_final = status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_EBADNAME;
    if (!is_final && e->count > 0 && now < e->stale_until) {
        e->fresh_until = MIN(now + FAILURE_NS, e->stale_until);
        return; /* yesterday's answer is better than none */
    }
    e->count = 0;
    e->failed = status == ARES_ENOMEM ? ERR_NO_MEMORY : ERR_DNS;
    e->reason = reason_of(status);
    e->fresh_until = status == ARES_ENOMEM ? now : now + FAILURE_NS;
}

static void note_addresses(struct entry *e, const struct ares_addrinfo *info)
{
    int64_t ttl_s = TTL_MAX_S;
    e->count = 0;
    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
        bool is_known = n->ai_family == AF_INET || n->ai_family == AF_INET6;
        if (!is_known || e->count == DNS_ADDRESSES_MAX)
            continue;
        struct address *a = &e->addresses[e->count++];
        *a = (struct address){.size = n->ai_addrlen};
        memcpy(&a->socket_address, n->ai_addr, n->ai_addrlen);
        ttl_s = MIN(ttl_s, n->ai_ttl);
    }
    for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
        ttl_s = MIN(ttl_s, c->ttl);
    ttl_s = MAX(ttl_s, TTL_MIN_S);
    e->fresh_until = loop_now() + ttl_s * NS_PER_S;
    e->stale_until = e->fresh_until + STALE_NS;
    e->failed = ERR_OK;
    e->reason = NULL;
}

/* c-ares calls it when a question has ended, on the loop or inside dns_channel_ask. Those who
 * asked may have gone; the entry is there, because none is dropped while it asks. */
static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)timeouts;
    struct entry *e = arg;
    e->is_asking = false;
    e->answers++;
    if (status == ARES_SUCCESS && info && info->nodes)
        note_addresses(e, info);
    else
        note_failure(e, status == ARES_SUCCESS ? ARES_ENODATA : status);
    if (info)
        ares_freeaddrinfo(info);
    LIST_EACH(&e->waiters, struct waiter, link, w)
        fiber_wake(w->fiber);
}

/* --- the cache -------------------------------------------------------------------------------- */

/* Drops the name that was not used for the longest time. False when all are in use. */
static bool make_room(struct resolver *r)
{
    for (struct list *at = r->entries.prev; at != &r->entries; at = at->prev) {
        struct entry *e = CONTAINER_OF(at, struct entry, link);
        if (e->is_asking || !list_is_empty(&e->waiters))
            continue;
        free_entry(r, e);
        return true;
    }
    return false;
}

static enum err find_entry(struct resolver *r, struct span name, struct entry **entry)
{
    struct entry *e = map_get(&r->names, name);
    if (e) {
        list_remove(&e->link);
        list_push(&r->entries, &e->link);
        *entry = e;
        return ERR_OK;
    }
    if (r->count == DNS_CACHE_MAX && !make_room(r))
        return ERR_FULL;
    e = mem_calloc(1, sizeof *e + name.n + 1);
    TRY_ALLOC(e);
    e->resolver = r;
    e->name_n = name.n;
    memcpy(e->name, name.p, name.n);
    list_init(&e->waiters);
    if (map_put(&r->names, span(e->name, e->name_n), e) != ERR_OK) {
        mem_free(e);
        return ERR_NO_MEMORY;
    }
    list_push(&r->entries, &e->link);
    r->count++;
    *entry = e;
    return ERR_OK;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* c-ares reads /etc/hosts and writes packets: too deep for a fiber's stack. */
static void ask(void *arg)
{
    struct entry *e = arg;
    dns_channel_ask(&e->resolver->channel, e->name, on_answer, e);
}

/* ERR_OK when the servers have answered, or when an old answer has to do. */
static enum err wait_for_answer(struct entry *e, int64_t deadline)
{
    int64_t now = loop_now();
    uint64_t before = e->answers;
    bool has_stale = e->count > 0 && now < e->stale_until;
    struct waiter self = {.fiber = fiber_self()};
    list_append(&e->waiters, &self.link);
    if (!e->is_asking) {
        e->is_asking = true;
        fiber_on_big_stack(ask, e);
    }
    enum err status = ERR_OK;
    int64_t until = has_stale ? MIN(deadline, now + PATIENCE_NS) : deadline;
    while (e->answers == before && status == ERR_OK)
        status = fiber_park("an answer from DNS", until);
    list_remove(&self.link);
    return status == ERR_TIMEOUT && has_stale ? ERR_OK : status;
}

static void set_port(struct address *a, uint16_t port)
{
    struct sockaddr *any = (struct sockaddr *)&a->socket_address;
    if (any->sa_family == AF_INET)
        ((struct sockaddr_in *)&a->socket_address)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&a->socket_address)->sin6_port = htons(port);
}

/* Copies the addresses out; among neighbours of one family another one comes first every time. */
static void copy_out(struct entry *e, uint16_t port, struct address *addresses, size_t *count)
{
    unsigned turn = e->turn++;
    for (size_t from = 0, to; from < e->count; from = to) {
        to = from + 1;
        while (to < e->count && e->addresses[to].socket_address.ss_family ==
                                    e->addresses[from].socket_address.ss_family)
            to++;
        for (size_t i = from; i < to; i++) {
            addresses[i] = e->addresses[from + (i - from + turn) % (to - from)];
            set_port(&addresses[i], port);
        }
    }
    *count = e->count;
}

static bool parse_literal(const char *text, uint16_t port, struct address *a)
{
    *a = (struct address){0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a->socket_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->socket_address;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        a->size = sizeof *v4;
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        a->size = sizeof *v6;
    } else {
        return false;
    }
    set_port(a, port);
    return true;
}

/* Lower case and NUL-terminated; false when it cannot be a host's name. */
static bool fold_name(struct span host, char name[NAME_BYTES_MAX + 1])
{
    if (host.n == 0 || host.n > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < host.n; i++) {
        unsigned char c = (unsigned char)host.p[i];
        if (c <= ' ' || c >= 127)
            return false;
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
    }
    name[host.n] = '\0';
    return true;
}

enum err dns_resolve(struct resolver *r, struct span host, uint16_t port, int64_t deadline,
                     struct address *addresses, size_t *count, struct failure *why)
{
    fiber_may_suspend();
    char name[NAME_BYTES_MAX + 1];
    if (!fold_name(host, name))
        return fail(why, ERR_DNS, "a host's name has 1 to %d visible ASCII characters",
                    NAME_BYTES_MAX);
    *count = 1;
    if (parse_literal(name, port, &addresses[0]))
        return ERR_OK;
    struct entry *e = NULL;
    enum err status = find_entry(r, span(name, host.n), &e);
    if (status == ERR_FULL)
        return fail(why, ERR_DNS, "cannot resolve %s: too many names are being resolved", name);
    if (status == ERR_OK && loop_now() >= e->fresh_until)
        status = wait_for_answer(e, deadline);
    if (status == ERR_OK)
        status = e->failed;
    if (status == ERR_OK) {
        copy_out(e, port, addresses, count);
        return ERR_OK;
    }
    if (status == ERR_DNS)
        return fail(why, status, "cannot resolve %s: %s", name, e->reason);
    if (status == ERR_TIMEOUT)
        return fail(why, status, "cannot resolve %s: no answer from DNS in time", name);
    return fail(why, status, "cannot resolve %s: %s", name, err_info(status)->text);
}
