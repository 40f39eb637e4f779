#include "config/suggest.h"

static unsigned char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned char)(c + 'a' - 'A');
    return c == '-' ? '_' : (unsigned char)c; /* base-url is meant as base_url */
}

static uint8_t least(uint8_t a, uint8_t b, uint8_t c)
{
    return MIN(MIN(a, b), c);
}

uint32_t edit_distance(struct span a, struct span b)
{
    if (a.n > SUGGEST_BYTES_MAX || b.n > SUGGEST_BYTES_MAX)
        return UINT32_MAX;
    /* Three rows of the usual table, taken in turn: a swap looks two rows back. */
    uint8_t rows[3][SUGGEST_BYTES_MAX + 1];
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a.n; i++) {
        uint8_t *row = rows[i % 3];
        const uint8_t *above = rows[(i + 2) % 3];
        const uint8_t *above_that = rows[(i + 1) % 3];
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b.n; j++) {
            bool same = fold(a.p[i - 1]) == fold(b.p[j - 1]);
            row[j] = least((uint8_t)(above[j] + 1), (uint8_t)(row[j - 1] + 1),
                           (uint8_t)(above[j - 1] + !same));
            if (i > 1 && j > 1 && fold(a.p[i - 1]) == fold(b.p[j - 2]) &&
                fold(a.p[i - 2]) == fold(b.p[j - 1]))
                row[j] = MIN(row[j], (uint8_t)(above_that[j - 2] + 1));
        }
    }
    return rows[a.n % 3][b.n];
}

void suggest_init(struct suggestion *s, struct span wrong)
{
    *s = (struct suggestion){.wrong = wrong, .distance = UINT32_MAX};
}

void suggest_offer(struct suggestion *s, struct span right)
{
    uint32_t distance = edit_distance(s->wrong, right);
    /* One slip in three letters: beyond that a guess misleads. */
    if (distance <= MAX(MAX(s->wrong.n, right.n) / 3, 1) && distance < right.n &&
        distance < s->distance) {
        s->distance = distance;
        s->nearest = right;
    }
}
