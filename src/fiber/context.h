/* context.h -- one flow of control that can be left and entered again.
 *
 * Why: the only thing that a fiber needs from the processor. On x86-64 and aarch64 a switch is a
 * dozen instructions that save the callee-saved registers; elsewhere ucontext does it.
 *
 * Owns:      nothing: the stack is the caller's.
 * Suspends:  context_switch leaves the caller until somebody switches back.    Threads: one.
 *
 * MXCSR, the x87 control word and FPCR are not saved: nobody may change rounding modes. There is
 * no shadow stack for these stacks, so the object is not marked for it.
 */
#ifndef PENSTOCK_FIBER_CONTEXT_H
#define PENSTOCK_FIBER_CONTEXT_H

#include "base/base.h"

#if defined(__x86_64__) || defined(__aarch64__)
#define CONTEXT_IS_NATIVE 1
#else
#define CONTEXT_IS_NATIVE 0
#include <ucontext.h>
#endif

typedef void (*context_fn)(void *arg);

struct context {
#if CONTEXT_IS_NATIVE
    void *sp; /* everything else lies on the stack that it points to */
#else
    ucontext_t state;
#endif
};

/* The first switch to `c` calls fn(arg) on the stack, 16-byte aligned as the ABI asks. fn must not
 * return. */
void context_make(struct context *c, void *stack_low, size_t stack_size, context_fn fn, void *arg);

/* Saves the caller in `from` and goes on in `to`. */
void context_switch(struct context *from, struct context *to);

#endif
