/* scan.h -- finding the byte that ends a run, 16 at a time.
 *
 * Why: a head is mostly names and values whose only interest is where they stop. SSE2 and NEON are
 * part of the base instruction sets, so nothing is chosen at run time; the portable twin is the
 * loop that finishes every run, and it is tested alone by defining HTTP_SCAN_PORTABLE.
 *
 * Each function answers the first byte of [p, end) that is not of its class, or `end`.
 *
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_HTTP_SCAN_H
#define PENSTOCK_HTTP_SCAN_H

#include "base/base.h"

#if defined(HTTP_SCAN_PORTABLE)
#define HTTP_SCAN_WIDE 0
#elif defined(__SSE2__)
#include <emmintrin.h>
#define HTTP_SCAN_WIDE 1
#elif defined(__aarch64__)
#include <arm_neon.h>
#define HTTP_SCAN_WIDE 1
#else
#define HTTP_SCAN_WIDE 0
#endif

enum { SCAN_TOKEN = 1, SCAN_VALUE = 2, SCAN_TARGET = 4, SCAN_HEX = 8, SCAN_HOST = 16 };

/* Which classes a byte belongs to. */
extern const uint8_t scan_class[256];

static inline bool scan_is(char c, unsigned class)
{
    return (scan_class[(unsigned char)c] & class) != 0;
}

#if HTTP_SCAN_WIDE && defined(__SSE2__)

typedef __m128i scan_v;
enum { SCAN_MASK_SHIFT = 0 }; /* a bit a byte */

static inline scan_v scan_load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline scan_v scan_eq(scan_v v, char c)
{
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

static inline scan_v scan_same(scan_v a, scan_v b)
{
    return _mm_cmpeq_epi8(a, b);
}

static inline scan_v scan_min(scan_v a, scan_v b)
{
    return _mm_min_epu8(a, b);
}

/* Bytes in [first, first + width]. */
static inline scan_v scan_within(scan_v v, char first, char width)
{
    const scan_v moved = _mm_sub_epi8(v, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(moved, _mm_set1_epi8(width)), moved);
}

static inline scan_v scan_or(scan_v a, scan_v b)
{
    return _mm_or_si128(a, b);
}

static inline scan_v scan_and_not(scan_v a, scan_v b)
{
    return _mm_andnot_si128(b, a);
}

static inline scan_v scan_fold(scan_v v)
{
    return _mm_or_si128(v, _mm_set1_epi8(0x20));
}

static inline scan_v scan_not(scan_v v)
{
    return _mm_cmpeq_epi8(v, _mm_setzero_si128()); /* of a comparison */
}

static inline uint64_t scan_mask(scan_v v)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(v);
}

static inline uint64_t scan_mask_not(scan_v v)
{
    return scan_mask(v) ^ 0xffffu;
}

#elif HTTP_SCAN_WIDE

typedef uint8x16_t scan_v;
enum { SCAN_MASK_SHIFT = 2 }; /* NEON has no movemask: narrowing leaves four bits a byte */

static inline scan_v scan_load(const char *p)
{
    return vld1q_u8((const uint8_t *)p);
}

static inline scan_v scan_eq(scan_v v, char c)
{
    return vceqq_u8(v, vdupq_n_u8((uint8_t)c));
}

static inline scan_v scan_same(scan_v a, scan_v b)
{
    return vceqq_u8(a, b);
}

static inline scan_v scan_min(scan_v a, scan_v b)
{
    return vminq_u8(a, b);
}

static inline scan_v scan_within(scan_v v, char first, char width)
{
    return vcleq_u8(vsubq_u8(v, vdupq_n_u8((uint8_t)first)), vdupq_n_u8((uint8_t)width));
}

static inline scan_v scan_or(scan_v a, scan_v b)
{
    return vorrq_u8(a, b);
}

static inline scan_v scan_and_not(scan_v a, scan_v b)
{
    return vbicq_u8(a, b);
}

static inline scan_v scan_fold(scan_v v)
{
    return vorrq_u8(v, vdupq_n_u8(0x20));
}

static inline scan_v scan_not(scan_v v)
{
    return vmvnq_u8(v);
}

static inline uint64_t scan_mask(scan_v v)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(v), 4)), 0);
}

static inline uint64_t scan_mask_not(scan_v v)
{
    return ~scan_mask(v);
}

