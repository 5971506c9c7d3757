/* Answers of name servers: whatever they say, what is read of it is bounded, and belongs to the
 * name that was asked for. Input: a byte for the type, then a message; the question is its own, so
 * that it is not refused at once. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "dns/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

/* Counts the pointers of a name by itself, as far as it makes sense. */
static unsigned jumps_of(const uint8_t *message, size_t size, size_t at)
{
    unsigned jumps = 0;
    while (jumps < 1000 && at < size && message[at] != 0) {
        if (message[at] < 0xc0) {
            at += 1u + message[at];
        } else {
            if (at + 1 >= size)
                break;
            at = (size_t)(message[at] & 0x3f) << 8 | message[at + 1];
            jumps++;
        }
    }
    return jumps;
}

/* Names anywhere in the message: work that ends, and a size that fits. */
static void check_names(const uint8_t *message, size_t size)
{
    struct dns_name name;
    for (size_t from = size < 300 ? 0 : size - 300; from < size; from++) {
        size_t at = from;
        if (name_from_message(&name, message, size, &at) < 0)
            continue;
        expect(name.size > 0 && at > from && at <= size);
        expect(jumps_of(message, size, from) <= NAME_JUMPS_MAX);
    }
}

static void check_record(const weir_record *r, enum weir_record_type type)
{
    volatile uint8_t sum = 0;

    expect(r->type == type);
    if (type == WEIR_RECORD_A || type == WEIR_RECORD_AAAA)
        expect(weir_address_port(&r->address) == 0);
    if (type == WEIR_RECORD_PTR || type == WEIR_RECORD_SRV)
        expect(strlen(r->name) > 0 && strlen(r->name) < NAME_TEXT_MAX);
    if (type == WEIR_RECORD_PTR || type == WEIR_RECORD_SRV)
        for (const char *c = r->name; *c != '\0'; c++)
            expect(*c > ' ' && *c <= '~');
    for (uint32_t i = 0; i < r->text_size; i++) /* every byte is there */
        sum = (uint8_t)(sum + ((const uint8_t *)r->text)[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum weir_record_type types[] = {WEIR_RECORD_A, WEIR_RECORD_AAAA, WEIR_RECORD_PTR,
                                                  WEIR_RECORD_TXT, WEIR_RECORD_SRV};
    struct dns_name question;
    struct answer answer;
    size_t at = 12;

    if (size < 14 || size > 65536)
        return 0;
    enum weir_record_type type = types[data[0] % 5];
    uint8_t *message = malloc(--size); /* its own block, so that a byte too many is seen */
    expect(message != NULL);
    memcpy(message, data + 1, size);
    check_names(message, size);
    if (name_from_message(&question, message, size, &at) == 0 && size - at >= 4) {
        message[2] |= 0x80;
        message[at] = 0;
        message[at + 1] = (uint8_t)type;
        int result = answer_read(&answer, &question, type, message, size);
        expect(result <= 0 && (answer.set != NULL) == (result == 0 && answer.error == 0));
        if (answer.set != NULL) {
            expect(answer.set->count > 0 && answer.set->count <= ANSWER_RECORDS_MAX);
            expect(strlen(answer.set->name) < NAME_TEXT_MAX);
            for (uint32_t i = 0; i < answer.set->count; i++) {
                check_record(&answer.set->records[i], type);
                expect(answer.ttl_s <= answer.set->records[i].ttl_s);
            }
        }
        record_set_unref(answer.set);
    }
    free(message);
    return 0;
}
