/* test.h -- the whole unit-test framework: TAP on standard output, one process a file.
 *
 * Why: a test file is a program; its main lists its tests by RUN. A failed CHECK names the place
 * and ends the test, the others still run. Tests never sleep: time and chance are passed in.
 */
#ifndef PENSTOCK_TESTS_TEST_H
#define PENSTOCK_TESTS_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_number, test_failures;
static bool test_failed;

/* Not inlined: main would add up the frames of all of them. */
#define TEST(name) __attribute__((noinline)) static void test_##name(void)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                                    \
            test_failed = true;                                                                    \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* For helpers that answer something: notes the failure, does not leave. */
#define EXPECT(cond)                                                                               \
    ((cond) ? true                                                                                 \
            : (printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond), test_failed = true, false))

#define RUN(name)                                                                                  \
    do {                                                                                           \
        test_failed = false;                                                                       \
        test_##name();                                                                             \
        test_failures += test_failed;                                                              \
        printf("%s %d - %s\n", test_failed ? "not ok" : "ok", ++test_number, #name);               \
        fflush(stdout);                                                                            \
    } while (0)

/* The last statement of main. */
#define TESTS_DONE() (printf("1..%d\n", test_number), test_failures == 0 ? 0 : 1)

/* Data that the tests read in place; NULL when it is not there: the test says so and skips. */
static inline const char *test_shared(void)
{
    const char *path = getenv("PENSTOCK_SHARED");
    return path ? path : "../shared";
}

#define SKIP(name, reason) printf("ok %d - %s # SKIP %s\n", ++test_number, #name, reason)

#endif
