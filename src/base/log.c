#include "base/log.h"

#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum log_level log_level = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Copies text, writing every control byte as \xNN. Returns the end of what was written. */
static char *escape(char *out, const char *end, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (; *text && out + 5 < end; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x20 && c != 0x7f) {
            *out++ = (char)c;
            continue;
        }
        *out++ = '\\';
        *out++ = 'x';
        *out++ = digits[c >> 4];
        *out++ = digits[c & 15];
    }
    return out;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > log_level)
        return;
    char text[LOG_LINE_MAX], line[LOG_LINE_MAX + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    time_text(wall_ns(), line);
    char *p = line + TIME_TEXT_BYTES;
    p += snprintf(p, 32, " %s ", level_names[level]);
    p = escape(p, line + sizeof line - 2, text);
    *p++ = '\n';
    ssize_t written = sys.write(STDERR_FILENO, line, (size_t)(p - line));
    (void)written; /* there is nowhere left to complain */
}

void (*assert_context)(void);

/* The state of the process is unknown: only write(2) is trusted. */
void assert_failed(const char *expr, const char *file, int line)
{
    char text[512];
    int n =
        snprintf(text, sizeof text, "penstock: assertion failed: %s (%s:%d)\n", expr, file, line);
    ssize_t written = write(STDERR_FILENO, text, (size_t)MIN(n, (int)sizeof text - 1));
    (void)written;
    if (assert_context)
        assert_context();
    abort();
}
