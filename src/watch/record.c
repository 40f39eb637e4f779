/* record.c -- the one line that every call pays for.
 *
 * The words are known, so their commas, quotes and colons are too: literals, copied as they are.
 * All that is fixed, numbers included, has its room set aside beforehand (FIXED_MAX); only texts
 * are measured. Everything that others chose goes through json_escape. */
#include "watch/record.h"

#include "base/sys.h"
#include "json/write.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    NUMBER_MAX = 24, /* bytes of any number */
    ATTEMPT_FIXED_MAX = 40 + RECORD_WORD_MAX + NUMBER_MAX,
    FIXED_MAX =
        1024 + 4 * RECORD_WORD_MAX + 9 * NUMBER_MAX + RECORD_ATTEMPTS_MAX * ATTEMPT_FIXED_MAX,
};

struct line {
    char *p;
    char *text_end; /* texts end here; behind it is room for all that is fixed */
    bool is_full;
};

INLINE void put(struct line *l, const char *bytes, size_t n)
{
    memcpy(l->p, bytes, n);
    l->p += n;
}

#define PUT(l, literal) put((l), "" literal, sizeof(literal) - 1)

static void put_text(struct line *l, struct span text)
{
    const size_t room = l->p < l->text_end ? (size_t)(l->text_end - l->p) : 0;
    const size_t n = json_escape(l->p, room, text);
    if (UNLIKELY(n == JSON_NO_ROOM))
        l->is_full = true;
    else
        l->p += n;
}

/* Behind `"name":"`: the text and its quote; or null in place of the quote that was set. */
INLINE void end_text(struct line *l, struct span text)
{
    if (text.n) {
        put_text(l, text);
        *l->p++ = '"';
    } else {
        l->p--;
        PUT(l, "null");
    }
}

#define TEXT(l, name, text) (PUT(l, ",\"" name "\":\""), end_text((l), (text)))

/* Words of ours, which need no look; NULL is null. */
static void end_word(struct line *l, const char *word)
{
    if (word) {
        const size_t n = strlen(word);
        ASSERT(n <= RECORD_WORD_MAX);
        put(l, word, n);
        *l->p++ = '"';
    } else {
        l->p--;
        PUT(l, "null");
    }
}

#define WORD(l, name, word) (PUT(l, ",\"" name "\":\""), end_word((l), (word)))

/* Of a number below 1000, the first in the lowest byte, which is the first in memory: as all that
 * we run on, this is little-endian. */
INLINE uint32_t three_digits(uint32_t value)
{
    const uint32_t tens = value / 10, hundreds = tens / 10;
    return (0x303030 | (hundreds) | (tens - hundreds * 10) << 8 | (value - tens * 10) << 16);
}

static void put_digits(struct line *l, uint64_t value)
{
    char digits[NUMBER_MAX];
    char *const end = digits + sizeof digits, *p = end;
    for (; value > 0; value /= 10)
        *--p = (char)('0' + value % 10);
    put(l, p, (size_t)(end - p));
}

/* Most figures are small: up to three digits are made at once and stored as four bytes, of which
 * those that are too many are overwritten by what follows. */
INLINE void put_i64(struct line *l, int64_t value)
{
    if (LIKELY((uint64_t)value < 1000)) {
        const unsigned zeros = (value < 100 ? 1u : 0u) + (value < 10 ? 1u : 0u);
        const uint32_t text = three_digits((uint32_t)value) >> 8 * zeros;
        memcpy(l->p, &text, sizeof text);
        l->p += 3 - zeros;
        return;
    }
    if (value < 0)
        *l->p++ = '-';
    put_digits(l, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

#define NUMBER(l, name, value) (PUT(l, ",\"" name "\":"), put_i64((l), (value)))

/* Milliseconds with three places. */
static void put_ms(struct line *l, int64_t ns)
{
    const int64_t us = ns / NS_PER_US;
    const uint64_t size = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    const uint32_t rest = (uint32_t)(size % 1000);
    if (us < 0)
        *l->p++ = '-';
    put_i64(l, (int64_t)(size / 1000));
    const uint32_t text = three_digits(rest) << 8 | '.';
    put(l, (const char *)&text, sizeof text);
}

#define MS(l, name, ns) (PUT(l, ",\"" name "\":"), put_ms((l), (ns)))

static void put_who(struct line *l, const struct record *r)
{
    TEXT(l, "organisation", r->organisation);
    TEXT(l, "team", r->team);
    TEXT(l, "project", r->project);
    TEXT(l, "user", r->user);
    TEXT(l, "key", r->key);
    TEXT(l, "route", r->route);
    TEXT(l, "tags", r->tags);
}

static void put_attempts(struct line *l, const struct record *r)
{
    ASSERT(r->attempt_count <= RECORD_ATTEMPTS_MAX);
    PUT(l, ",\"attempts\":[");
    for (size_t i = 0; i < r->attempt_count; i++) {
        const struct record_attempt *a = &r->attempts[i];
        if (i > 0)
            *l->p++ = ',';
        PUT(l, "{\"target\":\"");
        end_text(l, a->target);
        WORD(l, "outcome", a->outcome);
        MS(l, "ms", a->took_ns);
        *l->p++ = '}';
    }
    *l->p++ = ']';
}

INLINE void put_what(struct line *l, const struct record *r)
{
    WORD(l, "dialect", r->dialect);
    WORD(l, "endpoint", r->endpoint);
    TEXT(l, "model", r->model);
    TEXT(l, "target", r->target);
    WORD(l, "reason", r->reason);
    put_attempts(l, r);
    if (r->stream)
        PUT(l, ",\"stream\":true");
    else
        PUT(l, ",\"stream\":false");
    NUMBER(l, "status", r->status);
    WORD(l, "error", r->error);
}

/* Figures are the provider's own; what a call cost is not known without enforced prices. */
INLINE void put_usage(struct line *l, const struct record *r)
{
    PUT(l, ",\"cache\":\"off\",\"guard\":[]");
    NUMBER(l, "input_tokens", r->input_tokens);
    NUMBER(l, "cached_tokens", r->cached_tokens);
    NUMBER(l, "cache_write_tokens", r->cache_write_tokens);
    NUMBER(l, "output_tokens", r->output_tokens);
    NUMBER(l, "reasoning_tokens", r->reasoning_tokens);
    if (r->has_tokens)
        PUT(l, ",\"tokens_known\":true");
    else
        PUT(l, ",\"tokens_known\":false");
    PUT(l, ",\"tokens_estimated\":false,\"cost_nano_usd\":null,\"price_version\":null");
}

enum err record_write(struct builder *out, const struct record *r)
{
    char *const first = builder_reserve(out, RECORD_TEXT_MAX);
    if (!first)
        return builder_check(out);
    struct line l = {.p = first, .text_end = first + RECORD_TEXT_MAX - FIXED_MAX};
    PUT(&l, "{\"id\":\"");
    end_text(&l, r->id);
    PUT(&l, ",\"time\":\"");
    time_text(r->wall_ns, l.p);
    l.p += TIME_TEXT_BYTES;
    *l.p++ = '"';
    put_who(&l, r);
    put_what(&l, r);
    put_usage(&l, r);
    MS(&l, "ms_total", r->total_ns);
    if (r->first_token_ns >= 0)
        MS(&l, "ms_first_token", r->first_token_ns);
    else
        PUT(&l, ",\"ms_first_token\":null");
    MS(&l, "ms_overhead", r->overhead_ns);
    PUT(&l, "}\n");
    if (l.is_full)
        return ERR_TOO_LARGE;
    builder_advance(out, (size_t)(l.p - first));
    return ERR_OK;
}
