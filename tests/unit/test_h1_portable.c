/* All of test_h1.c over the loops that need no wide instructions. */
#define HTTP_SCAN_PORTABLE 1
#include "test_h1.c"