#endif

#if HTTP_SCAN_WIDE
/* Walks 16 bytes at a time while `stops`, a mask of the vector v, is empty. */
#define SCAN_WIDE(p, end, stops)                                                                   \
    while ((end) - (p) >= 16) {                                                                    \
        const scan_v v = scan_load(p);                                                             \
        const uint64_t mask = (stops);                                                             \
        if (mask)                                                                                  \
            return (p) + (__builtin_ctzll(mask) >> SCAN_MASK_SHIFT);                               \
        (p) += 16;                                                                                 \
    }
#endif

#if HTTP_SCAN_WIDE
/* Where among the 16 bytes at p the first stands that is neither a letter, a digit nor '-'; 16 when
 * none does. */
static inline size_t scan_name_bytes(const char *p)
{
    const scan_v v = scan_load(p);
    const scan_v letters = scan_within(scan_fold(v), 'a', 25);
    const scan_v others = scan_or(scan_within(v, '0', 9), scan_eq(v, '-'));
    const uint64_t mask = scan_mask_not(scan_or(letters, others));
    return mask ? (size_t)__builtin_ctzll(mask) >> SCAN_MASK_SHIFT : 16;
}
#endif

/* Past what may stand in a value: HTAB, and everything from SP on but DEL. */
static inline const char *scan_value(const char *p, const char *end)
{
#if HTTP_SCAN_WIDE
    SCAN_WIDE(p, end,
              scan_mask(scan_or(scan_and_not(scan_within(v, 0, 0x1f), scan_eq(v, '\t')),
                                scan_eq(v, 0x7f))))
#endif
    while (p < end && scan_is(*p, SCAN_VALUE))
        p++;
    return p;
}

/* Past token characters. The wide loop knows letters, digits and '-' only: what names are made of.
 */
static inline const char *scan_token(const char *p, const char *end)
{
#if HTTP_SCAN_WIDE
    while (end - p >= 16) {
        const size_t n = scan_name_bytes(p);
        p += n;
        if (n < 16)
            break;
    }
#endif
    while (p < end && scan_is(*p, SCAN_TOKEN))
        p++;
    return p;
}

/* Past visible ASCII without '#', '%' and '?', which mean something in a target. */
static inline const char *scan_target(const char *p, const char *end)
{
#if HTTP_SCAN_WIDE
    SCAN_WIDE(p, end,
              scan_mask(scan_or(scan_or(scan_eq(v, '#'), scan_eq(v, '%')), scan_eq(v, '?'))) |
                  scan_mask_not(scan_within(v, 0x21, 0x7e - 0x21)))
#endif
    while (p < end && scan_is(*p, SCAN_TARGET))
        p++;
    return p;
}

/* Past what host names and addresses are made of, '%' and the rarer marks left out. */
static inline const char *scan_host(const char *p, const char *end)
{
#if HTTP_SCAN_WIDE
    while (end - p >= 16) {
        const scan_v v = scan_load(p);
        const scan_v letters = scan_within(scan_fold(v), 'a', 25);
        const scan_v others = scan_or(scan_within(v, '0', 9), scan_within(v, '-', '.' - '-'));
        const uint64_t mask = scan_mask_not(scan_or(letters, others));
        if (mask) {
            p += __builtin_ctzll(mask) >> SCAN_MASK_SHIFT;
            break;
        }
        p += 16;
    }
#endif
    while (p < end && scan_is(*p, SCAN_HOST))
        p++;
    return p;
}

/* Past everything but CR and LF. Lines of events are long: 64 bytes at a time whose least is beyond
 * CR, and then the narrow loops find the place. */
static inline const char *scan_line(const char *p, const char *end)
{
#if HTTP_SCAN_WIDE
    while (end - p >= 64) {
        const scan_v low = scan_min(scan_load(p), scan_load(p + 16));
        const scan_v high = scan_min(scan_load(p + 32), scan_load(p + 48));
        if (scan_mask(scan_within(scan_min(low, high), 0, '\r')))
            break;
        p += 64;
    }
    SCAN_WIDE(p, end, scan_mask(scan_or(scan_eq(v, '\n'), scan_eq(v, '\r'))))
#endif
    while (p < end && *p != '\n' && *p != '\r')
        p++;
    return p;
}

#endif
