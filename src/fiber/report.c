/* What a fiber is doing, how deep its stack went, and what to print when it crashes. */
#include "base/sys.h"
#include "fiber/fiber_impl.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void fiber_report(struct builder *out)
{
    static const char *const states[] = {"ready", "running", "waiting", "done"};
    struct loop *l = loop_self();
    ASSERT(l != NULL);
    LIST_EACH(&l->all, struct fiber, all, f) {
        builder_printf(out, "%llu %s %s %s", (unsigned long long)f->id, f->name,
                       f->label ? f->label : "-", states[f->state]);
        if (f->state == FIBER_WAITING && f->wait_deadline != FIBER_FOREVER)
            builder_printf(out, " for %s, %lld ms left", f->waiting_for,
                           (long long)((f->wait_deadline - l->now_ns) / NS_PER_MS));
        else if (f->state == FIBER_WAITING)
            builder_printf(out, " for %s", f->waiting_for);
        if (f->cancelled != CANCEL_NONE)
            builder_printf(out, ", cancelled: %s", cancel_reason_name(f->cancelled));
        builder_add_char(out, '\n');
    }
}

/* --- census: debug builds paint a stack and look how much paint is left ----------------------- */

#if defined(PENSTOCK_DEBUG) && !WITH_ASAN

enum { PAINT = 0xa5, SITES_MAX = 64 };

static struct {
    const char *name;
    size_t deepest;
} sites[SITES_MAX];
static size_t site_count;

void census_paint(struct fiber *f)
{
    memset(f->stack_low, PAINT, (size_t)((char *)f - f->stack_low));
}

void census_take(struct fiber *f)
{
    const char *p = f->stack_low;
    while (p < (char *)f && *(const unsigned char *)p == PAINT)
        p++;
    size_t used = (size_t)(f->stack_low + STACK_SIZE - p), i = 0;
    while (i < site_count && strcmp(sites[i].name, f->name) != 0)
        i++;
    if (i == SITES_MAX)
        return;
    if (i == site_count)
        sites[site_count++].name = f->name;
    sites[i].deepest = MAX(sites[i].deepest, used);
}

size_t fiber_census(struct builder *out)
{
    size_t deepest = 0;
    for (size_t i = 0; i < site_count; i++) {
        builder_printf(out, "%zu of %d bytes: %s\n", sites[i].deepest, STACK_SIZE, sites[i].name);
        deepest = MAX(deepest, sites[i].deepest);
    }
    return deepest;
}

#else

void census_paint(struct fiber *f)
{
    (void)f;
}

void census_take(struct fiber *f)
{
    (void)f;
}

size_t fiber_census(struct builder *out)
{
    (void)out;
    return 0;
}

#endif

/* --- crashes: only what is async-signal-safe -------------------------------------------------- */

static void put(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

static void put_number(uint64_t value)
{
    char digits[21], *p = digits + sizeof digits - 1;
    *p = '\0';
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(p);
}

static void tell_who(void)
{
    struct fiber *f = fiber_self();
    if (!f) {
        put("penstock: not in a fiber\n");
        return;
    }
    put("penstock: in fiber ");
    put_number(f->id);
    put(" (");
    put(f->name);
    put(f->label ? ", request " : "");
    put(f->label ? f->label : "");
    put(")\n");
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    put("penstock: killed by signal ");
    put_number((uint64_t)number);
    put("\n");
    tell_who();
    struct fiber *f = fiber_self();
    if (f && number == SIGSEGV && stack_guard_hit(f->stack_low, info->si_addr))
        put("penstock: the fiber overflowed its stack (guard hit)\n");
    /* SA_RESETHAND: returning repeats the fault with the default action, which dumps core. */
    if (info->si_code <= 0)
        raise(number);
}

void fiber_catch_crashes(void)
{
    assert_context = tell_who;
#if !WITH_ASAN && !WITH_TSAN
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND};
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaction(numbers[i], &action, NULL);
#else
    (void)on_crash; /* the sanitizers tell more */
#endif
}
