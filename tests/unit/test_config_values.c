#include "tests/unit/config_case.h"

#include "base/sys.h"
#include "config/numbers.h"
#include "config/scalar.h"
#include "config/schema.h"

/* --- scalars ------------------------------------------------------------------------------------
 */

/* `word` is a path to a scalar: a template with %s for the value. */
struct scalar_case {
    const char *value, *wrong; /* NULL: right */
};

__attribute__((noinline)) static bool run_scalars(const char *format, const char *word,
                                                  size_t column, const struct scalar_case *cases,
                                                  size_t count)
{
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        char text[1024], expected[1024] = "";
        snprintf(text, sizeof text, format, cases[i].value);
        if (cases[i].wrong)
            snprintf(expected, sizeof expected, "1:%zu: %s: \"%s\" %s", column, word,
                     cases[i].value, cases[i].wrong);
        all &= run_case(&(struct config_case){text, expected});
    }
    return all;
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

TEST(durations_have_a_unit)
{
    static const char no[] = "is not a duration such as 500ms, 20s, 2m, 1h or 1d";
    static const struct scalar_case cases[] = {
        {"20s", NULL},
        {"500ms", NULL},
        {"2m", NULL},
        {"1h", NULL},
        {"100ms", NULL},
        {"3600s", NULL},
        {"60m", NULL},
        {"20", no},
        {"20x", no},
        {"s", no},
        {"-1s", no},
        {"+1s", no},
        {"1.5s", no},
        {"1 s", no},
        {"20S", no},
        {"1h30m", no},
        {"0x1s", no},
        {"1e3s", no},
        {"1_0s", no},
        {"ms", no},
        {"99999999999999999999s", no},
        {"9999999999999999d", no},
        {"20sec", no},
        {"1us", no},
        {"99ms", "is too small; the least is 100ms"},
        {"0s", "is too small; the least is 100ms"},
        {"61m", "is too large; the most is 1h"},
        {"1d", "is too large; the most is 1h"},
    };
    EXPECT(run_scalars("timeouts: {header: \"%s\"}\n" MOCK, "header", 20, cases, ARRAY_LEN(cases)));
}

TEST(sizes_have_a_unit)
{
    static const char no[] = "is not a size such as 512KiB, 32MiB or 4GiB";
    static const struct scalar_case cases[] = {
        {"32MiB", NULL},
        {"1KiB", NULL},
        {"1024B", NULL},
        {"4GiB", NULL},
        {"32MB", no},
        {"32", no},
        {"32M", no},
        {"32mib", no},
        {"MiB", no},
        {"1.5MiB", no},
        {"-1B", no},
        {"32 MiB", no},
        {"0x20MiB", no},
        {"99999999999GiB", no},
        {"1023B", "is too small; the least is 1KiB"},
        {"5GiB", "is too large; the most is 4GiB"},
        {"0B", "is too small; the least is 1KiB"},
    };
    EXPECT(run_scalars("limits: {body: \"%s\"}\n" MOCK, "body", 16, cases, ARRAY_LEN(cases)));
}

TEST(whole_numbers_are_digits)
{
    static const char no[] = "is not a whole number";
    static const struct scalar_case cases[] = {
        {"1", NULL},
        {"1000000", NULL},
        {"007", NULL},
        {"-1", no},
        {"+1", no},
        {"1.0", no},
        {"1e3", no},
        {"0x10", no},
        {"1,000", no},
        {"1_000", no},
        {"one", no},
        {" 1", no},
        {"1 ", no},
        {"99999999999999999999", no},
        {"9223372036854775808", no},
        {"0", "is too small; the least is 1"},
        {"1000001", "is too large; the most is 1000000"},
    };
    EXPECT(
        run_scalars("limits: {requests: \"%s\"}\n" MOCK, "requests", 20, cases, ARRAY_LEN(cases)));
}

TEST(booleans_are_true_or_false)
{
    static const char no[] = "is not true or false";
    static const struct scalar_case cases[] = {
        {"true", NULL}, {"false", NULL}, {"yes", no}, {"no", no},    {"on", no},
        {"off", no},    {"True", no},    {"1", no},   {"truee", no}, {"y", no},
    };
    EXPECT(run_scalars("providers: {openai: {private: \"%s\"}}\n", "private", 31, cases,
                       ARRAY_LEN(cases)));
}

