/* The context switch for aarch64, AAPCS64. switch.h says what the functions promise.
 *
 * A stopped flow of control is its stack pointer; from there upwards lie
 *
 *      0  fpcr, (8 unused)
 *     16  d8-d15
 *     80  x19-x28
 *    160  x29, x30: the address to go on at
 *
 * so the frame of whoever was stopped begins at that stack pointer + 176. Writing fpcr may drain
 * the pipeline and hardly anybody ever changes it, so it is compared first. x18 is the platform's
 * and not touched. */

#if defined(__aarch64__) && !defined(__ILP32__)

#if defined(__ARM_FEATURE_BTI_DEFAULT)
#define LANDING hint #34 /* bti c */
#else
#define LANDING
#endif
#define FRAME 176

    .text

.macro SAVE
    sub sp, sp, #FRAME
    .cfi_def_cfa_offset FRAME
    stp x29, x30, [sp, #160]
    .cfi_offset x29, -16
    .cfi_offset x30, -8
    stp x19, x20, [sp, #80]
    .cfi_offset x19, -96
    .cfi_offset x20, -88
    stp x21, x22, [sp, #96]
    .cfi_offset x21, -80
    .cfi_offset x22, -72
    stp x23, x24, [sp, #112]
    .cfi_offset x23, -64
    .cfi_offset x24, -56
    stp x25, x26, [sp, #128]
    .cfi_offset x25, -48
    .cfi_offset x26, -40
    stp x27, x28, [sp, #144]
    .cfi_offset x27, -32
    .cfi_offset x28, -24
    stp d8, d9, [sp, #16]
    .cfi_offset d8, -160
    .cfi_offset d9, -152
    stp d10, d11, [sp, #32]
    .cfi_offset d10, -144
    .cfi_offset d11, -136
    stp d12, d13, [sp, #48]
    .cfi_offset d12, -128
    .cfi_offset d13, -120
    stp d14, d15, [sp, #64]
    .cfi_offset d14, -112
    .cfi_offset d15, -104
    mrs x9, fpcr
    str x9, [sp]
.endm

/* x9 is the fpcr now in force. */
.macro RESTORE
    ldr x10, [sp]
    cmp x9, x10
    b.eq 1f
    msr fpcr, x10
1:  ldp d8, d9, [sp, #16]
    ldp d10, d11, [sp, #32]
    ldp d12, d13, [sp, #48]
    ldp d14, d15, [sp, #64]
    ldp x19, x20, [sp, #80]
    ldp x21, x22, [sp, #96]
    ldp x23, x24, [sp, #112]
    ldp x25, x26, [sp, #128]
    ldp x27, x28, [sp, #144]
    ldp x29, x30, [sp, #160]
    add sp, sp, #FRAME
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore d8
    .cfi_restore d9
    .cfi_restore d10
    .cfi_restore d11
    .cfi_restore d12
    .cfi_restore d13
    .cfi_restore d14
    .cfi_restore d15
.endm

/* void weir__switch_run(runner x0, high x1, fn x2, arg x3)
 *
 * x19 carries the runner through fn. While fn runs, the frame of the caller is found where *runner
 * says at that moment: that is the expression below (DW_OP_breg19 0, DW_OP_deref, DW_OP_plus_uconst
 * 176), by which a debugger walks from the coroutine to whoever runs it now. x29 is cleared so
 * that an unwinder by frame pointers stops here instead. */
    .globl weir__switch_run
    .hidden weir__switch_run
    .type weir__switch_run, %function
    .p2align 5
weir__switch_run:
    .cfi_startproc
    LANDING
    SAVE
    mov x9, sp
    str x9, [x0]
    mov x19, x0
    .cfi_remember_state
    .cfi_escape 0x0f, 0x06, 0x83, 0x00, 0x06, 0x23, 0xb0, 0x01
    mov sp, x1
    mov x29, xzr
    mov x0, x3
    blr x2
    ldr x9, [x19]
    mov sp, x9
    .cfi_restore_state
    mrs x9, fpcr
    RESTORE
    ret
    .cfi_endproc
    .size weir__switch_run, .-weir__switch_run

/* void *weir__switch_swap(from x0, to x1, value x2) */
    .globl weir__switch_swap
    .hidden weir__switch_swap
    .type weir__switch_swap, %function
    .p2align 5
weir__switch_swap:
    .cfi_startproc
    LANDING
    SAVE
    mov x10, sp
    str x10, [x0]
    ldr x10, [x1]
    mov sp, x10
    mov x0, x2
    RESTORE
    ret
    .cfi_endproc
    .size weir__switch_swap, .-weir__switch_swap

/* unsigned long weir__switch_shadow_stack(void): guarded control stacks (kernel 6.13). Where the
 * processor has none, chkfeat is a hint that leaves x16 as it was: bit 0 set. */
    .globl weir__switch_shadow_stack
    .hidden weir__switch_shadow_stack
    .type weir__switch_shadow_stack, %function
    .p2align 4
weir__switch_shadow_stack:
    .cfi_startproc
    LANDING
    mov x16, #1
    hint #40 /* chkfeat x16: clears the bit of a feature that is on */
    eor x0, x16, #1
    ret
    .cfi_endproc
    .size weir__switch_shadow_stack, .-weir__switch_shadow_stack

/* GNU_PROPERTY_AARCH64_FEATURE_1_BTI, and not GCS. */
#if defined(__ARM_FEATURE_BTI_DEFAULT)
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, 1, 0
#endif

#endif
    .section .note.GNU-stack, "", %progbits
