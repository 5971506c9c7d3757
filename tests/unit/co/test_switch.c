/* The switch alone, on a stack from malloc: values, registers, control words, unwinding. What runs
 * once per implementation is called through `struct way`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <execinfo.h>
#include <fenv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "co/sanitize.h"
#include "co/switch.h"

#define STACK_BYTES (256 * 1024)

union place {
    struct switch_assembly assembly;
    struct switch_ucontext ucontext;
};

struct way {
    void (*run)(union place *runner, union place *callee, void *low, void *high, void (*fn)(void *),
                void *arg);
    void *(*swap)(union place *from, union place *to, void *value);
};

/* One runner, one callee, and whatever the test wants to count. */
struct pair {
    const struct way *way;
    union place runner, callee;
    struct sanitize_flow runner_flow, callee_flow;
    char *low, *high;
    bool finished;
    int count;
    uintptr_t sum;
    double third;
    long double long_third;
};

#if SWITCH_HAS_ASSEMBLY
static void assembly_run(union place *runner, union place *callee, void *low, void *high,
                         void (*fn)(void *), void *arg)
{
    weir__switch_run(&runner->assembly, high, fn, arg);
}

static void *assembly_swap(union place *from, union place *to, void *value)
{
    return weir__switch_swap(&from->assembly, &to->assembly, value);
}

static const struct way assembly_way = {assembly_run, assembly_swap};
#endif

static void ucontext_run(union place *runner, union place *callee, void *low, void *high,
                         void (*fn)(void *), void *arg)
{
    switch_ucontext_run(&runner->ucontext, &callee->ucontext, low, high, fn, arg);
}

static void *ucontext_swap(union place *from, union place *to, void *value)
{
    return switch_ucontext_swap(&from->ucontext, &to->ucontext, value);
}

static const struct way ucontext_way = {ucontext_run, ucontext_swap};

static void pair_init(struct pair *pair, const struct way *way)
{
    memset(pair, 0, sizeof *pair);
    pair->way = way;
    pair->low = aligned_alloc(4096, STACK_BYTES);
    assert_non_null(pair->low);
    pair->high = pair->low + STACK_BYTES;
    sanitize_flow_init(&pair->callee_flow, pair->low, pair->high);
}

static void pair_end(struct pair *pair)
{
    sanitize_flow_end(&pair->callee_flow);
    free(pair->low);
}

static void pair_run(struct pair *pair, void (*fn)(void *))
{
    pair->finished = true;
    sanitize_enter(&pair->runner_flow, &pair->callee_flow);
    pair->way->run(&pair->runner, &pair->callee, pair->low, pair->high, fn, pair);
    sanitize_leave(&pair->runner_flow, &pair->callee_flow, pair->finished);
}

static void *pair_resume(struct pair *pair, void *value)
{
    pair->finished = true;
    sanitize_enter(&pair->runner_flow, &pair->callee_flow);
    value = pair->way->swap(&pair->runner, &pair->callee, value);
    sanitize_leave(&pair->runner_flow, &pair->callee_flow, pair->finished);
    return value;
}

static void *pair_suspend(struct pair *pair, void *value)
{
    pair->finished = false;
    return pair->way->swap(&pair->callee, &pair->runner, value);
}

/* -- runs, swaps, values -- */

static void count_once(void *arg)
{
    struct pair *pair = arg;

    pair->count++;
}

static void add_what_comes(void *arg)
{
    struct pair *pair = arg;
    uintptr_t value = 0;

    while (value != 99) {
        value = (uintptr_t)pair_suspend(pair, (void *)(value + 1000));
        pair->sum += value;
    }
}

static void check_values(const struct way *way)
{
    struct pair pair;

    pair_init(&pair, way);
    for (int i = 0; i < 1000; i++)
        pair_run(&pair, count_once);
    assert_int_equal(pair.count, 1000);
    for (int round = 0; round < 3; round++) {
        pair.sum = 0;
        pair_run(&pair, add_what_comes);
        assert_false(pair.finished);
        for (uintptr_t i = 1; i <= 98; i++)
            assert_int_equal((uintptr_t)pair_resume(&pair, (void *)i), i + 1000);
        assert_false(pair.finished);
        pair_resume(&pair, (void *)99);
        assert_true(pair.finished);
        assert_int_equal(pair.sum, 99 * 100 / 2);
    }
    pair_end(&pair);
}

/* The ABI promises functions an aligned stack; a float in a variable argument needs it. */
static void check_alignment_inside(void *arg)
{
    struct pair *pair = arg;
    char text[64];
    _Alignas(16) volatile char aligned[16];

    aligned[0] = 1;
    snprintf(text, sizeof text, "%.3f %d", (double)pair->count + 0.125, aligned[0]);
    pair->sum = (uintptr_t)aligned % 16 + (strcmp(text, "7.125 1") != 0);
}

