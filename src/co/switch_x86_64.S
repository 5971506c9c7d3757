/* The context switch for x86-64, System V ABI. switch.h says what the functions promise.
 *
 * A stopped flow of control is its stack pointer; from there upwards lie
 *
 *      0  mxcsr (4 bytes), x87 control word (2 bytes)
 *      8  r15, r14, r13, r12, rbx, rbp
 *     56  the address to go on at
 *
 * so the frame of whoever was stopped begins at that stack pointer + 64. The status flags in mxcsr
 * belong to nobody and travel with the control bits. */

#if defined(__x86_64__) && !defined(__ILP32__)

#if defined(__CET__) && (__CET__ & 1)
#define LANDING endbr64
#define JUMP_RETURN(reg) notrack jmp *reg
#else
#define LANDING
#define JUMP_RETURN(reg) jmp *reg
#endif

    .text

/* What both moves do first: the frame above, on the stack of the one who leaves. */
.macro SAVE
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
.endm

/* And last, on the stack of the one who goes on; the return address stays where it is. Loading the
 * words is cheap (0.7 ns for both on Zen 5) where they are already in force; reading mxcsr is not
 * (3.3 ns), so they are not compared first. */
.macro RESTORE
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
.endm

/* void weir__switch_run(runner rdi, high rsi, fn rdx, arg rcx)
 *
 * rbx carries the runner through fn. While fn runs, the frame of the caller is found where *runner
 * says at that moment: that is the expression below (DW_OP_breg3 0, DW_OP_deref, DW_OP_plus_uconst
 * 64), by which a debugger walks from the coroutine to whoever runs it now. rbp is cleared so
 * that an unwinder by frame pointers stops here instead. */
    .globl weir__switch_run
    .hidden weir__switch_run
    .type weir__switch_run, @function
    .p2align 5
weir__switch_run:
    .cfi_startproc
    LANDING
    SAVE
    movq %rsp, (%rdi)
    movq %rdi, %rbx
    .cfi_remember_state
    .cfi_escape 0x0f, 0x05, 0x73, 0x00, 0x06, 0x23, 0x40
    movq %rsi, %rsp
    xorl %ebp, %ebp
    movq %rcx, %rdi
    callq *%rdx
    movq (%rbx), %rsp
    .cfi_restore_state
    RESTORE
    retq
    .cfi_endproc
    .size weir__switch_run, .-weir__switch_run

/* void *weir__switch_swap(from rdi, to rsi, value rdx)
 *
 * Leaves by a jump: a return here never goes where the processor's return predictor expects it,
 * while the target of a jump is predicted from its history (half the time of a swap). */
    .globl weir__switch_swap
    .hidden weir__switch_swap
    .type weir__switch_swap, @function
    .p2align 5
weir__switch_swap:
    .cfi_startproc
    LANDING
    SAVE
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    RESTORE
    movq %rdx, %rax
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rcx
    JUMP_RETURN(%rcx)
    .cfi_endproc
    .size weir__switch_swap, .-weir__switch_swap

/* unsigned long weir__switch_shadow_stack(void): rdsspq, which leaves the register alone without
 * one. It is spelt in bytes for assemblers that do not know it. */
    .globl weir__switch_shadow_stack
    .hidden weir__switch_shadow_stack
    .type weir__switch_shadow_stack, @function
    .p2align 4
weir__switch_shadow_stack:
    .cfi_startproc
    LANDING
    xorl %eax, %eax
    .byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8
    retq
    .cfi_endproc
    .size weir__switch_shadow_stack, .-weir__switch_shadow_stack

/* GNU_PROPERTY_X86_FEATURE_1_IBT, and not SHSTK. */
#if defined(__CET__) && (__CET__ & 1)
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0
#endif

#endif
    .section .note.GNU-stack, "", %progbits
