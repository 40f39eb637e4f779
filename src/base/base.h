/* base.h -- the words that every file of the house may use.
 *
 * Why: fixed-width types, the handful of macros, and the assertion, said once.
 *
 * Owns:      nothing.
 * Errors:    ASSERT aborts the process: it is for our own bugs, never for bytes from a peer.
 * Suspends:  never.     Threads: any.
 */
#ifndef PENSTOCK_BASE_BASE_H
#define PENSTOCK_BASE_BASE_H

#include <assert.h> /* static_assert */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NORETURN __attribute__((noreturn))
#define COLD __attribute__((cold, noinline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that `field` is a member of. */
#define CONTAINER_OF(ptr, type, field) ((type *)(void *)((char *)(ptr)-offsetof(type, field)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Kept in release builds: prints the expression, file, line and what the thread was doing, then
 * aborts. One condition each. */
#define ASSERT(cond) (LIKELY(cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__))

/* Whole-structure checks, too slow for release. */
#ifdef PENSTOCK_DEBUG
#define ASSERT_SLOW(cond) ASSERT(cond)
#else
#define ASSERT_SLOW(cond) ((void)0)
#endif

NORETURN COLD void assert_failed(const char *expr, const char *file, int line);

/* Prints who was running (fiber, request) when an assertion fails or a signal kills us. The fiber
 * room fills it; it must be async-signal-safe. */
extern void (*assert_context)(void);

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifndef WITH_TSAN
#define WITH_TSAN 0
#endif

#endif