TEST(addresses_can_be_listened_on)
{
    static const char no_port[] = "has no port from 0 to 65535";
    static const char no_host[] = "has no host to listen on; write an IPv4 address, an IPv6 "
                                  "address in brackets, or localhost";
    static const char no[] = "is not an address; write HOST:PORT, such as 127.0.0.1:8080";
    static const struct scalar_case cases[] = {
        {"127.0.0.1:8080", NULL},
        {"0.0.0.0:0", NULL},
        {"[::]:80", NULL},
        {"[::1]:65535", NULL},
        {"localhost:1", NULL},
        {"unix:/run/x", NULL},
        {"unix:@x", NULL},
        {"unix:x.sock", NULL},
        {"8080", no},
        {"localhost", no},
        {"", no},
        {":8080", no_host},
        {"::1:80", no_host},
        {"[::1:80", no_host},
        {"host:80", no_host},
        {"256.0.0.1:1", no_host},
        {"1.2.3:1", no_host},
        {"*:80", no_host},
        {"[]:80", no_host},
        {"[127.0.0.1]:80", no_host},
        {"127.0.0.1:", no_port},
        {"127.0.0.1:x", no_port},
        {"127.0.0.1:65536", no_port},
        {"127.0.0.1:-1", no_port},
        {"127.0.0.1:080808", no_port},
        {"unix:", "has no path; write unix:/run/penstock.sock"},
        {"unix:@", "has no path; write unix:/run/penstock.sock"},
    };
    EXPECT(run_scalars("listen: \"%s\"\n" MOCK, "listen", 9, cases, ARRAY_LEN(cases)));
}

TEST(urls_of_providers_are_checked)
{
#define URL(why) "is not a URL of a provider: " why "; write one such as https://api.openai.com/v1"
    static const struct scalar_case cases[] = {
        {"http://x/v1", NULL},
        {"https://x:1/a/b", NULL},
        {"unix:/run/x:/v1", NULL},
        {"", URL("it does not begin with http://, https:// or unix:")},
        {"api.openai.com", URL("it does not begin with http://, https:// or unix:")},
        {"http://u:p@x/v1", URL("it may not hold a user or a password")},
        {"http://x/v1?k=v", URL("it may not have a query or a fragment")},
        {"http://x:0/v1", URL("its port is not a number from 1 to 65535")},
        {"http:///v1", URL("it has no host")},
        {"http://x y/v1", URL("its host is neither a name nor an address")},
    };
    EXPECT(run_scalars("providers: {openai: {base_url: \"%s\", api_key: x}}\n", "base_url", 32,
                       cases, ARRAY_LEN(cases)));
}

TEST(stores_fleets_and_proxies_are_checked)
{
    static const struct config_case cases[] = {
        {"store: mysql://x\n" MOCK,
         "1:1: warning: store is read but not enforced by this version\n"
         "1:8: store: the value is not a store; write sqlite:PATH or postgresql://user@host/db"},
        {"store: postgresql://u:hunter2@h/db\n" MOCK,
         "1:1: warning: store is read but not enforced by this version"},
        {"fleet: 127.0.0.1:6379\n" MOCK,
         "1:1: warning: fleet is read but not enforced by this version\n"
         "1:8: fleet: the value is not a fleet; write redis://HOST:6379"},
        {"fleet: rediss://:pw@x:1\n" MOCK,
         "1:1: warning: fleet is read but not enforced by this version"},
        {"providers: {openai: {api_key: x, proxy: http://u:p@h:1}}\n", ""},
        {"providers: {openai: {api_key: x, proxy: socks://u:p@h}}\n",
         "1:41: proxy: the value is not a URL of a proxy: it does not begin with http://; write "
         "http://user:password@host:port"},
    };
    RUN_CASES(cases);
}

