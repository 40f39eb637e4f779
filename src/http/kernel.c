#include "http/kernel.h"

#include "http/scan.h"

#include <stdatomic.h>

static const char *no_fields(const char *p, const char *end, struct http_head *head)
{
    (void)end;
    (void)head;
    return p;
}

static size_t plain_unusual(const char *p, const char *end)
{
    size_t count = 0;
    for (; p < end; p++)
        count += (unsigned char)(*p - ' ') > 0x7e - ' ';
    return count;
}

static const struct http_kernel portable = {"portable", no_fields, plain_unusual};

#if HTTP_SCAN_WIDE
#include "http/kernel_wide.h"
#endif

#if HTTP_SCAN_WIDE && defined(__x86_64__)
static const struct http_kernel sse2 = {"sse2", wide_fields, wide_unusual};
static const struct http_kernel *const kernels[] = {&portable, &sse2, &http_kernel_avx2};
#elif HTTP_SCAN_WIDE && defined(__aarch64__)
static const struct http_kernel neon = {"neon", wide_fields, wide_unusual};
static const struct http_kernel *const kernels[] = {&portable, &neon};
#else
static const struct http_kernel *const kernels[] = {&portable};
#endif

static _Atomic(const struct http_kernel *) chosen;

const struct http_kernel *const *http_kernels(size_t *count)
{
    *count = ARRAY_LEN(kernels);
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("popcnt"))
        *count -= 1;
#endif
    return kernels;
}

const struct http_kernel *http_kernel(void)
{
    const struct http_kernel *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (LIKELY(k))
        return k;
    size_t count;
    const struct http_kernel *const *list = http_kernels(&count);
    atomic_store_explicit(&chosen, list[count - 1], memory_order_relaxed);
    return list[count - 1];
}

void http_kernel_use(const struct http_kernel *kernel)
{
    atomic_store_explicit(&chosen, kernel, memory_order_relaxed);
}
