/* The kernel for machines with AVX2, which the rest of the program does not need: everything from
 * here on is compiled for them, and kernel.c asks the processor before it calls. */
#include "http/kernel.h"

#if defined(__x86_64__)

/* Before the pragma: what these declare is the same for all. */
#include "http/known.h"
#include "http/scan.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif

#define HTTP_LANES_AVX2 1
#include "http/kernel_wide.h"

const struct http_kernel http_kernel_avx2 = {"avx2", wide_fields, wide_unusual};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
