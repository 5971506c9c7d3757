/* Programs of classic BPF: read from what tcpdump prints, and checked as the kernel checks them
 * (bpf_check_classic of net/core/filter.c). */
#include <linux/filter.h>
#include <stdbool.h>
#include <string.h>

#include <weir/capture.h>
#include <weir/error.h>

_Static_assert(sizeof(weir_bpf) == sizeof(struct sock_filter), "it is given to the kernel");

/* Whether the kernel has this instruction. */
static bool is_known(uint16_t code)
{
    static const uint16_t known[] = {
        BPF_LD | BPF_W | BPF_ABS,
        BPF_LD | BPF_H | BPF_ABS,
        BPF_LD | BPF_B | BPF_ABS,
        BPF_LD | BPF_W | BPF_IND,
        BPF_LD | BPF_H | BPF_IND,
        BPF_LD | BPF_B | BPF_IND,
        BPF_LD | BPF_W | BPF_LEN,
        BPF_LD | BPF_IMM,
        BPF_LD | BPF_MEM,
        BPF_LDX | BPF_W | BPF_LEN,
        BPF_LDX | BPF_B | BPF_MSH,
        BPF_LDX | BPF_IMM,
        BPF_LDX | BPF_MEM,
        BPF_ST,
        BPF_STX,
        BPF_ALU | BPF_ADD | BPF_K,
        BPF_ALU | BPF_ADD | BPF_X,
        BPF_ALU | BPF_SUB | BPF_K,
        BPF_ALU | BPF_SUB | BPF_X,
        BPF_ALU | BPF_MUL | BPF_K,
        BPF_ALU | BPF_MUL | BPF_X,
        BPF_ALU | BPF_DIV | BPF_K,
        BPF_ALU | BPF_DIV | BPF_X,
        BPF_ALU | BPF_MOD | BPF_K,
        BPF_ALU | BPF_MOD | BPF_X,
        BPF_ALU | BPF_AND | BPF_K,
        BPF_ALU | BPF_AND | BPF_X,
        BPF_ALU | BPF_OR | BPF_K,
        BPF_ALU | BPF_OR | BPF_X,
        BPF_ALU | BPF_XOR | BPF_K,
        BPF_ALU | BPF_XOR | BPF_X,
        BPF_ALU | BPF_LSH | BPF_K,
        BPF_ALU | BPF_LSH | BPF_X,
        BPF_ALU | BPF_RSH | BPF_K,
        BPF_ALU | BPF_RSH | BPF_X,
        BPF_ALU | BPF_NEG,
        BPF_MISC | BPF_TAX,
        BPF_MISC | BPF_TXA,
        BPF_RET | BPF_K,
        BPF_RET | BPF_A,
        BPF_JMP | BPF_JA,
        BPF_JMP | BPF_JEQ | BPF_K,
        BPF_JMP | BPF_JEQ | BPF_X,
        BPF_JMP | BPF_JGE | BPF_K,
        BPF_JMP | BPF_JGE | BPF_X,
        BPF_JMP | BPF_JGT | BPF_K,
        BPF_JMP | BPF_JGT | BPF_X,
        BPF_JMP | BPF_JSET | BPF_K,
        BPF_JMP | BPF_JSET | BPF_X,
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == code)
            return true;
    return false;
}

static bool is_sound(const weir_bpf *one, size_t at, size_t count)
{
    size_t behind = count - at - 1; /* instructions that follow */
    switch (one->code) {
    case BPF_LD | BPF_W | BPF_ABS:
    case BPF_LD | BPF_H | BPF_ABS:
    case BPF_LD | BPF_B | BPF_ABS: /* from there on: what the kernel knows besides the packet */
        return one->value < (uint32_t)SKF_AD_OFF ||
               (one->value - (uint32_t)SKF_AD_OFF <= SKF_AD_VLAN_TPID && one->value % 4 == 0);
    case BPF_ALU | BPF_DIV | BPF_K:
    case BPF_ALU | BPF_MOD | BPF_K:
        return one->value != 0;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
        return one->value < 32;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
        return one->value < BPF_MEMWORDS;
    case BPF_JMP | BPF_JA:
        return one->value < behind;
    default:
        if (BPF_CLASS(one->code) == BPF_JMP)
            return one->on_true < behind && one->on_false < behind;
        return is_known(one->code);
    }
}

int weir_bpf_check(const weir_bpf *program, size_t count, size_t *at)
{
    size_t wrong = 0;
    bool sound = program != NULL && count > 0 && count <= WEIR_BPF_MAX;
    for (size_t i = 0; i < count && sound; i++) {
        wrong = i;
        sound = is_known(program[i].code) && is_sound(&program[i], i, count);
    }
    if (sound)
        sound = BPF_CLASS(program[count - 1].code) == BPF_RET;
    if (at != NULL)
        *at = wrong;
    return sound ? 0 : WEIR_EINVALID;
}

/* The next number, decimal or 0x; whatever else stands between numbers is passed over: braces,
 * commas, lines. False: there are none, or it is larger than 32 bits. */
static bool next_number(const char **text, uint64_t *out)
{
    const char *at = *text + strspn(*text, " \t\r\n{},");
    unsigned base = 10;
    uint64_t value = 0;
    const char *begin;
    if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
        base = 16;
        at += 2;
    }
    for (begin = at;; at++) {
        char c = (char)(*at | 32);
        unsigned digit = *at >= '0' && *at <= '9' ? (unsigned)(*at - '0')
                         : c >= 'a' && c <= 'f'   ? (unsigned)(c - 'a') + 10
                                                  : 16;
        if (digit >= base)
            break;
        value = value * base + digit;
        if (value > UINT32_MAX)
            return false;
    }
    *out = value;
    *text = at;
    return at != begin;
}

int weir_bpf_parse(const char *text, weir_bpf *out, size_t room)
{
    uint64_t expected = 0, code, on_true, on_false, value;
    bool counted = strchr(text, '{') == NULL; /* -ddd says first how many there are */
    size_t count = 0;
    if (counted && (!next_number(&text, &expected) || expected == 0 || expected > WEIR_BPF_MAX))
        return WEIR_EINVALID;
    while (text[strspn(text, " \t\r\n{},")] != '\0') {
        if (!next_number(&text, &code) || !next_number(&text, &on_true) ||
            !next_number(&text, &on_false) || !next_number(&text, &value) || code > UINT16_MAX ||
            on_true > UINT8_MAX || on_false > UINT8_MAX)
            return WEIR_EINVALID;
        if (count == room)
            return WEIR_ETOOBIG;
        out[count++] =
            (weir_bpf){(uint16_t)code, (uint8_t)on_true, (uint8_t)on_false, (uint32_t)value};
    }
    if ((counted && count != expected) || weir_bpf_check(out, count, NULL) < 0)
        return WEIR_EINVALID;
    return (int)count;
}