static void check_alignment(const struct way *way)
{
    struct pair pair;

    pair_init(&pair, way);
    for (int offset = 0; offset < 4096; offset += 64) {
        pair.high = pair.low + STACK_BYTES - offset;
        pair.count = 7;
        pair.sum = 1;
        pair_run(&pair, check_alignment_inside);
        assert_int_equal(pair.sum, 0);
    }
    pair_end(&pair);
}

/* -- callee-saved registers -- */

/* Fills the registers that a call must keep with values made from `seed`, calls fn(arg), and
 * returns how many of them came back changed. */
unsigned long registers_kept(void (*fn)(void *), void *arg, unsigned long seed);

#if defined(__x86_64__)
#define HAVE_REGISTERS 1
__asm__(".text\n"
        ".type registers_kept, @function\n"
        "registers_kept:\n"
        "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdx\n"
        "lea 1(%rdx), %rbp; lea 2(%rdx), %rbx; lea 3(%rdx), %r12\n"
        "lea 4(%rdx), %r13; lea 5(%rdx), %r14; lea 6(%rdx), %r15\n"
        "mov %rdi, %rax; mov %rsi, %rdi; call *%rax\n"
        "pop %rdx\n"
        "xor %eax, %eax\n"
        "sub %rdx, %rbp; cmp $1, %rbp; setne %cl; add %cl, %al\n"
        "sub %rdx, %rbx; cmp $2, %rbx; setne %cl; add %cl, %al\n"
        "sub %rdx, %r12; cmp $3, %r12; setne %cl; add %cl, %al\n"
        "sub %rdx, %r13; cmp $4, %r13; setne %cl; add %cl, %al\n"
        "sub %rdx, %r14; cmp $5, %r14; setne %cl; add %cl, %al\n"
        "sub %rdx, %r15; cmp $6, %r15; setne %cl; add %cl, %al\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "ret\n"
        ".size registers_kept, .-registers_kept\n");
#elif defined(__aarch64__)
#define HAVE_REGISTERS 1
__asm__(".text\n"
        ".type registers_kept, %function\n"
        "registers_kept:\n"
        "sub sp, sp, #192\n"
        "stp x29, x30, [sp]; stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]\n"
        "stp x23, x24, [sp, #48]; stp x25, x26, [sp, #64]; stp x27, x28, [sp, #80]\n"
        "stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]\n"
        "stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]; str x2, [sp, #160]\n"
        ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n"
        "add x\\n, x2, #\\n\n"
        ".endr\n"
        ".irp n, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "add x9, x2, #\\n\n"
        "fmov d\\n, x9\n"
        ".endr\n"
        "mov x9, x0; mov x0, x1; blr x9\n"
        "ldr x2, [sp, #160]\n"
        "mov x0, #0\n"
        ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n"
        "sub x9, x\\n, x2; cmp x9, #\\n; cinc x0, x0, ne\n"
        ".endr\n"
        ".irp n, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "fmov x9, d\\n; sub x9, x9, x2; cmp x9, #\\n; cinc x0, x0, ne\n"
        ".endr\n"
        "ldp x29, x30, [sp]; ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]\n"
        "ldp x23, x24, [sp, #48]; ldp x25, x26, [sp, #64]; ldp x27, x28, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]\n"
        "ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #192\n"
        "ret\n"
        ".size registers_kept, .-registers_kept\n");
#else
#define HAVE_REGISTERS 0
#endif

#if HAVE_REGISTERS
static void suspend_once(void *arg)
{
    pair_suspend(arg, NULL);
}

static void hold_registers(void *arg)
{
    struct pair *pair = arg;

    for (unsigned long i = 0; i < 10; i++)
        pair->sum += registers_kept(suspend_once, pair, 0x1111000000 * (i + 1));
}

static void run_once(void *arg)
{
    pair_run(arg, hold_registers);
}

static void resume_once(void *arg)
{
    pair_resume(arg, NULL);
}

static void check_registers(const struct way *way)
{
    struct pair pair;

    pair_init(&pair, way);
    assert_int_equal(registers_kept(run_once, &pair, 0x777700000000), 0);
    while (!pair.finished)
        assert_int_equal(registers_kept(resume_once, &pair, 0x333300000000), 0);
    assert_int_equal(pair.sum, 0);
    pair_end(&pair);
}
#else
static void check_registers(const struct way *way)
{
}
#endif

/* -- floating-point control words -- */

static volatile double one = 1, three = 3;
static volatile long double long_one = 1, long_three = 3;

static void hold_rounding(void *arg)
{
    struct pair *pair = arg;

    pair->sum += (uintptr_t)fegetround() != FE_UPWARD; /* inherited */
    fesetround(FE_TOWARDZERO);
    pair->third = one / three;
    pair->long_third = long_one / long_three;
    for (int i = 0; i < 4; i++) {
        pair_suspend(pair, NULL);
        pair->sum += fegetround() != FE_TOWARDZERO;
        pair->sum += pair->third < one / three || pair->third > one / three;
        pair->sum +=
            pair->long_third < long_one / long_three || pair->long_third > long_one / long_three;
    }
}

