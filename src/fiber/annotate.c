/* The protocol of the sanitizers and valgrind for code that changes stacks, all in one place. */
#include "fiber/fiber_impl.h"

#if WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(PENSTOCK_VALGRIND) && __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define WITH_VALGRIND 1
#else
#define WITH_VALGRIND 0
#endif

void annotate_born(struct fiber *f)
{
#if WITH_TSAN
    f->tsan_fiber = __tsan_create_fiber(0);
#endif
#if WITH_VALGRIND
    f->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(f->stack_low, f->stack_low + STACK_SIZE - 1);
#endif
    (void)f;
}

void annotate_died(struct fiber *f)
{
#if WITH_TSAN
    __tsan_destroy_fiber(f->tsan_fiber);
#endif
#if WITH_VALGRIND
    VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#endif
    (void)f;
}

/* On the loop's stack, about to enter `f`. */
void annotate_enter(struct loop *l, struct fiber *f)
{
#if WITH_ASAN
    __sanitizer_start_switch_fiber(&l->asan_stack, f->stack_low, STACK_SIZE);
#endif
#if WITH_TSAN
    if (!l->tsan_fiber)
        l->tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan_fiber, 0);
#endif
    (void)l;
    (void)f;
}

/* On the fiber's stack, just entered: tells where the loop's own stack lies. */
void annotate_entered(struct loop *l, struct fiber *f)
{
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(f->asan_stack, &l->asan_low, &l->asan_size);
#endif
    (void)l;
    (void)f;
}

/* On the fiber's stack, about to go back to the loop; NULL tells ASan that it is for ever. */
void annotate_leave(struct loop *l, struct fiber *f, bool for_ever)
{
#if WITH_ASAN
    __sanitizer_start_switch_fiber(for_ever ? NULL : &f->asan_stack, l->asan_low, l->asan_size);
#endif
#if WITH_TSAN
    __tsan_switch_to_fiber(l->tsan_fiber, 0);
#endif
    (void)l;
    (void)f;
    (void)for_ever;
}

/* On the loop's stack, just back from a fiber. */
void annotate_left(struct loop *l, struct fiber *f)
{
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(l->asan_stack, NULL, NULL);
#endif
    (void)l;
    (void)f;
}