/* Days from date -u -d DATE +%s. */
TEST(times_are_read_as_rfc_3339_says)
{
    static const struct {
        const char *text;
        int64_t seconds; /* -1: wrong */
    } cases[] = {
        {"1970-01-01", 0},
        {"2027-01-31", 1801353600},
        {"2024-02-29", 1709164800},
        {"2000-02-29T12:34:56Z", 951827696},
        {"2027-01-31T12:00:00Z", 1801396800},
        {"2027-01-31t12:00:00z", 1801396800},
        {"2027-01-31 12:00:00Z", 1801396800},
        {"2027-01-31T12:00:00.123Z", 1801396800},
        {"2027-01-31T12:00:00+02:00", 1801389600},
        {"2027-01-31T12:00:00-05:30", 1801416600},
        {"2027-02-29", -1},
        {"2100-02-29", -1},
        {"2027-13-01", -1},
        {"2027-00-01", -1},
        {"2027-01-00", -1},
        {"2027-01-32", -1},
        {"2027-1-31", -1},
        {"27-01-31", -1},
        {"2027/01/31", -1},
        {"2027-01-31T", -1},
        {"2027-01-31T12:00", -1},
        {"2027-01-31T12:00:00", -1},
        {"2027-01-31T24:00:00Z", -1},
        {"2027-01-31T12:60:00Z", -1},
        {"2027-01-31T12:00:00.Z", -1},
        {"2027-01-31T12:00:00+2:00", -1},
        {"2027-01-31T12:00:00+24:00", -1},
        {"2027-01-31T12:00:00Zx", -1},
        {"1969-12-31", -1},
        {"tomorrow", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        bool is_right = time_read(span_of_cstr(cases[i].text), &got);
        if (is_right != (cases[i].seconds >= 0) || (is_right && got != cases[i].seconds * NS_PER_S))
            printf("# %s\n", cases[i].text);
        EXPECT(is_right == (cases[i].seconds >= 0));
        EXPECT(!is_right || got == cases[i].seconds * NS_PER_S);
    }
}

TEST(decimals_are_exact)
{
    static const struct shape six = {.kind = KIND_DECIMAL, .digits = 6};
    static const struct {
        const char *text;
        int64_t number; /* -1: wrong */
    } cases[] = {
        {"0.05", 50000},
        {"0.1", 100000},
        {"0.10", 100000},
        {"50000", 50000000000},
        {"0", 0},
        {"0.000001", 1},
        {"1.000000", 1000000},
        {"0.0000001", -1},
        {".5", -1},
        {"5.", -1},
        {"-1", -1},
        {"1e3", -1},
        {"1,5", -1},
        {"1.5.5", -1},
        {"", -1},
        {"0.0 5", -1},
        {"9223372036854.775807", INT64_MAX},
        {"9223372036854.775808", -1},
        {"99999999999999999999", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        bool is_right = number_read(&six, span_of_cstr(cases[i].text), &got);
        EXPECT(is_right == (cases[i].number >= 0));
        EXPECT(!is_right || got == cases[i].number);
    }
}

/* What is written is read back, for every shape of a number that the schema has. */
static void check_shape(const struct shape *s)
{
    if (s->kind == KIND_EITHER) {
        check_shape(s->of);
        check_shape(s->otherwise);
    }
    if (s->kind < KIND_INTEGER || s->kind > KIND_SIZE)
        return;
    const int64_t numbers[] = {s->min, s->max, s->min + 1, s->max / 3 * 2};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t n = numbers[i], got = -1;
        if (s->kind == KIND_DURATION)
            n -= n % NS_PER_MS;
        char text[NUMBER_BYTES_MAX];
        number_write(s, n, text);
        EXPECT(number_read(s, span_of_cstr(text), &got) && got == n);
    }
}

TEST(numbers_are_written_as_they_are_read)
{
    for (size_t i = 0; i < schema_section_count; i++)
        for (size_t k = 0; k < schema_sections[i]->word_count; k++)
            check_shape(schema_sections[i]->words[k].shape);
}

/* --- secrets ------------------------------------------------------------------------------------
 */

TEST(placeholders_are_known)
{
    static const char *const bad[] = {
        "sk-1234",
        "changeme",
        "change-me",
        "ChangeMe!",
        "secret",
        "password",
        "your-api-key",
        "YOUR_API_KEY",
        "sk-your-api-key-here",
        "xxx",
        "xxxxxxxxxxxxxxxxxxxx",
        "test",
        "admin",
        "123456",
        "1234567890123456",
        "12345678901234567890",
        "<your key here>",
        "<KEY>",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "0000000000000000",
        "sk-xxxxxxxxxxxxxxxxxxxx",
        "changemechangeme",
        "password password",
        "abcdefghijklmnop",
        "................",
        "sk-proj-xxxxxxxxxxxx",
        "testtesttesttest",
        "0123456789abcdef",
        "abcabcabcabcabcabc",
        "********************",
        "replace-me",
        "insert-your-key-here",
        "secretsecretsecret",
    };
    static const char *const good[] = {
        KEYTEXT,
        "f3a9c2e17b5d4860",
        "sk-proj-8fK2mQz7XvB4nLpW",
        CONFIG_DEMO_KEY,
        "correct horse battery",
        "test-key-7f3a9c2e1",
        "sk-test-4eC39HqLyjWDarjtT1zdp7dc",
        "p7",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (!EXPECT(secret_is_placeholder(span_of_cstr(bad[i]))))
            printf("# %s\n", bad[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!EXPECT(!secret_is_placeholder(span_of_cstr(good[i]))))
            printf("# %s\n", good[i]);
    }
}

#define PLACEHOLDER "the value is a placeholder; write a secret of your own"
#define EMPTY_SECRET "the value is empty; an empty secret protects nothing"
#define LATER(at, word) at ": warning: " word " is read but not enforced by this version"

TEST(empty_and_placeholder_secrets_refuse)
{
    static const struct config_case cases[] = {
        {"admin: {key: \"\"}\n" MOCK, "1:14: key: " EMPTY_SECRET},
        {"admin: {key: ${EMPTY}}\n" MOCK, "1:14: key: " EMPTY_SECRET},
        {"admin: {key: ${NONE:-}}\n" MOCK, ""},
        {"admin: {key: changeme}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: ${NONE:-changeme}}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: <your admin key>}\n" MOCK, "1:14: key: " PLACEHOLDER},
        {"admin: {key: abc8fk2}\n" MOCK,
         "1:14: key: the value is too short; a secret has at least 16 characters"},
        {"admin: {key: }\n" MOCK,
         "1:14: key: a value is missing; write a secret of 16 to 256 characters"},
        {"master_key: secret\n" MOCK,
         LATER("1:1", "master_key") "\n1:13: master_key: " PLACEHOLDER},
        {"master_key: ${NONE:-}\n" MOCK, ""},
        {"keys: [{name: a, key: \"\"}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: ${EMPTY}}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: ${NONE:-}}]\n" MOCK, "1:23: key: " EMPTY_SECRET},
        {"keys: [{name: a, key: aaaaaaaaaaaaaaaaaaaa}]\n" MOCK, "1:23: key: " PLACEHOLDER},
        {"keys: [{name: a, key: \"kq8f0s9dfh2k3jh 4k\"}]\n" MOCK,
         "1:23: key: the value holds a blank or a byte that is not visible ASCII"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh\xc3\xa9k}]\n" MOCK,
         "1:23: key: the value holds a blank or a byte that is not visible ASCII"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh}]\n" MOCK,
         "1:23: key: the value is too short; a secret has at least 16 characters"},
        {"keys: [{name: a, key: kq8f0s9dfh2k3jh4}]\n" MOCK, ""},
        {"providers: {openai: {api_key: your-api-key}}\n",
         "1:31: api_key: the value is a placeholder; write the provider's key, or leave it empty"},
        {"providers: {openai: {api_key: \"a b\"}}\n",
         "1:31: api_key: the value holds a blank or a byte that is not visible ASCII"},
        {"providers: {openai: {api_key: \"a\\r\\nb: c\"}}\n",
         "1:31: api_key: the value holds a blank or a byte that is not visible ASCII"},
        {"providers: {openai: {api_key: ${NONE:-}}}\n", ""},
        {"providers: {openai: {api_key: \"\"}}\n", ""},
        {"providers: {openai: {api_key: }}\n", ""},
        {"providers: {openai: }\n", ""},
    };
    RUN_CASES(cases);
    char text[600], key[300];
    for (size_t n = 255; n <= 258; n++) {
        for (size_t i = 0; i < n; i++)
            key[i] = "kq8f0s9dfh2zm"[i % 13 * i % 13];
        key[n] = '\0';
        snprintf(text, sizeof text, "keys: [{name: a, key: %s}]\n" MOCK, key);
        struct config *c = parse(text);
        CHECK((c != NULL) == (n <= 256));
        config_free(c);
    }
}

int main(void)
{
    builder_init(&report, 1 << 20);
    RUN(durations_have_a_unit);
    RUN(sizes_have_a_unit);
    RUN(whole_numbers_are_digits);
    RUN(booleans_are_true_or_false);
    RUN(addresses_can_be_listened_on);
    RUN(urls_of_providers_are_checked);
    RUN(stores_fleets_and_proxies_are_checked);
    RUN(times_are_read_as_rfc_3339_says);
    RUN(decimals_are_exact);
    RUN(numbers_are_written_as_they_are_read);
    RUN(placeholders_are_known);
    RUN(empty_and_placeholder_secrets_refuse);
    builder_deinit(&report);
    return TESTS_DONE();
}
