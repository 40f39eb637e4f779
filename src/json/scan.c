/* scan.c -- the grammar, once, compiled for each kernel.
 *
 * A body whose last byte closes an array or object (all that matter) needs no look at the end
 * before each byte: that last byte stops every loop but those over strings, which have their own
 * bounds. `closed` says so, is a constant where it stands, and so each function is compiled for
 * both. What fails there is scanned again without it, which finds the place and says what is wrong.
 *
 * scan_core is a loop over values: read one, then close the levels that end behind it, then a
 * comma and perhaps a name, and on. The functions marked INLINE are inlined into it, and it into
 * one function a kernel, so that the kernel's loop over string bytes stands in the middle of it
 * without a call. Positions travel in `p`; NULL means failed, and the scan says why. */
#include "json/scan.h"

#include "json/kernel.h"
#include "json/scan_state.h"
#include "json/text_kernels.h"
#include "json/value.h"

#include <stdatomic.h>

#define INLINE static inline __attribute__((always_inline))

/* Passes over plain text and short escapes; one of text_run_*. */
typedef const char *(*text_fn)(const char *p, const char *end, enum text_mode mode,
                               bool *has_escape);

static COLD const char *fail_at(struct scan *s, const char *at, enum err code, const char *reason)
{
    s->failed_at = at;
    s->reason = reason;
    s->failed = code;
    return NULL;
}

static COLD const char *bad(struct scan *s, const char *at, const char *reason)
{
    return fail_at(s, at, ERR_BAD_JSON, at == s->end ? "the text ends too early" : reason);
}

INLINE bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Whether p is the end of the text. */
INLINE bool ended(const struct scan *s, const char *p, bool closed)
{
    return !closed && p == s->end;
}

