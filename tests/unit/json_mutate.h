/* json_mutate.h -- makes bodies that are almost JSON, for the tests of the JSON room.
 *
 * Why: random bytes are refused at once; what finds faults is a good document with something
 * small wrong at a place where blocks, escapes and characters meet.
 */
#ifndef PENSTOCK_TESTS_JSON_MUTATE_H
#define PENSTOCK_TESTS_JSON_MUTATE_H

#include "base/span.h"

#include <stdlib.h>

static uint64_t mutate_seed = 1;

/* How often a property is tried: less under sanitizers, PENSTOCK_TRIES times as often if set. */
static inline int mutate_tries(int n)
{
    const char *const times = getenv("PENSTOCK_TRIES");
    return (WITH_ASAN || WITH_TSAN ? n / 20 : n) * (times ? atoi(times) : 1);
}

static inline unsigned mutate_random(unsigned below)
{
    mutate_seed = mutate_seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((mutate_seed >> 33) % below);
}

static const struct span mutate_documents[] = {
    SPAN_INIT("{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Say \\\"hi\\\" "
              "\\u00e9\\n\"}],\"stream\":true,\"max_tokens\":12}"),
    SPAN_INIT(" { \"a\" : [ 1 , -2.5e+10 , 0.25 , 1E9 , -0 ] ,\t\"b\" : { } , \"c\" : [ ] }\r\n"),
    SPAN_INIT("[true,false,null,\"\",[[[]]],{\"x\":{\"y\":[{}]}}]"),
    SPAN_INIT("{\"user\":\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\x9F\xBF\xEE\x80\x80\","
              "\"mod\\u0065l\":\"\\ud83d\\ude00 \\ud83d \\/\\b\\f\\r\\t\\\\\"}"),
    SPAN_INIT(
        "\"\xF4\x8F\xBF\xBF\xF0\x90\x80\x80\xE0\xA0\x80\xC2\x80 plain text of some length, "
        "longer than any block \xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\""),
    SPAN_INIT("-12.75E-3"),
};

enum { MUTATE_MAX = 512 };

/* Something that matters to a reader. */
static inline struct span mutate_token(void)
{
    static const struct span tokens[] = {
        SPAN_INIT("\""),
        SPAN_INIT("\\"),
        SPAN_INIT("{"),
        SPAN_INIT("}"),
        SPAN_INIT("["),
        SPAN_INIT("]"),
        SPAN_INIT(","),
        SPAN_INIT(":"),
        SPAN_INIT("0"),
        SPAN_INIT("-"),
        SPAN_INIT("."),
        SPAN_INIT("e"),
        SPAN_INIT("\\u"),
        SPAN_INIT("\\ud800"),
        SPAN_INIT("\\udc00"),
        SPAN_INIT("true"),
        SPAN_INIT("\n"),
        SPAN_INIT(" "),
        SPAN_INIT("\x00"),
        SPAN_INIT("\x1F"),
        SPAN_INIT("\x7F"),
        SPAN_INIT("\x80"),
        SPAN_INIT("\xBF"),
        SPAN_INIT("\xC0"),
        SPAN_INIT("\xC3\xA9"),
        SPAN_INIT("\xE0\x9F\x80"),
        SPAN_INIT("\xED\xA0\x80"),
        SPAN_INIT("\xE6\xBC\xA2"),
        SPAN_INIT("\xF0\x8F\x80\x80"),
        SPAN_INIT("\xF4\x90\x80\x80"),
        SPAN_INIT("\xF0\x9F\x98\x80"),
        SPAN_INIT("\xF5"),
        SPAN_INIT("\xFF"),
        SPAN_INIT("\"model\":1,"),
        SPAN_INIT("\"m\\u006fdel\":"),
        SPAN_INIT("\"a\":0,"),
    };
    return tokens[mutate_random(sizeof tokens / sizeof tokens[0])];
}

/* Replaces `cut` bytes at `at` by `s`; the new length. */
static inline size_t mutate_splice(char *text, size_t n, size_t at, size_t cut, struct span s)
{
    cut = cut < n - at ? cut : n - at;
    if (n - cut + s.n > MUTATE_MAX)
        return n;
    memmove(text + at + s.n, text + at + cut, n - at - cut);
    memcpy(text + at, s.p, s.n);
    return n - cut + s.n;
}

/* A document with up to three faults, moved against the blocks by a run of plain text. */
static inline size_t mutate_body(char text[MUTATE_MAX])
{
    static const char run[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    const struct span from =
        mutate_documents[mutate_random(sizeof mutate_documents / sizeof mutate_documents[0])];
    size_t n = from.n;
    memcpy(text, from.p, n);
    for (unsigned i = 1 + mutate_random(2); i > 0; i--) {
        const struct span pad = {run, mutate_random(sizeof run - 1)};
        n = mutate_splice(text, n, mutate_random((unsigned)n + 1), 0,
                          mutate_random(2) ? pad : (struct span){run, 0});
    }
    for (unsigned i = mutate_random(4); i > 0 && n > 0; i--) {
        const size_t at = mutate_random((unsigned)n);
        switch (mutate_random(4)) {
        case 0:
            text[at] = (char)(text[at] ^ 1 << mutate_random(8));
            break;
        case 1:
            n = mutate_splice(text, n, at, 1 + mutate_random(3), (struct span){run, 0});
            break;
        case 2:
            n = mutate_random(8) ? n : at; /* cut off */
            break;
        default:
            n = mutate_splice(text, n, at, mutate_random(2), mutate_token());
        }
    }
    return n;
}

#endif
