#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct err_info table[ERR_COUNT] = {
    [ERR_OK] = {"OK", 200, "", "", false, "nothing failed"},
#define X(name, status, type, code, elsewhere, text)                                               \
    [ERR_##name] = {#name, status, type, code, elsewhere, text},
#include "base/err.def"
#undef X
};

const struct err_info *err_info(enum err code)
{
    ASSERT((unsigned)code < ERR_COUNT);
    return &table[code];
}

enum err fail(struct failure *f, enum err code, const char *format, ...)
{
    ASSERT(code != ERR_OK);
    if (!f || f->code != ERR_OK)
        return code;
    f->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    return code;
}
