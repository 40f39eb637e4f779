/* AAPCS64: x19-x30 and d8-d15 are the callee's to save; they lie on the stack in this order. */
#if defined(__aarch64__)
    .text
    .globl context_switch_asm
    .type context_switch_asm, %function
    .p2align 4
context_switch_asm: /* (void **save_sp, void *load_sp) */
    .cfi_startproc
    hint #34 /* bti c */
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    br x30
    .cfi_endproc
    .size context_switch_asm, .-context_switch_asm

/* The first frame of a context: x19 is the function, x20 its argument. Unwinders stop here. */
    .globl context_entry_asm
    .type context_entry_asm, %function
    .p2align 4
context_entry_asm:
    .cfi_startproc
    .cfi_undefined x30
    hint #36 /* bti j */
    mov x29, #0
    mov x0, x20
    blr x19
    brk #1
    .cfi_endproc
    .size context_entry_asm, .-context_entry_asm
#endif
    .section .note.GNU-stack,"",%progbits
