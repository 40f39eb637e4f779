#include "json/tap.h"

#include "json/kernel.h"
#include "json/utf8.h"

/* What the next byte may be. */
enum state {
    VALUE,         /* a value */
    FIRST_ELEMENT, /* a value or ] */
    FIRST_NAME,    /* a name or } */
    NAME,          /* a name */
    COLON,
    BEHIND, /* a comma, or what closes the level */
    DONE,   /* white space only */
    STRING,
    TAIL,   /* `more` continuation bytes */
    ESCAPE, /* what follows a backslash */
    HEX,    /* `more` hex digits */
    MINUS,  /* a digit */
    ZERO,   /* what follows a leading zero */
    DIGITS,
    POINT, /* a digit */
    FRACTION,
    EXPONENT, /* a digit or a sign */
    SIGN,     /* a digit */
    POWER,
    WORD, /* the rest of `literal` */
};

void json_tap_init(struct json_tap *t, const struct json_names *names, void *room,
                   size_t room_bytes)
{
    ASSERT(names->count <= JSON_TAP_VALUES_MAX);
    t->names = names;
    t->room = room;
    t->room_bytes = (uint32_t)MIN(room_bytes, UINT32_MAX);
    json_tap_reset(t);
}

void json_tap_reset(struct json_tap *t)
{
    t->used = 0;
    t->failed = ERR_OK;
    t->reason = NULL;
    t->at = 0;
    t->depth = 0;
    t->state = VALUE;
    t->half = 0;
    t->keeping = -1;
    memset(t->values, 0, sizeof t->values);
}

/* The piece at hand: its bytes, and from where on they are to be kept. */
struct feed {
    struct json_tap *t;
    const char *begin, *end;
    const char *keep_from;
};

static COLD const char *bad(struct feed *f, const char *at, const char *reason)
{
    f->t->failed = ERR_BAD_JSON;
    f->t->reason = reason;
    f->t->at += (uint64_t)(at - f->begin);
    return NULL;
}

/* --- levels and values ---------------------------------------------------------------------- */

static bool in_object(const struct json_tap *t)
{
    const uint32_t level = t->depth - 1;
    return t->depth > 0 && (t->objects[level / 64] >> level % 64 & 1);
}

/* Keeps what has been read of the value up to p. A value without room gives up its part of it. */
static void keep(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    struct json_tap_value *const value = &t->values[t->keeping];
    const size_t n = (size_t)(p - f->keep_from);
    f->keep_from = p;
    if (value->dropped)
        return;
    if (n > t->room_bytes - t->used) {
        value->dropped = true;
        t->used = value->at;
        return;
    }
    memcpy(t->room + t->used, f->keep_from - n, n);
    t->used += (uint32_t)n;
}

/* A value ended in front of p. */
static void end_value(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    t->state = t->depth > 0 ? BEHIND : DONE;
    if (t->depth == 1 && t->keeping >= 0) {
        keep(f, p);
        struct json_tap_value *const value = &t->values[t->keeping];
        value->n = value->dropped ? 0 : t->used - value->at;
        t->keeping = -1;
    }
}

static const char *open_level(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    if (t->depth == JSON_DEPTH_MAX)
        return bad(f, p, "nested too deep");
    const uint64_t bit = (uint64_t)1 << t->depth % 64;
    uint64_t *const objects = &t->objects[t->depth / 64];
    *objects = (*objects & ~bit) | (*p == '{' ? bit : 0);
    t->depth++;
    t->state = *p == '{' ? FIRST_NAME : FIRST_ELEMENT;
    return p + 1;
}

static const char *close_level(struct feed *f, const char *p)
{
    f->t->depth--;
    end_value(f, p + 1);
    return p + 1;
}

static const char *begin_value(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    t->literal = NULL;
    switch (*p) {
    case '{':
    case '[':
        return open_level(f, p);
    case '"':
        t->state = STRING;
        t->string_is_name = false;
        return p + 1;
    case '-':
        t->state = MINUS;
        return p + 1;
    case '0':
        t->state = ZERO;
        return p + 1;
    case 't':
        t->literal = "rue";
        break;
    case 'f':
        t->literal = "alse";
        break;
    case 'n':
        t->literal = "ull";
        break;
    default:
        if (*p < '1' || *p > '9')
            return bad(f, p, "a value is expected");
        t->state = DIGITS;
        return p + 1;
    }
    t->state = WORD;
    return p + 1;
}

/* --- names and strings ---------------------------------------------------------------------- */

static const char *begin_name(struct feed *f, const char *p)
{
    if (*p != '"')
        return bad(f, p, "a member's name in quotes is expected");
    f->t->state = STRING;
    f->t->string_is_name = true;
    f->t->name_bytes = 0;
    return p + 1;
}

