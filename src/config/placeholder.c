#include "config/scalar.h"

/* What manuals, templates and tired people put where a secret belongs. Compared without regard to
 * case, '-', '_', '.' and blanks: "Change-Me!" is as good as "changeme". */
static const char *const placeholders[] = {
    "sk1234",
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "secret",
    "mysecret",
    "mysecretkey",
    "secretkey",
    "supersecret",
    "supersecretkey",
    "topsecret",
    "password",
    "passw0rd",
    "mypassword",
    "yourapikey",
    "yourapikeyhere",
    "yourkey",
    "yourkeyhere",
    "yoursecret",
    "yoursecretkey",
    "yoursecrethere",
    "yoursecretkeyhere",
    "yourtoken",
    "yourtokenhere",
    "yourmasterkey",
    "youradminkey",
    "apikey",
    "apikeyhere",
    "myapikey",
    "mykey",
    "key",
    "token",
    "mytoken",
    "accesstoken",
    "test",
    "testkey",
    "testtest",
    "testapikey",
    "testing",
    "admin",
    "adminkey",
    "administrator",
    "adminadmin",
    "master",
    "masterkey",
    "mastersecret",
    "root",
    "toor",
    "default",
    "defaultkey",
    "example",
    "examplekey",
    "exampleapikey",
    "placeholder",
    "dummy",
    "dummykey",
    "fake",
    "fakekey",
    "sample",
    "samplekey",
    "demo",
    "foo",
    "foobar",
    "foobarbaz",
    "bar",
    "none",
    "null",
    "nil",
    "undefined",
    "empty",
    "todo",
    "tbd",
    "fixme",
    "insertkeyhere",
    "insertyourkeyhere",
    "insertyourapikeyhere",
    "putyourkeyhere",
    "enteryourkey",
    "enteryourkeyhere",
    "pasteyourkeyhere",
    "addyourkeyhere",
    "letmein",
    "qwerty",
    "qwertyuiop",
    "qwertyuiopasdfgh",
    "asdf",
    "asdfghjkl",
    "hunter2",
    "iloveyou",
    "welcome",
    "welcome1",
    "abc123",
    "abcd1234",
    "deadbeef",
    "correcthorsebatterystaple",
};

enum {
    BARE_BYTES_MAX = 64, /* longer than any row */
    DISTINCT_MIN = 5,    /* fewer different bytes in 16 are a pattern, not a secret */
};

/* Without the prefix that marks a vendor's keys, lower case, letters and digits only. */
static struct span strip(struct span text, char room[BARE_BYTES_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < text.n && n < BARE_BYTES_MAX; i++) {
        char c = text.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 'a' - 'A');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            room[n++] = c;
    }
    return span(room, n);
}

static bool is_in_table(struct span bare)
{
    for (size_t i = 0; i < ARRAY_LEN(placeholders); i++) {
        if (span_eq(bare, span_of_cstr(placeholders[i])))
            return true;
    }
    return false;
}

/* One of the rows over and over: changemechangeme, 1234567890123456. */
static bool is_repeated(struct span bare)
{
    for (size_t period = 1; period <= bare.n / 2; period++) {
        size_t i = period;
        while (i < bare.n && bare.p[i] == bare.p[i - period])
            i++;
        if (i == bare.n && (period < DISTINCT_MIN || is_in_table(span(bare.p, period))))
            return true;
    }
    return false;
}

/* Each byte one more than the one before, 9 followed by 0: 123456, abcdefgh. */
static bool is_sequence(struct span bare)
{
    for (size_t i = 1; i < bare.n; i++) {
        bool follows = bare.p[i] == bare.p[i - 1] + 1 ||
                       (bare.p[i - 1] == '9' && (bare.p[i] == '0' || bare.p[i] == 'a')) ||
                       (bare.p[i - 1] == 'f' && bare.p[i] == '0') ||
                       (bare.p[i - 1] == 'z' && bare.p[i] == 'a');
        if (!follows)
            return false;
    }
    return bare.n > 2;
}

static size_t count_distinct(struct span text)
{
    bool seen[256] = {false};
    size_t count = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        count += !seen[c];
        seen[c] = true;
    }
    return count;
}

/* Repeats, sequences, and words out of the table. */
static bool is_worthless(struct span bare)
{
    return is_in_table(bare) || is_repeated(bare) || is_sequence(bare);
}

bool secret_is_placeholder(struct span text)
{
    static const char *const prefixes[] = {"sk", "pk", "skproj", "skant", "skantapi03", "key"};
    char room[BARE_BYTES_MAX];
    struct span trimmed = span_trim(text);
    bool is_bracketed = span_starts(trimmed, SPAN("<")) && span_ends(trimmed, SPAN(">"));
    struct span bare = strip(trimmed, room);
    if (is_bracketed || bare.n == 0 || is_worthless(bare))
        return text.n > 0;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        struct span prefix = span_of_cstr(prefixes[i]);
        if (span_starts(bare, prefix) && is_worthless(span_from(bare, prefix.n)))
            return true;
    }
    return text.n >= 16 && count_distinct(text) < DISTINCT_MIN;
}
