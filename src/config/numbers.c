#include "config/numbers.h"

#include "base/sys.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    int64_t size;
};

static const struct unit durations[] = {
    {"d", 86400 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S},
    {"s", NS_PER_S},         {"ms", NS_PER_MS},
};
static const struct unit sizes[] = {
    {"GiB", INT64_C(1) << 30},
    {"MiB", INT64_C(1) << 20},
    {"KiB", INT64_C(1) << 10},
    {"B", 1},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_digits(struct span text)
{
    size_t n = 0;
    while (n < text.n && is_digit(text.p[n]))
        n++;
    return n;
}

static bool read_with_unit(const struct unit *units, size_t count, struct span text,
                           int64_t *number)
{
    size_t n = count_digits(text);
    uint64_t amount;
    if (span_to_u64(span(text.p, n), &amount) != ERR_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (span_eq(span_from(text, n), span_of_cstr(units[i].name)))
            return !__builtin_mul_overflow(amount, units[i].size, number);
    }
    return false;
}

/* Digits, and at most `digits` more behind a point: the value times ten to the power of `digits`.
 */
static bool read_decimal(uint32_t digits, struct span text, int64_t *number)
{
    struct span whole, fraction;
    bool has_point = span_cut(text, '.', &whole, &fraction);
    uint64_t value;
    if (span_to_u64(whole, &value) != ERR_OK || fraction.n > digits ||
        (has_point && (fraction.n == 0 || count_digits(fraction) < fraction.n)))
        return false;
    for (size_t i = 0; i < digits; i++) {
        uint64_t digit = i < fraction.n ? (uint64_t)(fraction.p[i] - '0') : 0;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *number = (int64_t)value;
    return value <= INT64_MAX;
}

bool number_read(const struct shape *shape, struct span text, int64_t *number)
{
    if (shape->kind == KIND_DURATION)
        return read_with_unit(durations, ARRAY_LEN(durations), text, number);
    if (shape->kind == KIND_SIZE)
        return read_with_unit(sizes, ARRAY_LEN(sizes), text, number);
    return read_decimal(shape->kind == KIND_DECIMAL ? shape->digits : 0, text, number);
}

static void write_with_unit(const struct unit *units, size_t count, int64_t number,
                            char out[NUMBER_BYTES_MAX])
{
    size_t i = 0;
    while (i + 1 < count && (number % units[i].size != 0 || number == 0))
        i++;
    snprintf(out, NUMBER_BYTES_MAX, "%" PRId64 "%s", number / units[i].size, units[i].name);
}

static void write_decimal(uint32_t digits, int64_t number, char out[NUMBER_BYTES_MAX])
{
    int64_t scale = 1;
    for (uint32_t i = 0; i < digits; i++)
        scale *= 10;
    int n = snprintf(out, NUMBER_BYTES_MAX, "%" PRId64 ".%0*" PRId64, number / scale, (int)digits,
                     number % scale);
    ASSERT(n > 0 && n < NUMBER_BYTES_MAX);
    while (out[n - 1] == '0')
        out[--n] = '\0';
    if (out[n - 1] == '.')
        out[n - 1] = '\0';
}

void number_write(const struct shape *shape, int64_t number, char out[NUMBER_BYTES_MAX])
{
    if (shape->kind == KIND_DURATION)
        write_with_unit(durations, ARRAY_LEN(durations), number, out);
    else if (shape->kind == KIND_SIZE)
        write_with_unit(sizes, ARRAY_LEN(sizes), number, out);
    else
        write_decimal(shape->kind == KIND_DECIMAL ? shape->digits : 0, number, out);
}

/* --- time ---------------------------------------------------------------------------------------
 */

/* Exactly n digits at the front of *text, which is cut off, and then `behind` (0: nothing). */
static bool take_number(struct span *text, size_t n, char behind, int *value)
{
    uint64_t number;
    if (text->n < n || span_to_u64(span(text->p, n), &number) != ERR_OK)
        return false;
    *value = (int)number;
    *text = span_from(*text, n);
    if (!behind)
        return true;
    if (text->n == 0 || text->p[0] != behind)
        return false;
    *text = span_from(*text, 1);
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to a date from 1970 on. */
static bool count_days(int year, int month, int day, int64_t *days)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 ||
        day > lengths[month - 1] + (month == 2 && is_leap(year)))
        return false;
    *days = day - 1;
    for (int y = 1970; y < year; y++)
        *days += is_leap(y) ? 366 : 365;
    for (int m = 1; m < month; m++)
        *days += lengths[m - 1] + (m == 2 && is_leap(year));
    return true;
}

/* "Z", "+02:00", "-05:30": seconds to take off. */
static bool take_offset(struct span *text, int64_t *seconds)
{
    if (text->n == 1 && (text->p[0] == 'Z' || text->p[0] == 'z')) {
        *seconds = 0;
        return true;
    }
    int hours, minutes;
    if (text->n != 6 || (text->p[0] != '+' && text->p[0] != '-'))
        return false;
    int sign = text->p[0] == '-' ? -1 : 1;
    *text = span_from(*text, 1);
    if (!take_number(text, 2, ':', &hours) || !take_number(text, 2, 0, &minutes) || hours > 23 ||
        minutes > 59)
        return false;
    *seconds = sign * (hours * 60 + minutes) * 60;
    return true;
}

/* "12:00:00[.123]" and an offset, to seconds of the day; a fraction is checked and dropped. */
static bool read_clock(struct span text, int64_t *seconds)
{
    int hour, minute, second;
    if (!take_number(&text, 2, ':', &hour) || !take_number(&text, 2, ':', &minute) ||
        !take_number(&text, 2, 0, &second) || hour > 23 || minute > 59 || second > 60)
        return false;
    if (text.n > 0 && text.p[0] == '.') {
        text = span_from(text, 1);
        size_t n = count_digits(text);
        if (n == 0)
            return false;
        text = span_from(text, n);
    }
    int64_t offset;
    if (!take_offset(&text, &offset))
        return false;
    *seconds = (int64_t)hour * 3600 + minute * 60 + second - offset;
    return true;
}

bool time_read(struct span text, int64_t *wall_ns)
{
    int year, month, day;
    int64_t days, seconds = 0;
    if (!take_number(&text, 4, '-', &year) || !take_number(&text, 2, '-', &month) ||
        !take_number(&text, 2, 0, &day) || !count_days(year, month, day, &days))
        return false;
    if (text.n > 0) {
        bool has_mark = text.p[0] == 'T' || text.p[0] == 't' || text.p[0] == ' ';
        if (!has_mark || !read_clock(span_from(text, 1), &seconds))
            return false;
    }
    *wall_ns = (days * 86400 + seconds) * NS_PER_S;
    return true;
}
