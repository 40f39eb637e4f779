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

/* --- tables ----------------------------------------------------------------------------------- */

/* Folded multiplication: both halves of a 64 x 64 bit product, xored. Seeded with a secret, so that
 * nobody outside can choose words that collide; much cheaper than SipHash, and not for secrets. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* 1 to 8 bytes as a number, without reading beyond them. */
static inline uint64_t load_short(const char *p, size_t n)
{
    uint32_t low, high;
    if (n >= 4) {
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        return (uint64_t)high << 32 | low;
    }
    const unsigned char *b = (const unsigned char *)p;
    return (uint64_t)b[0] << 16 | (uint64_t)b[n / 2] << 8 | b[n - 1];
}

static uint64_t table_seed[2];

static void draw_table_seed(void)
{
    sys.random(table_seed, sizeof table_seed);
    table_seed[0] |= 1;
    table_seed[1] |= 1;
}

uint64_t hash_for_table(struct span s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, draw_table_seed);
    uint64_t h = table_seed[0] ^ s.n;
    const char *p = s.p;
    size_t n = s.n;
    for (; n > 16; p += 16, n -= 16)
        h = fold(load_le64(p) ^ table_seed[1], load_le64(p + 8) ^ h);
    uint64_t first = 0, last = 0;
    if (n > 8) {
        first = load_le64(p);
        last = load_le64(p + n - 8);
    } else if (n > 0) {
        first = load_short(p, n);
    }
    return fold(first ^ table_seed[1], last ^ h) ^ fold(h, table_seed[1]);
}
