/* Answers of name servers, byte by byte; the fuzz target and e2e/resolver have the malformed ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>

#include "dns/answer.h"

enum { SERVICES = ANSWER_RECORDS_MAX, SERVICE_BYTES = 19, HEAD_BYTES = 12 + 3 + 4 };

static uint8_t message[HEAD_BYTES + (SERVICES + 1) * SERVICE_BYTES];

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* `count` services of the name "a", whose ports count up, with these priorities. */
static size_t services(unsigned count, unsigned (*priority)(unsigned i))
{
    memset(message, 0, sizeof message);
    put16(message + 2, 0x8180);
    put16(message + 4, 1);
    put16(message + 6, count);
    memcpy(message + 12, "\1a\0\0\x21\0\1", 7);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *at = message + HEAD_BYTES + i * SERVICE_BYTES;
        memcpy(at, "\xc0\x0c\0\x21\0\1\0\0\0\x3c\0\7", 12);
        put16(at + 12, priority(i));
        put16(at + 16, i);
    }
    return HEAD_BYTES + count * SERVICE_BYTES;
}

static unsigned falling(unsigned i)
{
    return SERVICES - i;
}

static unsigned equal(unsigned i)
{
    return 7;
}

static unsigned mixed(unsigned i)
{
    return i * 7919 % 17 * 4095; /* up to 65520 */
}

static void check_order(unsigned count, unsigned (*priority)(unsigned i))
{
    struct dns_name question;
    struct answer answer;

    name_from_text(&question, "a", 1);
    size_t size = services(count, priority);
    assert_int_equal(answer_read(&answer, &question, WEIR_RECORD_SRV, message, size), 0);
    assert_int_equal(answer.error, 0);
    assert_int_equal(answer.set->count, count);
    for (unsigned i = 0; i < count; i++) {
        const weir_record *r = &answer.set->records[i];
        assert_int_equal(r->priority, priority(r->port));
        assert_int_equal(r->ttl_s, 60);
        if (i == 0)
            continue;
        assert_true(r[-1].priority <= r->priority);
        if (r[-1].priority == r->priority)
            assert_true(r[-1].port < r->port);
    }
    record_set_unref(answer.set);
}

/* By priority, each record once, and equals as they came. */
static void order(void **state)
{
    for (unsigned count = 1; count <= 5; count++) {
        check_order(count, falling);
        check_order(count, mixed);
    }
    check_order(SERVICES, falling);
    check_order(SERVICES, equal);
    check_order(SERVICES, mixed);
}

static void too_many(void **state)
{
    struct dns_name question;
    struct answer answer;

    name_from_text(&question, "a", 1);
    size_t size = services(SERVICES + 1, equal);
    assert_int_equal(answer_read(&answer, &question, WEIR_RECORD_SRV, message, size), WEIR_ETOOBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
