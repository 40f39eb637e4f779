/* log.h -- what the operator should know, one event a line, on standard error.
 *
 * Why: start, reload, a crash, a provider that went away. Calls have their own log (watch/); what
 * stands here asks for an operator's action or explains one.
 *
 * Bounds:    a line is cut at LOG_LINE_MAX bytes; control bytes are escaped, so that nothing from
 *            outside can forge a line.
 * Errors:    none: a line that cannot be written is lost.
 * Suspends:  never; standard error may block, so workers log rarely.    Threads: any.
 */
#ifndef PENSTOCK_BASE_LOG_H
#define PENSTOCK_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 1500 };

/* Lines above this level are not written. Default LOG_INFO. */
extern enum log_level log_level;

/* A sentence without a full stop; values quoted by the caller where they may be empty. */
void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_level >= LOG_DEBUG ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)

#endif
