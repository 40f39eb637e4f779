/* kernel_wide.h -- the kernel's loops over 32 bytes at a time, once for each instruction set.
 *
 * Why: the loops are the same for all; what differs is how 32 bytes are compared. A file that
 * includes this one gets them in its own instruction set: HTTP_LANES_AVX2 says which, else SSE2 or
 * NEON, two registers of 16 bytes. Private to kernel.c and kernel_avx2.c. See kernel.h.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_HTTP_KERNEL_WIDE_H
#define PENSTOCK_HTTP_KERNEL_WIDE_H

#include "http/known.h"
#include "http/scan.h"

/* A mask has a bit a byte, the first byte's lowest. */
enum { LANES = 32 };

#if defined(HTTP_LANES_AVX2)

#define TOKEN_COLUMNS                                                                              \
    0x3a, 0x3f, 0x3e, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3e, 0x3e, 0x3d, 0x15, 0x34, 0x15, 0x3d, 0x1c
#define TOKEN_ROWS                                                                                 \
    0x00, 0x00, 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00

static inline __m256i lanes_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

static inline uint32_t lanes_mask(__m256i v)
{
    return (uint32_t)_mm256_movemask_epi8(v);
}

static inline uint32_t lanes_colons(const char *p)
{
    return lanes_mask(_mm256_cmpeq_epi8(lanes_load(p), _mm256_set1_epi8(':')));
}

/* What is not visible ASCII or SP: one more makes DEL and all beyond it negative, and what is below
 * SP is less than 0x21. HTAB and obs-text are among them: whoever finds one looks closer. */
static inline uint32_t lanes_unusual(const char *p)
{
    const __m256i next = _mm256_add_epi8(lanes_load(p), _mm256_set1_epi8(1));
    return lanes_mask(_mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), next));
}

/* Token bytes. A column of the ASCII table has a bit for each row where a token byte stands, and a
 * row has its own bit: they share one where a byte is good. A byte beyond ASCII selects zero. */
static inline uint32_t lanes_token(const char *p)
{
    static const uint8_t columns[LANES] = {TOKEN_COLUMNS, TOKEN_COLUMNS};
    static const uint8_t rows[LANES] = {TOKEN_ROWS, TOKEN_ROWS};
    const __m256i v = lanes_load(p);
    const __m256i row = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
    const __m256i shared = _mm256_and_si256(_mm256_shuffle_epi8(lanes_load(columns), v),
                                            _mm256_shuffle_epi8(lanes_load(rows), row));
    return ~lanes_mask(_mm256_cmpeq_epi8(shared, _mm256_setzero_si256()));
}

static inline uint32_t lanes_same(const char *p, const struct known_name *known)
{
    const __m256i folded = _mm256_or_si256(lanes_load(p), lanes_load(known->fold));
    return lanes_mask(_mm256_cmpeq_epi8(folded, lanes_load(known->text)));
}

#else

/* scan_mask of two halves, brought together. */
static inline uint32_t lanes_mask(scan_v low, scan_v high)
{
#if defined(__SSE2__)
    return (uint32_t)(scan_mask(low) | scan_mask(high) << 16);
#else
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bits = vld1q_u8(bit);
    uint8x16_t sum = vpaddq_u8(vandq_u8(low, bits), vandq_u8(high, bits));
    sum = vpaddq_u8(sum, sum);
    sum = vpaddq_u8(sum, sum);
    return vgetq_lane_u32(vreinterpretq_u32_u8(sum), 0);
#endif
}

static inline uint32_t lanes_colons(const char *p)
{
    return lanes_mask(scan_eq(scan_load(p), ':'), scan_eq(scan_load(p + 16), ':'));
}

/* As above; without signs the same order begins one further. */
static inline scan_v half_unusual(const char *p)
{
    return scan_not(scan_within(scan_load(p), 0x20, 0x7e - 0x20));
}

static inline uint32_t lanes_unusual(const char *p)
{
    return lanes_mask(half_unusual(p), half_unusual(p + 16));
}

/* Letters, digits, '-'; other token bytes are seldom in a name. */
static inline scan_v half_token(const char *p)
{
    const scan_v v = scan_load(p);
    const scan_v others = scan_or(scan_within(v, '0', 9), scan_eq(v, '-'));
    return scan_or(scan_within(scan_fold(v), 'a', 25), others);
}