INLINE const char *skip_space(const struct scan *s, const char *p, bool closed)
{
    while (!ended(s, p, closed) && UNLIKELY((unsigned char)*p <= ' ') &&
           (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* --- strings -------------------------------------------------------------------------------- */

/* One more than the value of a hex digit; 0: it is none. */
static const uint8_t hex_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* The 16 bits of \uXXXX at p, or -1. */
INLINE int32_t hex_unit(const char *p, const char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    const int32_t a = hex_digits[(unsigned char)p[2]], b = hex_digits[(unsigned char)p[3]];
    const int32_t c = hex_digits[(unsigned char)p[4]], d = hex_digits[(unsigned char)p[5]];
    if (!a || !b || !c || !d)
        return -1;
    return (a - 1) << 12 | (b - 1) << 8 | (c - 1) << 4 | (d - 1);
}

static COLD const char *bad_escape(struct scan *s, const char *p)
{
    /* The first byte that cannot be right. */
    const char *at = p + 1;
    if (at < s->end && *at == 'u') {
        at++;
        while (at < s->end && at < p + 6 && hex_digits[(unsigned char)*at])
            at++;
    }
    return bad(s, at, "not an escape that JSON knows");
}

static __attribute__((noinline)) const char *unicode_escape(struct scan *s, const char *p)
{
    const int32_t unit = hex_unit(p, s->end);
    if (unit < 0)
        return bad_escape(s, p);
    if (LIKELY(unit >> 11 != 0xD800 >> 11))
        return p + 6;
    if (utf16_is_first_half((uint32_t)unit)) {
        const int32_t other = hex_unit(p + 6, s->end);
        if (other >= 0 && utf16_is_second_half((uint32_t)other))
            return p + 12;
    }
    s->has_lone_surrogate = true;
    if (s->flags & JSON_PAIRED_ESCAPES)
        return bad(s, p, "half of a surrogate pair");
    return p + 6;
}

static COLD const char *bad_text(struct scan *s, const char *p)
{
    return bad(s, p,
               (unsigned char)*p < 0x20 ? "a control byte in a string must be escaped"
                                        : "the string is not UTF-8");
}

/* `p` stands behind the opening quote; answers what stands behind the closing one. */
INLINE const char *string(struct scan *s, const char *p, text_fn text, bool *has_escape)
{
    for (;;) {
        p = text(p, s->end, TEXT_AND_ESCAPES, has_escape);
        if (UNLIKELY(p == s->end))
            return bad(s, p, NULL);
        if (LIKELY(*p == '"'))
            return p + 1;
        if (UNLIKELY(*p != '\\'))
            return bad_text(s, p);
        *has_escape = true;
        p = unicode_escape(s, p);
        if (UNLIKELY(!p))
            return NULL;
    }
}

/* --- names ---------------------------------------------------------------------------------- */

/* The index of a wanted name that is written with escapes, or -1. */
static COLD int find_escaped(const struct json_names *names, struct span text)
{
    char name[JSON_NAME_BYTES_MAX + 4];
    size_t n = 0;
    const char *p = text.p, *const end = text.p + text.n;
    while (p < end && n <= JSON_NAME_BYTES_MAX) {
        unsigned count;
        p = json_decode_step(p, end, name + n, &count);
        n += count;
    }
    return n <= JSON_NAME_BYTES_MAX ? json_names_find(names, (struct span){name, n}) : -1;
}

/* A member begins at want_depth: its value is to be noted if it is wanted. */
INLINE bool want(struct scan *s, struct span text, bool has_escape)
{
    const int i =
        UNLIKELY(has_escape) ? find_escaped(s->names, text) : json_names_find(s->names, text);
    s->member = &s->ignored;
    s->inside = NULL;
    if (i < 0)
        return true;
    if (UNLIKELY(s->values[i].p))
        return bad(s, text.p - 1, "the name of this member stands there twice");
    s->member = &s->values[i];
    s->inside = s->names->inside[i];
    return true;
}

static bool note_name(struct scan *s, struct span raw)
{
    const enum err code = unique_add(s->unique, raw);
    if (UNLIKELY(code == ERR_TOO_LARGE))
        return fail_at(s, raw.p, code, "too many members");
    if (UNLIKELY(code != ERR_OK))
        return fail_at(s, raw.p, code, "no memory");
    return true;
}

/* A member's name and its colon. */
INLINE const char *name(struct scan *s, const char *p, text_fn text, bool closed)
{
    bool has_escape = false;
    if (UNLIKELY(ended(s, p, closed) || *p != '"')) {
        p = skip_space(s, p, closed);
        if (ended(s, p, closed) || *p != '"')
            return bad(s, p, "a member's name in quotes is expected");
    }
    const char *const first = p + 1;
    p = string(s, first, text, &has_escape);
    if (UNLIKELY(!p))
        return NULL;
    if (s->depth == s->want_depth && UNLIKELY(!want(s, span_between(first, p - 1), has_escape)))
        return NULL;
    if (UNLIKELY(s->unique) && !note_name(s, span_between(first - 1, p)))
        return NULL;
    if (UNLIKELY(ended(s, p, closed) || *p != ':')) {
        p = skip_space(s, p, closed);
        if (ended(s, p, closed) || *p != ':')
            return bad(s, p, "a colon is expected");
    }
    return p + 1;
}

/* --- other values --------------------------------------------------------------------------- */

static const char *digits(struct scan *s, const char *p)
{
    if (p == s->end || !is_digit(*p))
        return bad(s, p, "a digit is expected");
    while (p < s->end && is_digit(*p))
        p++;
    return p;
}

static const char *fraction_and_exponent(struct scan *s, const char *p)
{
    if (p < s->end && *p == '.' && !(p = digits(s, p + 1)))
        return NULL;
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        p = digits(s, p);
    }
    return p;
}

/* `p` stands at the first digit. */
INLINE const char *number(struct scan *s, const char *p, bool closed)
{
    static const bool goes_on[256] = {['.'] = 1, ['e'] = 1, ['E'] = 1};
    if (*p++ != '0')
        while (!ended(s, p, closed) && is_digit(*p))
            p++;
    if (UNLIKELY(!ended(s, p, closed) && goes_on[(unsigned char)*p]))
        return fraction_and_exponent(s, p);
    return p;
}

static COLD const char *bad_word(struct scan *s, const char *p, const char *word)
{
    while (p < s->end && *p == *word)
        p++, word++;
    return bad(s, p, "a value is expected");
}

INLINE const char *word(struct scan *s, const char *p, const char *text, size_t n)
{
    if (LIKELY((size_t)(s->end - p) >= n && memcmp(p, text, n) == 0))
        return p + n;
    return bad_word(s, p, text);
}

/* A negative number, true, false or null. */
static const char *scalar(struct scan *s, const char *p)
{
    switch (*p) {
    case 't':
        return word(s, p, "true", 4);
    case 'f':
        return word(s, p, "false", 5);
    case 'n':
        return word(s, p, "null", 4);
    case '\xEF':
        if (p == s->begin && s->end - p >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
            return bad(s, p, "a byte order mark is not allowed");
        return bad(s, p, "a value is expected");
    case '-':
        if (p + 1 == s->end || !is_digit(p[1]))
            return bad(s, p + 1, "a digit is expected");
        return number(s, p + 1, false);
    default:
        return bad(s, p, "a value is expected");
    }
}

/* --- levels --------------------------------------------------------------------------------- */

INLINE bool open_level(struct scan *s, const char *p)
{
    if (UNLIKELY(s->depth == JSON_DEPTH_MAX))
        return bad(s, p, "nested too deep");
    s->depth++;
    s->closer[s->depth] = (char)(*p + 2); /* '{' and '}', '[' and ']' are two apart */
    if (UNLIKELY(s->unique))
        s->unique->first[s->depth] = s->unique->count;
    return true;
}

/* The object that was opened is one in which members are wanted. */
static void want_inside(struct scan *s)
{
    ASSERT(s->want_depth <= JSON_NEST_MAX);
    s->outer[s->want_depth - 1] = (struct wanting){s->names, s->values, s->member};
    s->values += s->inside->first_value;
    s->names = s->inside;
    s->want_depth++;
}

static void want_outside(struct scan *s)
{
    s->want_depth--;
    const struct wanting *const outer = &s->outer[s->want_depth - 1];
    s->names = outer->names;
    s->values = outer->values;
    s->member = outer->member;
}

static COLD bool bad_repeated(struct scan *s, const char *at)
{
    return bad(s, at, "the name of this member stands there twice");
}

INLINE bool close_level(struct scan *s)
{
    if (UNLIKELY(s->unique) && s->closer[s->depth] == '}') {
        const struct span repeated = unique_close(s->unique, s->depth);
        if (UNLIKELY(repeated.p))
            return bad_repeated(s, repeated.p);
    }
    if (UNLIKELY(s->depth == s->want_depth) && s->depth > 1)
        want_outside(s);
    s->depth--;
    return true;
}

/* Behind the root. */
static bool ends_here(struct scan *s, const char *p)
{
    p = skip_space(s, p, false);
    return p == s->end || bad(s, p, "bytes follow the value");
}

/* Behind a value: closes the levels that end, and answers where the comma stands. NULL when the
 * root has ended, too; then `*is_valid` says how. */
INLINE const char *behind(struct scan *s, const char *p, bool closed, bool *is_valid)
{
    *is_valid = false;
    for (;;) {
        if (s->depth == s->want_depth)
            s->member->n = (size_t)(p - s->member->p);
        /* A closed text ends behind a closer only. */
        if (!closed && s->depth == 0)
            return *is_valid = ends_here(s, p), NULL;
        if (!ended(s, p, closed) && LIKELY(*p == ','))
            return p;
        p = skip_space(s, p, closed);
        if (UNLIKELY(ended(s, p, closed)))
            return bad(s, p, NULL);
        if (*p == ',')
            return p;
        if (UNLIKELY(*p != s->closer[s->depth]))
            return bad(s, p,
                       s->closer[s->depth] == '}' ? "a comma or a brace is expected"
                                                  : "a comma or a bracket is expected");
        if (UNLIKELY(!close_level(s)))
            return NULL;
        p++;
        if (UNLIKELY(closed && p == s->end))
            return *is_valid = s->depth == 0, NULL;
        if (UNLIKELY(closed && s->depth == 0))
            return bad(s, p, "bytes follow the value");
    }
}

/* `p` stands at an opening bracket. Answers where the first value in it begins; `*is_empty`: there
 * is none, and it stands at the closing one. */
INLINE const char *enter(struct scan *s, const char *p, text_fn text, bool closed, bool *is_empty)
{
    if (!open_level(s, p))
        return NULL;
    const char closer = s->closer[s->depth];
    p = skip_space(s, p + 1, closed);
    *is_empty = !ended(s, p, closed) && *p == closer;
    if (*is_empty) /* left as others are, by behind() */
        return p;
    if (closer != '}')
        return p;
    if (UNLIKELY(s->inside) && s->depth == s->want_depth + 1)
        want_inside(s);
    return name(s, p, text, closed);
}

INLINE bool scan_core(struct scan *s, text_fn text, bool closed)
{
    const char *p = s->begin;
    bool ignored, is_empty, is_valid;
    for (;;) {
        if (UNLIKELY(ended(s, p, closed)))
            return bad(s, p, NULL);
        if (s->depth == s->want_depth)
            s->member->p = p;
        const char c = *p;
        if (c == '"') {
            p = string(s, p + 1, text, &ignored);
        } else if (is_digit(c)) {
            p = number(s, p, closed);
        } else if (c == '{' || c == '[') {
            p = enter(s, p, text, closed, &is_empty);
            if (LIKELY(p) && !is_empty)
                continue;
        } else {
            const char *const from = p;
            p = skip_space(s, p, closed);
            if (p != from)
                continue;
            p = scalar(s, p);
        }
        if (UNLIKELY(!p))
            return false;
        p = behind(s, p, closed, &is_valid);
        if (UNLIKELY(!p))
            return is_valid;
        p++;
        if (s->closer[s->depth] == '}' && UNLIKELY(!(p = name(s, p, text, closed))))
            return false;
    }
}

/* --- kernels -------------------------------------------------------------------------------- */

static const char *text_portable(const char *p, const char *end)
{
    bool ignored;
    return text_run_portable(p, end, TEXT_PLAIN, &ignored);
}

static bool scan_portable(struct scan *s, bool closed)
{
    return closed ? scan_core(s, text_run_portable, true) : scan_core(s, text_run_portable, false);
}

static const struct json_kernel portable = {"portable", text_portable, scan_portable};

#if defined(__x86_64__)
static const char *text_sse2(const char *p, const char *end)
{
    bool ignored;
    return text_run_sse2(p, end, TEXT_PLAIN, &ignored);
}

static bool scan_sse2(struct scan *s, bool closed)
{
    return closed ? scan_core(s, text_run_sse2, true) : scan_core(s, text_run_sse2, false);
}

static const struct json_kernel sse2 = {"sse2", text_sse2, scan_sse2};

JSON_AVX2 static const char *text_avx2(const char *p, const char *end)
{
    bool ignored;
    return text_run_avx2(p, end, TEXT_PLAIN, &ignored);
}

JSON_AVX2 static bool scan_avx2(struct scan *s, bool closed)
{
    return closed ? scan_core(s, text_run_avx2, true) : scan_core(s, text_run_avx2, false);
}

static const struct json_kernel avx2 = {"avx2", text_avx2, scan_avx2};

static const struct json_kernel *const kernels[] = {&portable, &sse2, &avx2};
#elif defined(__aarch64__)
static const char *text_neon(const char *p, const char *end)
{
    bool ignored;
    return text_run_neon(p, end, TEXT_PLAIN, &ignored);
}

static bool scan_neon(struct scan *s, bool closed)
{
    return closed ? scan_core(s, text_run_neon, true) : scan_core(s, text_run_neon, false);
}

static const struct json_kernel neon = {"neon", text_neon, scan_neon};

static const struct json_kernel *const kernels[] = {&portable, &neon};
#else
static const struct json_kernel *const kernels[] = {&portable};
#endif

static _Atomic(const struct json_kernel *) chosen;

const struct json_kernel *const *json_kernels(size_t *count)
{
    *count = ARRAY_LEN(kernels);
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2"))
        *count -= 1;
#endif
    return kernels;
}

const struct json_kernel *json_kernel(void)
{
    const struct json_kernel *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (LIKELY(k))
        return k;
    size_t count;
    const struct json_kernel *const *list = json_kernels(&count);
    atomic_store_explicit(&chosen, list[count - 1], memory_order_relaxed);
    return list[count - 1];
}

void json_kernel_use(const struct json_kernel *kernel)
{
    atomic_store_explicit(&chosen, kernel, memory_order_relaxed);
}

/* --- the door ------------------------------------------------------------------------------- */

static __attribute__((noinline)) bool scan_unique(struct scan *s)
{
    struct unique unique;
    unique_init(&unique);
    s->unique = &unique;
    const bool is_valid = json_kernel()->scan(s, false);
    unique_deinit(&unique);
    return is_valid;
}

static void begin(struct scan *s, struct span body, const struct json_names *names, unsigned flags,
                  struct span *values)
{
    s->begin = body.n ? body.p : "";
    s->end = s->begin + body.n;
    s->names = names;
    s->values = values;
    s->member = &s->ignored;
    s->ignored.p = s->begin;
    s->inside = NULL;
    s->want_depth = names ? 1 : 0;
    s->unique = NULL;
    s->reason = NULL;
    s->failed = ERR_OK;
    s->flags = flags;
    s->has_lone_surrogate = false;
    s->depth = 0;
    if (names)
        for (uint32_t i = 0; i < names->value_count; i++)
            values[i] = (struct span){NULL, 0};
}

/* The root is an array or object, and its last byte could be the root's end: then no other value
 * ends at the body's end, and there is no value at depth 0. Both must hold for `closed` scans. */
static bool is_closed(struct span body)
{
    return body.n > 1 && ((body.p[0] == '{' && body.p[body.n - 1] == '}') ||
                          (body.p[0] == '[' && body.p[body.n - 1] == ']'));
}

enum err json_scan(struct span body, const struct json_names *names, unsigned flags,
                   struct span *values, struct json_report *report)
{
    struct scan s;
    begin(&s, body, names, flags, values);
    bool is_valid =
        !(flags & JSON_UNIQUE_NAMES) && is_closed(body) && json_kernel()->scan(&s, true);
    if (UNLIKELY(!is_valid)) {
        begin(&s, body, names, flags, values);
        is_valid = flags & JSON_UNIQUE_NAMES ? scan_unique(&s) : json_kernel()->scan(&s, false);
    }
    *report = (struct json_report){.has_lone_surrogate = s.has_lone_surrogate};
    if (LIKELY(is_valid))
        return ERR_OK;
    report->at = (size_t)(s.failed_at - s.begin);
    report->reason = s.reason;
    return s.failed;
}
