/* access_log.h -- one line a call, written by a thread of its own.
 *
 * Why: a slow disk or a stuck pipe must not slow a call. Lines go through a ring a worker; when it
 * is full they are dropped and counted, never waited for.
 *
 * Owns:      the descriptor and the thread, from access_log_open to access_log_close.
 * Bounds:    ACCESS_LOG_RING bytes a worker.
 * Errors:    access_log_open: ERR_IO with the reason. A failed write loses the lines (counted).
 * Suspends:  never.     Threads: a ring has one worker; opening and closing are the main thread's.
 */
#ifndef PENSTOCK_WATCH_ACCESS_LOG_H
#define PENSTOCK_WATCH_ACCESS_LOG_H

#include "watch/record.h"

struct access_log;

enum { ACCESS_LOG_RING = 1 << 20 };

/* `path`: "stdout", "off", or a file that is appended to. */
MUST_USE enum err access_log_open(struct span path, size_t workers, struct access_log **log,
                                  struct failure *why);

/* Writes what is left, then stops. NULL is fine. */
void access_log_close(struct access_log *log);

/* Opens the file anew: after it was rotated, or when another path is configured. */
MUST_USE enum err access_log_reopen(struct access_log *log, struct span path, struct failure *why);

/* From the worker's own thread. NULL is fine: nothing is written. */
void access_log_put(struct access_log *log, size_t worker, const struct record *r);

/* Lines that found no room, and lines that could not be written. */
uint64_t access_log_dropped(const struct access_log *log);

#endif