static inline uint32_t lanes_token(const char *p)
{
    return lanes_mask(half_token(p), half_token(p + 16));
}

static inline scan_v half_same(const char *p, const struct known_name *known, size_t at)
{
    const scan_v fold = scan_load((const char *)known->fold + at);
    return scan_same(scan_or(scan_load(p + at), fold), scan_load(known->text + at));
}

static inline uint32_t lanes_same(const char *p, const struct known_name *known)
{
    return lanes_mask(half_same(p, known, 0), half_same(p, known, 16));
}

#endif

static inline bool is_pair(const char *p, const char *wanted)
{
    return memcmp(p, wanted, 2) == 0;
}

/* The line end of the value that begins at p; NULL when something else ends it first, or it does
 * not end before `safe`, up to which 32 bytes and the LF behind them can be read. */
static inline const char *value_end(const char *p, const char *safe)
{
    uint32_t stops;
    while ((stops = lanes_unusual(p)) == 0) {
        p += LANES;
        if (UNLIKELY(p > safe))
            return NULL;
    }
    p += __builtin_ctz(stops);
    return LIKELY(is_pair(p, "\r\n")) ? p : NULL;
}

/* Which known name stands before the first colon of `colons`, at p + n. A known name is a token
 * because it is the same; any other is looked at. False when it is no token. */
static inline bool judge_name(const char *p, size_t n, uint32_t colons, unsigned *known)
{
    const uint32_t to_colon = colons ^ (colons - 1); /* the name's bits and the colon's */
    *known = known_at[known_slot(p, n)];
    if ((to_colon & ~lanes_same(p, &known_names[*known])) == 0)
        return true;
    *known = HTTP_KNOWN_NONE;
    const uint32_t name = to_colon >> 1;
    return name && (name & ~lanes_token(p)) == 0;
}

/* "Name: value" CR LF, with one space before the value and no blank behind it. The empty line at
 * the head's end is no such field, so it needs no question of its own. What was taken is counted
 * here and told to the head at the end: a store to the fields could else be one to the head. */
static const char *wide_fields(const char *p, const char *end, struct http_head *head)
{
    enum { NAME_ROOM = LANES + 1 }; /* the longest name that is found, ':', SP */
    if (end - p < NAME_ROOM + LANES + 2)
        return p;
    const char *const safe = end - LANES - 2;
    struct http_field *field = head->fields + head->field_count;
    const struct http_field *const last = head->fields + head->field_max;
    uint8_t *known_of = head->known_of + head->field_count;
    uint64_t present = head->present | HTTP_SET(NONE);
    while (p + NAME_ROOM <= safe && field < last) {
        const uint32_t colons = lanes_colons(p);
        if (UNLIKELY(colons == 0))
            break;
        const size_t n = (unsigned)__builtin_ctz(colons);
        unsigned known;
        if (UNLIKELY(!judge_name(p, n, colons, &known) || !is_pair(p + n, ": ")))
            break;
        const char *const value = p + n + 2, *const stop = value_end(value, safe);
        if (UNLIKELY(!stop || *value == ' ' || stop[-1] == ' '))
            break;
        *field++ = (struct http_field){span(p, n), span_between(value, stop)};
        *known_of++ = (uint8_t)known;
        if (LIKELY((present >> known & 1) == 0))
            head->first_of[known] = (uint8_t)(field - head->fields - 1);
        else
            head->repeated |= (uint64_t)1 << known; /* of NONE, too: taken back below */
        present |= (uint64_t)1 << known;
        p = stop + 2;
    }
    head->field_count = (uint32_t)(field - head->fields);
    head->present = present & ~HTTP_SET(NONE);
    head->repeated &= ~HTTP_SET(NONE);
    return p;
}

static size_t wide_unusual(const char *p, const char *end)
{
    size_t count = 0;
    if (end - p >= LANES) {
        for (; end - p > LANES; p += LANES)
            count += (size_t)__builtin_popcount(lanes_unusual(p));
        /* The last block reaches back over what was counted: 1 to 32 of its bytes are new. */
        return count +
               (size_t)__builtin_popcount(lanes_unusual(end - LANES) >> (LANES - (end - p)));
    }
    for (; p < end; p++)
        count += (unsigned char)(*p - ' ') > 0x7e - ' ';
    return count;
}

#endif
