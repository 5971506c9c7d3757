/* Programs of classic BPF: read as tcpdump prints them, and judged as the kernel does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/filter.h>

#include <weir/capture.h>
#include <weir/error.h>

#include "base/random.h"

/* What the kernel says of a program: 0, or WEIR_EINVALID. */
static int kernel_says(int fd, weir_bpf *program, size_t count)
{
    struct sock_fprog given = {(unsigned short)count, (struct sock_filter *)(void *)program};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &given, sizeof given) < 0 ? WEIR_EINVALID
                                                                                  : 0;
}

static void as_tcpdump_prints_them(void **state)
{
    /* tcpdump 4.99 -dd 'ip', -ddd 'arp or icmp'. */
    static const char dd[] = "{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 1, 0x00000800 },\n"
                             "{ 0x6, 0, 0, 0x00040000 },\n{ 0x6, 0, 0, 0x00000000 },\n";
    static const char ddd[] = "7\n40 0 0 12\n21 3 0 2054\n21 0 3 2048\n48 0 0 23\n21 0 1 1\n"
                              "6 0 0 262144\n6 0 0 0\n";
    weir_bpf program[16];
    size_t at;

    assert_int_equal(weir_bpf_parse(dd, program, 16), 4);
    assert_int_equal(program[1].code, BPF_JMP | BPF_JEQ | BPF_K);
    assert_int_equal(program[1].on_true, 0);
    assert_int_equal(program[1].on_false, 1);
    assert_int_equal(program[1].value, 0x800);
    assert_int_equal(weir_bpf_parse(dd, program, 4), 4);
    assert_int_equal(weir_bpf_parse(dd, program, 3), WEIR_ETOOBIG);
    assert_int_equal(weir_bpf_parse(ddd, program, 16), 7);
    assert_int_equal(program[3].code, BPF_LD | BPF_B | BPF_ABS);
    assert_int_equal(program[5].value, 262144);
    program[2].on_false = 4; /* behind the end */
    assert_int_equal(weir_bpf_check(program, 7, &at), WEIR_EINVALID);
    assert_int_equal(at, 2);
}

static void texts_that_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "1",
        "1\n6 0 0",
        "2\n6 0 0 0",
        "1\n6 0 0 0\n6 0 0 0",
        "1\n6 0 0 4294967296",
        "1\n65536 0 0 0",
        "1\n6 256 0 0",
        "1\n6 0 0 0 x",
        "1\n6 0 0 -1",
        "4097\n6 0 0 0",
        "{ 0x6, 0, 0 }",
        "{ 0xg, 0, 0, 0 }",
        "{ }",
        "hello",
        "1\n40 0 0 12",
    };
    weir_bpf program[16];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (weir_bpf_parse(bad[i], program, 16) != WEIR_EINVALID)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(weir_bpf_parse("1\n6 0 0 4294967295", program, 16), 1);
    assert_int_equal(weir_bpf_check(program, 0, NULL), WEIR_EINVALID);
    assert_int_equal(weir_bpf_check(NULL, 1, NULL), WEIR_EINVALID);
}

/* Every instruction there could be, with operands at the edges. */
static void every_instruction(void **state)
{
    static const uint32_t values[] = {0,
                                      1,
                                      15,
                                      16,
                                      31,
                                      32,
                                      0x7fffffff,
                                      UINT32_MAX,
                                      (uint32_t)SKF_AD_OFF - 1,
                                      (uint32_t)SKF_AD_OFF,
                                      (uint32_t)SKF_AD_OFF + 2,
                                      (uint32_t)SKF_AD_OFF + 60,
                                      (uint32_t)SKF_AD_OFF + 64};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    for (unsigned code = 0; code < 0x200; code++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            weir_bpf program[] = {{BPF_ST, 0, 0, 0},
                                  {(uint16_t)code, 1, 0, values[i]},
                                  {BPF_RET | BPF_K, 0, 0, 0},
                                  {BPF_RET | BPF_K, 0, 0, 1}};
            if (code == (BPF_LD | BPF_MEM) || code == (BPF_LDX | BPF_MEM))
                if (values[i] == 1 || values[i] == 15)
                    continue; /* what was not stored may not be loaded: the kernel alone looks */
            int kernel = kernel_says(fd, program, 4);
            if (weir_bpf_check(program, 4, NULL) != kernel)
                fail_msg("code 0x%x, value %u: the kernel says %d", code, values[i], kernel);
        }
    close(fd);
}

/* Programs of such instructions: where jumps lead. */
static void random_programs(void **state)
{
    static const uint16_t codes[] = {BPF_LD | BPF_W | BPF_ABS,  BPF_JMP | BPF_JA,
                                     BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JSET | BPF_X,
                                     BPF_RET | BPF_K,           BPF_RET | BPF_A,
                                     BPF_ALU | BPF_DIV | BPF_K, BPF_MISC | BPF_TAX};
    struct random random;
    unsigned taken = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    random_seed(&random, 7);
    for (unsigned i = 0; i < 20000; i++) {
        weir_bpf program[6];
        size_t count = 1 + random_below(&random, 6);
        for (size_t k = 0; k < count; k++)
            program[k] =
                (weir_bpf){codes[random_below(&random, 8)], (uint8_t)random_below(&random, 4),
                           (uint8_t)random_below(&random, 4), (uint32_t)random_below(&random, 5)};
        int kernel = kernel_says(fd, program, count);
        if (weir_bpf_check(program, count, NULL) != kernel)
            fail_msg("program %u: the kernel says %d", i, kernel);
        taken += kernel == 0;
    }
    assert_true(taken > 500 && taken < 19500);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_tcpdump_prints_them),
        cmocka_unit_test(texts_that_are_none),
        cmocka_unit_test(every_instruction),
        cmocka_unit_test(random_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
