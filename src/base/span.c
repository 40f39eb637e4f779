#include "base/span.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool span_eq_nocase(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] != b.p[i] && fold(a.p[i]) != fold(b.p[i]))
            return false;
    return true;
}

size_t span_find(struct span s, char c)
{
    const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;
    return hit ? (size_t)(hit - s.p) : s.n;
}

#ifdef __SSE2__

/* 16 places at a time: those where both ends of the text match are looked at whole. */
static size_t search_blocks(struct span s, struct span text, size_t *at)
{
    const __m128i first = _mm_set1_epi8(text.p[0]), last = _mm_set1_epi8(text.p[text.n - 1]);
    for (; *at + 16 + text.n - 1 <= s.n; *at += 16) {
        const char *p = s.p + *at;
        __m128i a = _mm_cmpeq_epi8(first, _mm_loadu_si128((const __m128i *)(const void *)p));
        __m128i b =
            _mm_cmpeq_epi8(last, _mm_loadu_si128((const __m128i *)(const void *)(p + text.n - 1)));
        unsigned hits = (unsigned)_mm_movemask_epi8(_mm_and_si128(a, b));
        for (; UNLIKELY(hits); hits &= hits - 1) {
            unsigned i = (unsigned)__builtin_ctz(hits);
            if (memcmp(p + i, text.p, text.n) == 0)
                return *at + i;
        }
    }
    return s.n;
}

#else

static size_t search_blocks(struct span s, struct span text, size_t *at)
{
    (void)text;
    (void)at;
    return s.n;
}

#endif

size_t span_search(struct span s, struct span text)
{
    ASSERT(text.n > 0);
    size_t at = 0, hit = search_blocks(s, text, &at);
    if (hit < s.n)
        return hit;
    const char *found = s.n > at ? memmem(s.p + at, s.n - at, text.p, text.n) : NULL;
    return found ? (size_t)(found - s.p) : s.n;
}

bool span_cut(struct span s, char c, struct span *head, struct span *tail)
{
    size_t at = span_find(s, c);
    *head = span(s.p, at);
    *tail = span_from(s, at + 1);
    return at < s.n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
    while (s.n && is_blank(s.p[0]))
        s = span(s.p + 1, s.n - 1);
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

enum err span_to_u64(struct span s, uint64_t *value)
{
    if (s.n == 0)
        return ERR_BAD_REQUEST;
    uint64_t sum = 0;
    const char *p = s.p;
    /* Nineteen digits always fit. */
    for (const char *const safe = p + MIN(s.n, (size_t)19); p < safe; p++) {
        const unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9)
            return ERR_BAD_REQUEST;
        sum = sum * 10 + digit;
    }
    for (const char *const end = s.p + s.n; UNLIKELY(p < end); p++) {
        if (*p < '0' || *p > '9')
            return ERR_BAD_REQUEST;
        if (__builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
            return ERR_BAD_REQUEST;
    }
    *value = sum;
    return ERR_OK;
}

int span_cmp(struct span a, struct span b)
{
    size_t n = MIN(a.n, b.n);
    int order = n ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool span_eq_secret(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    unsigned char difference = 0;
    for (size_t i = 0; i < a.n; i++)
        difference |= (unsigned char)(a.p[i] ^ b.p[i]);
    /* The barrier keeps the compiler from leaving the loop at the first difference. */
    __asm__ volatile("" : "+r"(difference));
    return difference == 0;
}
