/* text_kernels.h -- the variants of json_kernel.text, to be inlined into the scanners.
 *
 * Why: most strings are a few bytes long; a call a string would cost more than reading it.
 * Private to this room's kernel.c and scan.c. What each does is said in kernel.h.
 *
 * Each text_run_* reads blocks while whole blocks remain, then hands over to the next smaller one.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_TEXT_KERNELS_H
#define PENSTOCK_JSON_TEXT_KERNELS_H

#include "json/utf8.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define JSON_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define TEXT_INLINE static inline __attribute__((always_inline))

static inline bool text_is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* Characters of several bytes. Stops at the first byte < 0x80, at the end, or at what is wrong. */
static inline const char *text_beyond_ascii(const char *p, const char *end)
{
    unsigned n;
    while (p < end && (unsigned char)*p >= 0x80 && (n = utf8_length(p, end)) != 0)
        p += n;
    return p;
}

/* What a kernel is asked for besides plain text: the scanner also passes over escapes of two
 * bytes, and wants to know that there were any. */
enum text_mode { TEXT_PLAIN, TEXT_AND_ESCAPES };

static const bool text_is_short_escape[256] = {
    ['"'] = 1, ['\\'] = 1, ['/'] = 1, ['b'] = 1, ['f'] = 1, ['n'] = 1, ['r'] = 1, ['t'] = 1};

/* Behind what stands at p, which is no plain byte; p itself when it is to stop there. */
TEXT_INLINE const char *text_special(const char *p, const char *end, enum text_mode mode,
                                     bool *has_escape)
{
    if ((unsigned char)*p >= 0x80)
        return text_beyond_ascii(p, end);
    if (mode == TEXT_PLAIN || *p != '\\' || end - p < 2 ||
        !text_is_short_escape[(unsigned char)p[1]])
        return p;
    *has_escape = true;
    return p + 2;
}

/* Looks at the bytes that are marked in the block at p, `1 << scale` bits of the mask a byte.
 * Answers where to stop; or NULL, and then `*block` is how far the block reaches, which is more
 * than its size when a character or an escape sticks out. */
TEXT_INLINE const char *text_resolve(const char *p, const char *end, uint64_t mask, unsigned scale,
                                     enum text_mode mode, bool *has_escape, size_t *block)
{
    do {
        const char *const at = p + ((unsigned)__builtin_ctzll(mask) >> scale);
        if (LIKELY(*at == '"'))
            return at;
        const char *const behind = text_special(at, end, mode, has_escape);
        if (behind == at)
            return at;
        const size_t n = (size_t)(behind - p);
        if (n >= *block) {
            *block = n;
            return NULL;
        }
        mask &= ~(uint64_t)0 << (n << scale);
    } while (mask);
    return NULL;
}

/* The last bytes of a body. */
TEXT_INLINE const char *text_run_bytewise(const char *p, const char *end, enum text_mode mode,
                                          bool *has_escape)
{
    while (p < end) {
        const char *const behind =
            text_is_plain(*p) ? p + 1 : text_special(p, end, mode, has_escape);
        if (behind == p)
            break;
        p = behind;
    }
    return p;
}

TEXT_INLINE const char *text_run_portable(const char *p, const char *end, enum text_mode mode,
                                          bool *has_escape)
{
    const uint64_t ones = 0x0101010101010101, tops = ones * 0x80;
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        const uint64_t quote = w ^ ones * '"', backslash = w ^ ones * '\\';
        /* A top bit is set if a byte is below 0x20, is one of the two, or is 0x80 and above. It
         * may also be set behind such a byte by a borrow: so the bytes are looked at singly. */
        const uint64_t stop = (w - ones * 0x20) | (quote - ones) | (backslash - ones) | w;
        const char *const block_end = p + 8;
        if (!(stop & tops)) {
            p = block_end;
            continue;
        }
        while (p < block_end) {
            const char *const behind =
                text_is_plain(*p) ? p + 1 : text_special(p, end, mode, has_escape);
            if (behind == p)
                return p;
            p = behind;
        }
    }
    return text_run_bytewise(p, end, mode, has_escape);
}

#if defined(__x86_64__)

