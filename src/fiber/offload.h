/* offload.h -- blocking work, done on threads of its own while the fiber waits.
 *
 * Why: one file read on a worker stops every call of that worker.
 *
 * Owns:      the threads, which are started with the first job and end with the process.
 * Bounds:    OFFLOAD_THREADS threads, OFFLOAD_QUEUE_MAX waiting jobs.
 * Errors:    ERR_FULL when too many wait, ERR_NO_MEMORY when no thread can be started.
 * Suspends:  offload_call, until the job is done: it cannot be cancelled, so jobs are short.
 * Threads:   any loop's.
 */
#ifndef PENSTOCK_FIBER_OFFLOAD_H
#define PENSTOCK_FIBER_OFFLOAD_H

#include "base/err.h"
#include "fiber/fiber.h"

enum { OFFLOAD_THREADS = 2, OFFLOAD_QUEUE_MAX = 1024 };

/* Runs fn(arg) on another thread. When it answers ERR_OK, fn has returned. */
MUST_USE SUSPENDS enum err offload_call(void (*fn)(void *arg), void *arg);

#endif
