/* utf8.h -- one UTF-8 character at a time, by the table of RFC 3629 (Unicode table 3-7).
 *
 * Why: scanner, tap and writer must agree, byte for byte, on what a character is.
 *
 *     first       second      third    fourth          A second byte outside of its range is what
 *     C2..DF      80..BF                               makes overlong forms (E0, F0), surrogates
 *     E0          A0..BF      80..BF                   (ED) and numbers beyond U+10FFFF (F4).
 *     E1..EC EE EF 80..BF     80..BF
 *     ED          80..9F      80..BF
 *     F0          90..BF      80..BF   80..BF
 *     F1..F3      80..BF      80..BF   80..BF
 *     F4          80..8F      80..BF   80..BF
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_JSON_UTF8_H
#define PENSTOCK_JSON_UTF8_H

#include "base/base.h"

/* How many bytes follow a first byte >= 0x80, and within which bounds the second must be. -1: it
 * cannot be a first byte. */
static inline int utf8_follow(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0xC2 || first > 0xF4)
        return -1;
    return first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
}

/* Bytes of [p, end) that belong together: a whole character, or the longest part that could begin
 * one (at least 1 byte). `*p` >= 0x80, p < end. */
static inline unsigned utf8_part(const char *p, const char *end, bool *is_whole)
{
    unsigned char low, high;
    int follow = utf8_follow((unsigned char)*p, &low, &high);
    unsigned n = 1;
    for (*is_whole = false; follow >= 0 && !*is_whole; n++) {
        if (p + n == end || (unsigned char)p[n] < low || (unsigned char)p[n] > high)
            break;
        low = 0x80;
        high = 0xBF;
        *is_whole = n == (unsigned)follow;
    }
    return n;
}

static inline bool utf8_is_tail(char c)
{
    return (signed char)c < -0x40; /* 80..BF */
}

/* As utf8_part for whole characters only, without a loop: 2 to 4, or 0. */
static inline unsigned utf8_length(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    const size_t room = (size_t)(end - p);
    if (u[0] >= 0xE0 && u[0] < 0xF0) {
        if (room < 3 || !utf8_is_tail(p[1]) || !utf8_is_tail(p[2]))
            return 0;
        bool is_bad = (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F);
        return is_bad ? 0 : 3;
    }
    if (u[0] < 0xE0)
        return u[0] >= 0xC2 && room >= 2 && utf8_is_tail(p[1]) ? 2 : 0;
    if (u[0] > 0xF4 || room < 4)
        return 0;
    if (!utf8_is_tail(p[1]) || !utf8_is_tail(p[2]) || !utf8_is_tail(p[3]))
        return 0;
    bool is_bad = (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F);
    return is_bad ? 0 : 4;
}

/* Writes a code point, surrogates as if they were characters; the number of bytes. */
static inline unsigned utf8_encode(uint32_t c, char bytes[4])
{
    if (c < 0x80) {
        bytes[0] = (char)c;
        return 1;
    }
    unsigned n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3F));
    bytes[0] = (char)(c | (0xF00u >> n)); /* 110, 1110, 11110 in front */
    return n;
}

static inline bool utf16_is_first_half(uint32_t unit)
{
    return unit >> 10 == 0xD800 >> 10;
}

static inline bool utf16_is_second_half(uint32_t unit)
{
    return unit >> 10 == 0xDC00 >> 10;
}

static inline uint32_t utf16_join(uint32_t first, uint32_t second)
{
    return 0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
}

#endif