static void check_rounding(const struct way *way)
{
    double up_third;
    long double long_up_third;
    struct pair pair;

    pair_init(&pair, way);
    fesetround(FE_UPWARD);
    up_third = one / three;
    long_up_third = long_one / long_three;
    pair_run(&pair, hold_rounding);
    assert_true(up_third > pair.third);
    assert_true(long_up_third > pair.long_third);
    while (!pair.finished) {
        assert_int_equal(fegetround(), FE_UPWARD);
        assert_true(one / three >= up_third && long_one / long_three >= long_up_third);
        pair_resume(&pair, NULL);
    }
    assert_int_equal(fegetround(), FE_UPWARD); /* not what the coroutine ended with */
    fesetround(FE_TONEAREST);
    assert_int_equal(pair.sum, 0);
    pair_end(&pair);
}

#if defined(__x86_64__)
/* fegetround looks at one of the two words only, so both are looked at by hand here. */
static unsigned words_now(void)
{
    unsigned short x87;

    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (_mm_getcsr() & 0xffc0) << 16 | x87;
}

static void words_set(unsigned mxcsr, unsigned short x87)
{
    _mm_setcsr(mxcsr);
    __asm__ volatile("fldcw %0" : : "m"(x87));
}

static void change_words(void *arg)
{
    struct pair *pair = arg;

    pair->sum += words_now() != (0x1f80u << 16 | 0x037f);
    words_set(0x9fc0, 0x027f); /* flush to zero, denormals are zero; double precision */
    pair_suspend(pair, NULL);
    pair->sum += words_now() != (0x9fc0u << 16 | 0x027f);
    words_set(0x1f80, 0x0e7f); /* only the x87 word differs from the runner's */
    pair_suspend(pair, NULL);
    pair->sum += words_now() != (0x1f80u << 16 | 0x0e7f);
    words_set(0x7f80, 0x037f); /* only mxcsr */
}

static void check_words(const struct way *way)
{
    const unsigned standard = 0x1f80u << 16 | 0x037f;
    struct pair pair;

    pair_init(&pair, way);
    words_set(0x1f80, 0x037f);
    pair_run(&pair, change_words);
    assert_int_equal(words_now(), standard);
    words_set(0x1fa0, 0x037f); /* a status flag, which is no reason to load anything */
    pair_resume(&pair, NULL);
    assert_int_equal(words_now(), standard);
    pair_resume(&pair, NULL);
    assert_true(pair.finished);
    assert_int_equal(words_now(), standard);
    assert_int_equal(pair.sum, 0);
    pair_end(&pair);
}
#else
static void check_words(const struct way *way)
{
}
#endif

static void check_everything(const struct way *way)
{
    check_values(way);
    check_alignment(way);
    check_registers(way);
    check_rounding(way);
    check_words(way);
}

static void ucontext_keeps_everything(void **state)
{
    check_everything(&ucontext_way);
}

#if SWITCH_HAS_ASSEMBLY
static void assembly_keeps_everything(void **state)
{
    check_everything(&assembly_way);
}

/* -- unwinding: a walk up the stack goes on at whoever runs the coroutine now -- */

static bool found(void *const *frames, int count, const void *address)
{
    for (int i = 0; i < count; i++)
        if (frames[i] == address)
            return true;
    return false;
}

static const void *caller_now;

static void look_up(void *arg)
{
    struct pair *pair = arg;
    void *frames[32];

    for (int i = 0; i < 2; i++) {
        int count = backtrace(frames, 32);

        pair->count += found(frames, count, caller_now);
        pair_suspend(pair, NULL);
    }
}

__attribute__((noinline)) static void run_from_here(struct pair *pair)
{
    caller_now = __builtin_extract_return_addr(__builtin_return_address(0));
    pair_run(pair, look_up);
    __asm__ volatile(""); /* no tail call */
}

__attribute__((noinline)) static void resume_from_here(struct pair *pair)
{
    caller_now = __builtin_extract_return_addr(__builtin_return_address(0));
    pair_resume(pair, NULL);
    __asm__ volatile("");
}

static void assembly_is_unwound_to_its_runner(void **state)
{
    struct pair pair;

    pair_init(&pair, &assembly_way);
    run_from_here(&pair);
    assert_int_equal(pair.count, 1);
    resume_from_here(&pair);
    assert_int_equal(pair.count, 2);
    pair_resume(&pair, NULL);
    assert_true(pair.finished);
    pair_end(&pair);
}

static void there_is_no_shadow_stack(void **state)
{
    assert_true(switch_usable());
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ucontext_keeps_everything),
#if SWITCH_HAS_ASSEMBLY
        cmocka_unit_test(assembly_keeps_everything),
        cmocka_unit_test(assembly_is_unwound_to_its_runner),
        cmocka_unit_test(there_is_no_shadow_stack),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