/* Only names of top-level members are looked at; one that is too long can be no wanted one. */
static void add_to_name(struct json_tap *t, const char *p, size_t n)
{
    if (!t->string_is_name || t->depth != 1)
        return;
    if (n > JSON_NAME_BYTES_MAX || t->name_bytes + n > JSON_NAME_BYTES_MAX) {
        t->name_bytes = JSON_NAME_BYTES_MAX + 1;
        return;
    }
    memcpy(t->name + t->name_bytes, p, n);
    t->name_bytes += (uint32_t)n;
}

static void add_unit(struct json_tap *t, uint32_t c)
{
    char bytes[4];
    add_to_name(t, bytes, utf8_encode(c, bytes));
}

/* A first half whose other half does not follow stands for itself. */
static void give_up_half(struct json_tap *t)
{
    if (t->half) {
        add_unit(t, t->half);
        t->half = 0;
    }
}

static const char *end_string(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    give_up_half(t);
    if (!t->string_is_name) {
        end_value(f, p);
        return p;
    }
    t->state = COLON;
    if (t->depth != 1 || t->name_bytes > JSON_NAME_BYTES_MAX)
        return p;
    t->keeping = json_names_find(t->names, (struct span){t->name, t->name_bytes});
    if (t->keeping >= 0) {
        struct json_tap_value *const value = &t->values[t->keeping];
        if (value->seen)
            return bad(f, p - 1, "the name of this member stands there twice");
        *value = (struct json_tap_value){.seen = true, .at = t->used};
    }
    return p;
}

static const char *read_string(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    const char *const stop = json_kernel()->text(p, f->end);
    if (stop > p) {
        give_up_half(t);
        add_to_name(t, p, (size_t)(stop - p));
    }
    if (stop == f->end)
        return stop;
    const unsigned char c = (unsigned char)*stop;
    if (c == '"')
        return end_string(f, stop + 1);
    if (c == '\\') {
        t->state = ESCAPE;
        return stop + 1;
    }
    const int follow = utf8_follow(c, &t->low, &t->high);
    if (c < 0x20 || follow < 0)
        return bad(f, stop,
                   c < 0x20 ? "a control byte in a string must be escaped"
                            : "the string is not UTF-8");
    give_up_half(t);
    add_to_name(t, stop, 1);
    t->more = (uint8_t)follow;
    t->state = TAIL;
    return stop + 1;
}

static const char *read_tail(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    const unsigned char c = (unsigned char)*p;
    if (c < t->low || c > t->high)
        return bad(f, p, "the string is not UTF-8");
    add_to_name(t, p, 1);
    t->low = 0x80;
    t->high = 0xBF;
    if (--t->more == 0)
        t->state = STRING;
    return p + 1;
}

