/* The System V ABI's callee-saved registers lie on the stack, lowest address first:
 *   r15 r14 r13 r12 rbx rbp return-address
 * Ends in `jmp`, not `ret`: the return predictor knows nothing of our stacks. */
#if defined(__x86_64__)
    .text
    .globl context_switch_asm
    .type context_switch_asm, @function
    .p2align 4
context_switch_asm: /* (void **save_sp, void *load_sp) */
    .cfi_startproc
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
    .cfi_endproc
    .size context_switch_asm, .-context_switch_asm

/* The first frame of a context: r12 is the function, r13 its argument. Unwinders stop here. */
    .globl context_entry_asm
    .type context_entry_asm, @function
    .p2align 4
context_entry_asm:
    .cfi_startproc
    .cfi_undefined rip
    endbr64
    xorl %ebp, %ebp
    movq %r13, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size context_entry_asm, .-context_entry_asm

    .section .note.gnu.property,"a"
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0 /* x86 feature: IBT, and not SHSTK */
#endif
    .section .note.GNU-stack,"",%progbits