TEXT_INLINE const char *text_run_sse2(const char *p, const char *end, enum text_mode mode,
                                      bool *has_escape)
{
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    const uintptr_t last = (uintptr_t)end - 16;
    while ((uintptr_t)p <= last) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* The comparison is signed: below 0x20 is also 0x80 and above. */
        const __m128i stop =
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)),
                         _mm_cmplt_epi8(v, space));
        const unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        size_t block = 16;
        if (mask) {
            const char *const at = text_resolve(p, end, mask, 0, mode, has_escape, &block);
            if (at)
                return at;
        }
        p += block;
    }
    return text_run_bytewise(p, end, mode, has_escape);
}

/* The table look-ups of J. Keiser and D. Lemire, "Validating UTF-8 in less than one instruction
 * per byte" (2021). Each pair of neighbouring bytes is looked up by three nibbles; a bit that
 * survives the conjunction names what is wrong with the pair. */
enum utf8_fault {
    TOO_SHORT = 1 << 0,  /* 11xxxxxx, then no continuation */
    TOO_LONG = 1 << 1,   /* 0xxxxxxx, then a continuation */
    OVERLONG_3 = 1 << 2, /* E0, then 80..9F */
    TOO_LARGE = 1 << 3,  /* F4, then 90..BF; F5..FF, then 90..BF */
    SURROGATE = 1 << 4,  /* ED, then A0..BF */
    OVERLONG_2 = 1 << 5, /* C0 or C1 */
    OVERLONG_4 = 1 << 6, /* F0, then 80..8F; and with it F5..FF, then 80..8F */
    TWO_TAILS = 1 << 7,  /* two continuations: right only as third or fourth byte */
    ANY_LOW = TOO_SHORT | TOO_LONG | TWO_TAILS,
    ANY_LARGE = ANY_LOW | TOO_LARGE | OVERLONG_4,
    TAIL_HIGH = TOO_LONG | OVERLONG_2 | TWO_TAILS
};

#define B(x) (char)(x)
#define TABLE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)

/* True when the 32 bytes, which begin where a character begins, are UTF-8 up to their end, where
 * the last character may be cut off. */
JSON_AVX2 static inline bool text_block_is_utf8(__m256i v)
{
    const __m256i by_first_high =
        TABLE(B(TOO_LONG), B(TOO_LONG), B(TOO_LONG), B(TOO_LONG), B(TOO_LONG), B(TOO_LONG),
              B(TOO_LONG), B(TOO_LONG), B(TWO_TAILS), B(TWO_TAILS), B(TWO_TAILS), B(TWO_TAILS),
              B(TOO_SHORT | OVERLONG_2), B(TOO_SHORT), B(TOO_SHORT | OVERLONG_3 | SURROGATE),
              B(TOO_SHORT | TOO_LARGE | OVERLONG_4));
    const __m256i by_first_low =
        TABLE(B(ANY_LOW | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), B(ANY_LOW | OVERLONG_2),
              B(ANY_LOW), B(ANY_LOW), B(ANY_LOW | TOO_LARGE), B(ANY_LARGE), B(ANY_LARGE),
              B(ANY_LARGE), B(ANY_LARGE), B(ANY_LARGE), B(ANY_LARGE), B(ANY_LARGE), B(ANY_LARGE),
              B(ANY_LARGE | SURROGATE), B(ANY_LARGE), B(ANY_LARGE));
    const __m256i by_second_high =
        TABLE(B(TOO_SHORT), B(TOO_SHORT), B(TOO_SHORT), B(TOO_SHORT), B(TOO_SHORT), B(TOO_SHORT),
              B(TOO_SHORT), B(TOO_SHORT), B(TAIL_HIGH | OVERLONG_3 | OVERLONG_4),
              B(TAIL_HIGH | OVERLONG_3 | TOO_LARGE), B(TAIL_HIGH | SURROGATE | TOO_LARGE),
              B(TAIL_HIGH | SURROGATE | TOO_LARGE), B(TOO_SHORT), B(TOO_SHORT), B(TOO_SHORT),
              B(TOO_SHORT));
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    /* Zeros in front of the block: a character boundary. */
    const __m256i carried = _mm256_permute2x128_si256(v, v, 0x08);
    const __m256i before_1 = _mm256_alignr_epi8(v, carried, 15);
    const __m256i before_2 = _mm256_alignr_epi8(v, carried, 14);
    const __m256i before_3 = _mm256_alignr_epi8(v, carried, 13);
    const __m256i first_high = _mm256_and_si256(_mm256_srli_epi16(before_1, 4), nibble);
    const __m256i second_high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
    const __m256i fault = _mm256_and_si256(
        _mm256_and_si256(_mm256_shuffle_epi8(by_first_high, first_high),
                         _mm256_shuffle_epi8(by_first_low, _mm256_and_si256(before_1, nibble))),
        _mm256_shuffle_epi8(by_second_high, second_high));
    /* A third byte of three or a fourth of four must be the second of TWO_TAILS, no other may. */
    const __m256i third = _mm256_subs_epu8(before_2, _mm256_set1_epi8(0xE0 - 0x80));
    const __m256i fourth = _mm256_subs_epu8(before_3, _mm256_set1_epi8(0xF0 - 0x80));
    const __m256i must = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8(-0x80));
    const __m256i wrong = _mm256_xor_si256(must, fault);
    return _mm256_testz_si256(wrong, wrong);
}

