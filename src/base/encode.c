#include "base/encode.h"

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Eight digits at a time: the nibbles of four bytes are spread over eight, and each becomes its
 * digit; where it is above 9, the letters begin 39 places after the digits. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");
static uint64_t eight_digits(uint32_t bytes)
{
    const uint64_t low_nibbles = UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t v = bytes;
    v = (v | v << 16) & UINT64_C(0x0000ffff0000ffff);
    v = (v | v << 8) & UINT64_C(0x00ff00ff00ff00ff);
    v = (v >> 4 | v << 8) & low_nibbles; /* high nibble first */
    uint64_t is_letter = (v + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    return v + UINT64_C(0x3030303030303030) + is_letter * 39;
}

void hex_encode(const void *bytes, size_t n, char *out)
{
    const unsigned char *p = bytes;
    for (; n >= 4; p += 4, n -= 4, out += 8) {
        uint32_t word;
        memcpy(&word, p, sizeof word);
        uint64_t digits = eight_digits(word);
        memcpy(out, &digits, sizeof digits);
    }
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex_digits[p[i] >> 4];
        out[2 * i + 1] = hex_digits[p[i] & 15];
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(struct span s, void *out)
{
    unsigned char *p = out;
    if (s.n % 2 != 0)
        return false;
    for (size_t i = 0; i < s.n; i += 2) {
        int high = hex_value(s.p[i]), low = hex_value(s.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        p[i / 2] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void base64_encode(const void *bytes, size_t n, char *out)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i += 3, out += 4) {
        size_t left = n - i;
        uint32_t word = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)p[i + 2] : 0);
        out[0] = base64_digits[word >> 18];
        out[1] = base64_digits[word >> 12 & 63];
        out[2] = left > 1 ? base64_digits[word >> 6 & 63] : '=';
        out[3] = left > 2 ? base64_digits[word & 63] : '=';
    }
}

static int base64_value(char c)
{
    const char *hit = c ? strchr(base64_digits, c) : NULL;
    return hit ? (int)(hit - base64_digits) : -1;
}

/* One group of four. `pads` is how many '=' may stand at its end; 0 for all groups but the last. */
static bool decode_group(const char *in, int pads, unsigned char *out)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        int value = i >= 4 - pads ? 0 : base64_value(in[i]);
        if (value < 0)
            return false;
        word = word << 6 | (uint32_t)value;
    }
    if (pads && (word & (pads == 1 ? 0xffu : 0xffffu)) != 0)
        return false; /* bits that no encoder writes */
    for (int i = 0; i < 3 - pads; i++)
        out[i] = (unsigned char)(word >> (16 - 8 * i));
    return true;
}

bool base64_decode(struct span s, void *out, size_t *n)
{
    if (s.n % 4 != 0)
        return false;
    unsigned char *p = out;
    for (size_t i = 0; i < s.n; i += 4) {
        int pads = 0;
        if (i + 4 == s.n && s.p[i + 3] == '=')
            pads = s.p[i + 2] == '=' ? 2 : 1;
        if (!decode_group(s.p + i, pads, p))
            return false;
        p += 3 - pads;
    }
    *n = (size_t)(p - (unsigned char *)out);
    return true;
}
