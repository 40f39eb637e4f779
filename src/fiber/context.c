#include "fiber/context.h"

#if CONTEXT_IS_NATIVE

void context_switch_asm(void **save_sp, void *load_sp);
void context_entry_asm(void);

/* What context_switch_asm pops, lowest address first; see the .S files. */
#if defined(__x86_64__)
struct frame {
    uint64_t r15, r14;
    void *argument; /* r13 */
    context_fn fn;  /* r12 */
    uint64_t rbx, rbp;
    void (*resume)(void);
};
/* The whole frame is popped before context_entry_asm calls: the stack is 16n there. */
#else
struct frame {
    context_fn fn;  /* x19 */
    void *argument; /* x20 */
    uint64_t x21_to_x29[9];
    void (*resume)(void); /* x30 */
    uint64_t d8_to_d15[8];
};
#endif

void context_make(struct context *c, void *stack_low, size_t stack_size, context_fn fn, void *arg)
{
    uintptr_t top = ((uintptr_t)stack_low + stack_size) & ~(uintptr_t)15;
    struct frame *f = (struct frame *)top - 1;
    *f = (struct frame){.fn = fn, .argument = arg, .resume = context_entry_asm};
    c->sp = f;
}

void context_switch(struct context *from, struct context *to)
{
    context_switch_asm(&from->sp, to->sp);
}

#else

static void entry(unsigned fn_high, unsigned fn_low, unsigned arg_high, unsigned arg_low)
{
    context_fn fn = (context_fn)((uintptr_t)fn_high << 16 << 16 | fn_low);
    fn((void *)((uintptr_t)arg_high << 16 << 16 | arg_low));
}

/* makecontext passes ints: pointers go in two halves. */
void context_make(struct context *c, void *stack_low, size_t stack_size, context_fn fn, void *arg)
{
    getcontext(&c->state);
    c->state.uc_stack.ss_sp = stack_low;
    c->state.uc_stack.ss_size = stack_size;
    c->state.uc_link = NULL;
    uintptr_t f = (uintptr_t)fn, a = (uintptr_t)arg;
    makecontext(&c->state, (void (*)(void))entry, 4, (unsigned)(f >> 16 >> 16), (unsigned)f,
                (unsigned)(a >> 16 >> 16), (unsigned)a);
}

void context_switch(struct context *from, struct context *to)
{
    swapcontext(&from->state, &to->state);
}

#endif
