/* json_reference.h -- decides what JSON is by interpreting the grammar of RFC 8259 as text.
 *
 * Why: an oracle that shares nothing with the code under test: slow, recursive, one code point at
 * a time. The rules below are the RFC's ABNF, sections 2 to 7, in a notation of one character a
 * symbol.
 *
 *     A..Z   a rule            'x     the character x       [xyz]  one of these
 *     (a|b)  a or b            (a)?   perhaps               (a)*   as often as possible
 *
 * Ordered choice without going back is enough: the grammar needs one character of look-ahead.
 */
#ifndef PENSTOCK_TESTS_JSON_REFERENCE_H
#define PENSTOCK_TESTS_JSON_REFERENCE_H

#include "base/limits.h"
#include "base/span.h"

#include <stdlib.h>

static const char *const reference_rules[128] = {
    ['J'] = "WVW",
    ['W'] = "([ \t\n\r])*",
    ['V'] = "('f'a'l's'e|'n'u'l'l|'t'r'u'e|O|A|N|S)",
    ['O'] = "'{W(M(W',WM)*)?W'}",
    ['M'] = "SW':WV",
    ['A'] = "'[W(V(W',WV)*)?W']",
    ['N'] = "('-)?I(F)?(E)?",
    ['I'] = "('0|P(D)*)",
    ['P'] = "[123456789]",
    ['D'] = "[0123456789]",
    ['F'] = "'.D(D)*",
    ['E'] = "[eE]([-+])?D(D)*",
    ['S'] = "'\"(C)*'\"",
    ['C'] = "(U|'\\([\"\\/bfnrt]|'uHHHH))",
    ['H'] = "[0123456789abcdefABCDEF]",
    /* U, unescaped, is %x20-21 / %x23-5B / %x5D-10FFFF: see reference_rule. */
};

struct reference {
    const uint32_t *text; /* code points */
    long n;
    int depth;
};

static long reference_choice(struct reference *r, const char *from, long at, const char **behind);

static long reference_rule(struct reference *r, char name, long at)
{
    if (name == 'U') {
        const uint32_t c = at < r->n ? r->text[at] : 0;
        const bool is_one = (c >= 0x20 && c <= 0x21) || (c >= 0x23 && c <= 0x5B) || c >= 0x5D;
        return is_one ? at + 1 : -1;
    }
    const bool is_level = name == 'O' || name == 'A';
    if (is_level && r->depth == JSON_DEPTH_MAX)
        return -1;
    const char *behind;
    r->depth += is_level;
    at = reference_choice(r, reference_rules[(int)name], at, &behind);
    r->depth -= is_level;
    return at;
}

/* One symbol of a rule; `*p` moves behind it whether or not it matches. */
static long reference_symbol(struct reference *r, const char **p, long at)
{
    const char op = *(*p)++;
    if (op == '\'') {
        const bool is_it = at < r->n && r->text[at] == (unsigned char)**p;
        ++*p;
        return is_it ? at + 1 : -1;
    }
    if (op == '[') {
        bool is_one = false;
        for (; **p != ']'; ++*p)
            is_one |= at < r->n && r->text[at] == (unsigned char)**p;
        ++*p;
        return is_one ? at + 1 : -1;
    }
    if (op != '(')
        return reference_rule(r, op, at);
    const char *const group = *p;
    long next = reference_choice(r, group, at, p);
    const char times = **p;
    if (times != '*' && times != '?')
        return next;
    while (next >= 0) {
        const char *ignored;
        at = next;
        next = times == '*' ? reference_choice(r, group, at, &ignored) : -1;
    }
    ++*p;
    return at;
}

/* The first alternative that matches, up to the ')' or the end of the rule. */
static long reference_choice(struct reference *r, const char *from, long at, const char **behind)
{
    long found = -1;
    const char *p = from;
    for (;;) {
        long here = at;
        while (*p && *p != '|' && *p != ')') {
            /* A failed alternative is still walked through, to find its end. */
            struct reference nothing = {r->text, 0, JSON_DEPTH_MAX};
            const bool is_live = found < 0 && here >= 0;
            const long next = reference_symbol(is_live ? r : &nothing, &p, is_live ? here : 0);
            here = is_live ? next : -1;
        }
        if (found < 0)
            found = here;
        if (*p != '|')
            break;
        p++;
    }
    *behind = *p ? p + 1 : p;
    return found;
}

/* RFC 3629 by arithmetic: a sequence is right if encoding its value would take as many bytes. */
static long reference_decode(struct span body, uint32_t *text)
{
    long n = 0;
    for (size_t i = 0; i < body.n;) {
        const unsigned char first = (unsigned char)body.p[i++];
        int more = 0;
        while (more < 5 && (first << more & 0xC0) == 0xC0)
            more++;
        if (more > 3 || (first & 0xC0) == 0x80)
            return -1;
        uint32_t c = more ? first & (0x3Fu >> more) : first;
        for (int k = 0; k < more; k++, i++) {
            if (i == body.n || ((unsigned char)body.p[i] & 0xC0) != 0x80)
                return -1;
            c = c << 6 | ((unsigned char)body.p[i] & 0x3F);
        }
        const int needed = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        if (more != needed || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return -1;
        text[n++] = c;
    }
    return n;
}

static inline bool reference_accepts(struct span body)
{
    uint32_t *const text = malloc((body.n + 1) * sizeof *text);
    struct reference r = {text, reference_decode(body, text), 0};
    const bool is_json = r.n >= 0 && reference_rule(&r, 'J', 0) == r.n;
    free(text);
    return is_json;
}

#endif