#undef TABLE
#undef B

/* How many of the last 32 bytes are whole characters, when all before is right. */
static inline unsigned text_whole_32(const char *p)
{
    if ((unsigned char)p[31] >= 0xC0)
        return 31;
    if ((unsigned char)p[30] >= 0xE0)
        return 30;
    return (unsigned char)p[29] >= 0xF0 ? 29 : 32;
}

/* Which of the 32 bytes are a quote, a backslash, below 0x20, or 0x80 and above. Flipping bit 1
 * makes the quote a 0x20 and leaves what is below there; the comparison is signed. */
JSON_AVX2 TEXT_INLINE unsigned text_stops_32(__m256i v)
{
    const __m256i low =
        _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), _mm256_xor_si256(v, _mm256_set1_epi8(0x02)));
    const __m256i backslash = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'));
    return (unsigned)_mm256_movemask_epi8(_mm256_or_si256(low, backslash));
}

JSON_AVX2 TEXT_INLINE const char *text_run_avx2(const char *p, const char *end, enum text_mode mode,
                                                bool *has_escape)
{
    const uintptr_t last = (uintptr_t)end - 32; /* where a whole block may begin */
    while ((uintptr_t)p <= last) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        unsigned mask = text_stops_32(v);
        size_t block = 32;
        if (mask) {
            const char *const at = p + (unsigned)__builtin_ctz(mask);
            if (LIKELY(*at == '"'))
                return at;
            /* Several characters beyond ASCII are looked at together, and what is no UTF-8 then one
             * by one: that may be so only behind the end of this string. */
            const unsigned high = (unsigned)_mm256_movemask_epi8(v);
            if (UNLIKELY(__builtin_popcount(high) > 6) && text_block_is_utf8(v)) {
                mask &= ~high;
                block = text_whole_32(p);
            }
        }
        if (mask) {
            const char *const at = text_resolve(p, end, mask, 0, mode, has_escape, &block);
            if (at)
                return at;
        }
        p += block;
    }
    return text_run_sse2(p, end, mode, has_escape);
}

#elif defined(__aarch64__)

TEXT_INLINE const char *text_run_neon(const char *p, const char *end, enum text_mode mode,
                                      bool *has_escape)
{
    const uint8x16_t quote = vdupq_n_u8('"'), backslash = vdupq_n_u8('\\');
    const int8x16_t space = vdupq_n_s8(0x20);
    while (end - p >= 16) {
        const uint8x16_t v = vld1q_u8((const uint8_t *)p);
        /* The comparison is signed: below 0x20 is also 0x80 and above. */
        const uint8x16_t stop = vorrq_u8(vorrq_u8(vceqq_u8(v, quote), vceqq_u8(v, backslash)),
                                         vcltq_s8(vreinterpretq_s8_u8(v), space));
        /* Four bits a byte: what movemask is elsewhere. */
        const uint8x8_t narrow = vshrn_n_u16(vreinterpretq_u16_u8(stop), 4);
        const uint64_t mask = vget_lane_u64(vreinterpret_u64_u8(narrow), 0);
        size_t block = 16;
        if (mask) {
            const char *const at = text_resolve(p, end, mask, 2, mode, has_escape, &block);
            if (at)
                return at;
        }
        p += block;
    }
    return text_run_bytewise(p, end, mode, has_escape);
}

#endif

#endif