static const char *read_escape(struct feed *f, const char *p)
{
    static const char plain[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    struct json_tap *const t = f->t;
    if (*p == 'u') {
        t->state = HEX;
        t->more = 4;
        t->escape = 0;
        return p + 1;
    }
    const char c = plain[(unsigned char)*p];
    if (!c)
        return bad(f, p, "not an escape that JSON knows");
    give_up_half(t);
    add_to_name(t, &c, 1);
    t->state = STRING;
    return p + 1;
}

static void end_escape(struct json_tap *t)
{
    const uint32_t unit = t->escape;
    t->state = STRING;
    if (t->half && utf16_is_second_half(unit)) {
        add_unit(t, utf16_join(t->half, unit));
        t->half = 0;
        return;
    }
    give_up_half(t);
    if (utf16_is_first_half(unit))
        t->half = unit;
    else
        add_unit(t, unit);
}

static const char *read_hex(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    const char low = (char)(*p | 0x20);
    if (*p >= '0' && *p <= '9')
        t->escape = t->escape << 4 | (uint32_t)(*p - '0');
    else if (low >= 'a' && low <= 'f')
        t->escape = t->escape << 4 | (uint32_t)(low - 'a' + 10);
    else
        return bad(f, p, "not an escape that JSON knows");
    if (--t->more == 0)
        end_escape(t);
    return p + 1;
}

/* --- numbers and words ---------------------------------------------------------------------- */

static const char *read_number(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    const bool is_digit = *p >= '0' && *p <= '9';
    const bool is_e = *p == 'e' || *p == 'E';
    switch (t->state) {
    case MINUS:
        t->state = *p == '0' ? ZERO : DIGITS;
        return is_digit ? p + 1 : bad(f, p, "a digit is expected");
    case POINT:
        t->state = FRACTION;
        return is_digit ? p + 1 : bad(f, p, "a digit is expected");
    case EXPONENT:
        t->state = is_digit ? POWER : SIGN;
        return is_digit || *p == '+' || *p == '-' ? p + 1 : bad(f, p, "a digit is expected");
    case SIGN:
        t->state = POWER;
        return is_digit ? p + 1 : bad(f, p, "a digit is expected");
    default: /* ZERO, DIGITS, FRACTION, POWER: it may end here */
        if (is_digit && t->state != ZERO)
            return p + 1;
        if (*p == '.' && (t->state == ZERO || t->state == DIGITS))
            t->state = POINT;
        else if (is_e && t->state != POWER)
            t->state = EXPONENT;
        else
            break;
        return p + 1;
    }
    end_value(f, p); /* this byte is not ours: it is read again */
    return p;
}

static const char *read_word(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    if (*p != *t->literal)
        return bad(f, p, "a value is expected");
    if (*++t->literal == '\0')
        end_value(f, p + 1);
    return p + 1;
}

/* --- structure ------------------------------------------------------------------------------ */

static const char *read_behind(struct feed *f, const char *p)
{
    struct json_tap *const t = f->t;
    if (*p == ',') {
        t->state = in_object(t) ? NAME : VALUE;
        return p + 1;
    }
    if (*p == (in_object(t) ? '}' : ']'))
        return close_level(f, p);
    return bad(
        f, p, in_object(t) ? "a comma or a brace is expected" : "a comma or a bracket is expected");
}

static const char *read_colon(struct feed *f, const char *p)
{
    if (*p != ':')
        return bad(f, p, "a colon is expected");
    f->t->state = VALUE;
    return p + 1;
}

/* One byte between tokens, not white space. */
static const char *read_structure(struct feed *f, const char *p)
{
    switch ((enum state)f->t->state) {
    case FIRST_ELEMENT:
        if (*p == ']')
            return close_level(f, p);
        return begin_value(f, p);
    case VALUE:
        if (f->t->depth == 1 && f->t->keeping >= 0)
            f->keep_from = p;
        return begin_value(f, p);
    case FIRST_NAME:
        return *p == '}' ? close_level(f, p) : begin_name(f, p);
    case NAME:
        return begin_name(f, p);
    case COLON:
        return read_colon(f, p);
    case BEHIND:
        return read_behind(f, p);
    default:
        return bad(f, p, "bytes follow the value");
    }
}

static const char *read_on(struct feed *f, const char *p)
{
    switch ((enum state)f->t->state) {
    case STRING:
        return read_string(f, p);
    case TAIL:
        return read_tail(f, p);
    case ESCAPE:
        return read_escape(f, p);
    case HEX:
        return read_hex(f, p);
    case WORD:
        return read_word(f, p);
    case MINUS:
    case ZERO:
    case DIGITS:
    case POINT:
    case FRACTION:
    case EXPONENT:
    case SIGN:
    case POWER:
        return read_number(f, p);
    default:
        if (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
            return p + 1;
        return read_structure(f, p);
    }
}

/* --- the door ------------------------------------------------------------------------------- */

/* True in the middle of a value that is kept, false between its name and its first byte. */
static bool is_keeping(const struct json_tap *t)
{
    return t->keeping >= 0 && !(t->depth == 1 && (t->state == COLON || t->state == VALUE));
}

enum err json_tap_feed(struct json_tap *t, struct span piece)
{
    if (t->failed != ERR_OK || piece.n == 0)
        return t->failed;
    struct feed f = {t, piece.p, piece.p + piece.n, piece.p};
    const char *p = f.begin;
    while (p && p < f.end)
        p = read_on(&f, p);
    if (!p)
        return t->failed;
    if (is_keeping(t))
        keep(&f, f.end);
    t->at += piece.n;
    return ERR_OK;
}

bool json_tap_is_complete(const struct json_tap *t)
{
    if (t->failed != ERR_OK || t->depth > 0)
        return false;
    /* A number has no end of its own. */
    return t->state == DONE || t->state == ZERO || t->state == DIGITS || t->state == FRACTION ||
           t->state == POWER;
}

struct span json_tap_value(const struct json_tap *t, size_t i)
{
    ASSERT(i < t->names->count);
    const struct json_tap_value *const value = &t->values[i];
    return value->n ? (struct span){t->room + value->at, value->n} : (struct span){NULL, 0};
}

bool json_tap_dropped(const struct json_tap *t, size_t i)
{
    ASSERT(i < t->names->count);
    return t->values[i].dropped;
}

const char *json_tap_reason(const struct json_tap *t, uint64_t *at)
{
    if (t->failed != ERR_OK)
        *at = t->at;
    return t->reason;
}
