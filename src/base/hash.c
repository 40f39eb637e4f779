#include "base/hash.h"

#include "base/sys.h"

#include <pthread.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void mix(struct state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static uint64_t load_le64(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    mix(s);
    s->v0 ^= word;
}

static uint64_t squeeze(struct state *s)
{
    mix(s);
    mix(s);
    mix(s);
    mix(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

struct hash128 hash_keyed(const struct hash_key *key, struct span in)
{
    struct state s = {
        key->k0 ^ UINT64_C(0x736f6d6570736575),
        key->k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee, /* 0xee: the variant with 128 bits */
        key->k0 ^ UINT64_C(0x6c7967656e657261),
        key->k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t whole = in.n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8)
        absorb(&s, load_le64(in.p + i));
    char tail[8] = {0};
    if (in.n & 7)
        memcpy(tail, in.p + whole, in.n & 7);
    absorb(&s, load_le64(tail) | (uint64_t)in.n << 56);
    s.v2 ^= 0xee;
    struct hash128 h;
    h.lo = squeeze(&s);
    s.v1 ^= 0xdd;
    h.hi = squeeze(&s);
    return h;
}

static struct hash_key table_key;

static void draw_table_key(void)
{
    sys.random(&table_key, sizeof table_key);
}

uint64_t hash_for_table(struct span s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, draw_table_key);
    return hash_keyed(&table_key, s).lo;
}
