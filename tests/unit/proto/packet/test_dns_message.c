/* DNS messages: answers of a real server, names that lead nowhere, what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/dns_message.h>
#include <weir/error.h>

#include "captured.h"

static uint8_t message[1024];

static void is(const weir_dns_name *name, const char *text)
{
    char out[WEIR_DNS_TEXT_MAX];

    assert_int_equal(weir_dns_name_format(name, out, sizeof out), strlen(text));
    assert_string_equal(out, text);
}

static void answer_with_cname(void **state)
{
    weir_dns_reader reader;
    weir_dns_record record;
    weir_dns_name name;
    size_t size = captured_read(captured_dns_cname, message);

    assert_int_equal(weir_dns_read(&reader, message, size), 0);
    assert_int_equal(reader.header.id, 0xbeef);
    assert_int_equal(reader.header.flags, WEIR_DNS_ANSWER | WEIR_DNS_AUTHORITATIVE |
                                              WEIR_DNS_RECURSION_WANTED | WEIR_DNS_RECURSION_THERE);
    assert_int_equal(weir_dns_next(&reader, &record), 1);
    assert_int_equal(record.section, WEIR_DNS_QUESTION);
    assert_int_equal(record.type, WEIR_DNS_A);
    assert_int_equal(record.klass, 1);
    is(&record.name, "www.example.org");
    assert_int_equal(weir_dns_name_at(&reader, &record, 0, &name), WEIR_EPROTO);
    assert_int_equal(weir_dns_next(&reader, &record), 1);
    assert_int_equal(record.section, WEIR_DNS_ANSWERS);
    assert_int_equal(record.type, WEIR_DNS_CNAME);
    is(&record.name, "www.example.org");
    assert_int_equal(weir_dns_name_at(&reader, &record, 0, &name), record.data.size);
    is(&name, "host.example.org");
    assert_int_equal(weir_dns_next(&reader, &record), 1);
    is(&record.name, "host.example.org");
    assert_int_equal(record.data.size, 4);
    assert_memory_equal(record.data.data, "\xc0\0\2\7", 4);
    assert_int_equal(weir_dns_next(&reader, &record), 0);
    assert_int_equal(weir_dns_next(&reader, &record), 0);
    for (size_t cut = 0; cut < size; cut++) {
        int result = weir_dns_read(&reader, message, cut);
        while (result == 0 && (result = weir_dns_next(&reader, &record)) > 0)
            result = 0;
        if (cut >= 12 && reader.done == 3)
            fail_msg("all of it in %zu of %zu bytes", cut, size);
        assert_int_equal(weir_dns_next(&reader, &record), WEIR_EPROTO);
    }
}

static void answers_with_other_types(void **state)
{
    weir_dns_reader reader;
    weir_dns_record record;
    weir_dns_name name;
    size_t size = captured_read(captured_dns_mx, message);
    unsigned count = 0;

    assert_int_equal(weir_dns_read(&reader, message, size), 0);
    while (weir_dns_next(&reader, &record) > 0) {
        if (record.type == WEIR_DNS_MX && record.section == WEIR_DNS_ANSWERS) {
            assert_int_equal(weir_dns_name_at(&reader, &record, 2, &name), record.data.size - 2);
            is(&name, "mail.example.org");
        }
        if (record.type == WEIR_DNS_OPT) {
            is(&record.name, ".");
            assert_int_equal(record.section, WEIR_DNS_ADDITIONAL);
            assert_int_equal(record.klass, 1232);
        }
        count++;
    }
    assert_int_equal(reader.error, 0);
    assert_int_equal(count, 5);
    size = captured_read(captured_dns_srv, message);
    assert_int_equal(weir_dns_read(&reader, message, size), 0);
    assert_int_equal(weir_dns_next(&reader, &record), 1);
    is(&record.name, "_sip._tcp.example.org");
    assert_int_equal(weir_dns_next(&reader, &record), 1);
    assert_int_equal(weir_dns_name_at(&reader, &record, 6, &name), record.data.size - 6);
    is(&name, "host.example.org");
    size = captured_read(captured_dns_refused, message);
    assert_int_equal(weir_dns_read(&reader, message, size), 0);
    assert_int_equal(reader.header.flags & WEIR_DNS_RCODE, 5);
}

/* A message of one question, whose name is these bytes. */
static int question(const char *name, size_t size, weir_dns_record *out)
{
    weir_dns_reader reader;

    memset(message, 0, sizeof message);
    message[5] = 1;
    memcpy(message + 12, name, size);
    assert_int_equal(weir_dns_read(&reader, message, 12 + size + 4), 0);
    return weir_dns_next(&reader, out);
}

static void names_refused(void **state)
{
    char many[400];
    weir_dns_record record;
    weir_dns_name name;
    weir_dns_reader reader;

    assert_int_equal(question("\1a\0", 3, &record), 1);
    assert_int_equal(question("\xc0\x0c", 2, &record), WEIR_EPROTO); /* to itself */
    assert_int_equal(record.name.size, 0);
    assert_int_equal(question("\1a\xc0\x0c", 4, &record), WEIR_EPROTO); /* round and round */
    assert_int_equal(question("\xc0\x0e\0", 3, &record), WEIR_EPROTO);  /* forward */
    assert_int_equal(question("\xc0\0", 2, &record), 1);                /* the header's id, 0 */
    assert_int_equal(question("\x40", 1, &record), WEIR_EPROTO);        /* reserved: RFC 6891 */
    assert_int_equal(question("\x80", 1, &record), WEIR_EPROTO);
    memset(many, 0, sizeof many);
    many[0] = 64; /* a label of 64 bytes that are there */
    assert_int_equal(question(many, 66, &record), WEIR_EPROTO);
    assert_int_equal(question("\x3f"
                              "abc",
                              4, &record),
                     WEIR_EPROTO);
    assert_int_equal(question("\xc0", 1, &record), WEIR_EPROTO);
    for (size_t i = 0; i < 127; i++)
        memcpy(many + 2 * i, "\1a", 2);
    many[254] = 0; /* 255 bytes are the most */
    assert_int_equal(question(many, 255, &record), 1);
    assert_int_equal(record.name.size, 255);
    many[252] = 2;
    many[253] = many[254] = 'a';
    many[255] = 0;
    assert_int_equal(question(many, 256, &record), WEIR_EPROTO);
    assert_int_equal(weir_dns_read(&reader, message, 11), WEIR_EPROTO);
    assert_int_equal(weir_dns_next(&reader, &record), WEIR_EPROTO);
    record = (weir_dns_record){.data = {message, 0}};
    assert_int_equal(weir_dns_name_at(&reader, &record, 0, &name), WEIR_EPROTO);
}

static void names_as_text(void **state)
{
    static const char *const good[] = {".", "a", "a.b", "a\\.b.c", "\\000\\255.x", "\\\\.y", "A.b"};
    static const char *const bad[] = {"..",  ".a",   "a..b",  "a..", "\\",
                                      "\\1", "\\12", "\\256", "a.\\"};
    char label[66], long_text[300];
    weir_dns_name name, other;
    char out[WEIR_DNS_TEXT_MAX];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(weir_dns_name_parse(good[i], &name), 0);
        is(&name, good[i]);
        for (size_t size = 0; size <= strlen(good[i]); size++)
            assert_int_equal(weir_dns_name_format(&name, out, size), WEIR_ETOOBIG);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (weir_dns_name_parse(bad[i], &name) != WEIR_EINVALID)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(weir_dns_name_parse("example.org.", &name), 0);
    is(&name, "example.org");
    assert_int_equal(name.size, 13);
    assert_int_equal(weir_dns_name_parse("EXAMPLE.oRg", &other), 0);
    assert_true(weir_dns_name_equal(&name, &other));
    assert_int_equal(weir_dns_name_parse("example.orh", &other), 0);
    assert_false(weir_dns_name_equal(&name, &other));
    memset(label, 'a', sizeof label);
    label[64] = '\0';
    assert_int_equal(weir_dns_name_parse(label, &name), WEIR_EINVALID);
    label[63] = '\0';
    assert_int_equal(weir_dns_name_parse(label, &name), 0);
    for (size_t i = 0; i < 127; i++)
        memcpy(long_text + 2 * i, "a.", 2);
    long_text[253] = '\0';
    assert_int_equal(weir_dns_name_parse(long_text, &name), 0);
    assert_int_equal(name.size, 255);
    memcpy(long_text + 253, "b", 2);
    assert_int_equal(weir_dns_name_parse(long_text, &name), WEIR_EINVALID);
    name = (weir_dns_name){.size = 2, .data = {5, 0}};
    assert_int_equal(weir_dns_name_format(&name, out, sizeof out), WEIR_EINVALID);
    name.size = 0;
    assert_int_equal(weir_dns_name_format(&name, out, sizeof out), WEIR_EINVALID);
}

/* What is written has its names compressed, and is read as what was meant. */
static void written(void **state)
{
    static const char *const names[] = {"www.example.org", "example.org", "www.example.org",
                                        "x.example.org",   "org",         "other.net"};
    uint8_t out[200];
    weir_dns_writer writer;
    weir_dns_reader reader;
    weir_dns_record record, again;
    weir_dns_header header = {.id = 7, .flags = WEIR_DNS_ANSWER};

    weir_dns_write(&writer, &header, out, sizeof out);
    for (unsigned i = 0; i < 6; i++) {
        record = (weir_dns_record){.type = WEIR_DNS_A, .klass = 1, .section = i != 0, .ttl_s = i};
        if (i != 0)
            record.data = (weir_packet_bytes){(const uint8_t *)"\1\2\3\4", 4};
        record.ttl_s = i;
        assert_int_equal(weir_dns_name_parse(names[i], &record.name), 0);
        assert_int_equal(weir_dns_add(&writer, &record), 0);
    }
    /* In bytes: the header, five records of 14 and a question of 4, and names of 17, 2, 2, 4, 2
     * and 11. */
    assert_int_equal(weir_dns_write_end(&writer), 12 + 5 * 14 + 4 + 38);
    assert_int_equal(weir_dns_read(&reader, out, writer.used), 0);
    assert_int_equal(reader.header.id, 7);
    assert_int_equal(reader.header.count[0], 1);
    assert_int_equal(reader.header.count[1], 5);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(weir_dns_next(&reader, &again), 1);
        is(&again.name, names[i]);
        assert_int_equal(again.ttl_s, i);
        assert_int_equal(again.data.size, i != 0 ? 4 : 0);
    }
    assert_int_equal(weir_dns_next(&reader, &again), 0);
    record.section = WEIR_DNS_QUESTION; /* out of order */
    record.data.size = 0;
    assert_int_equal(weir_dns_add(&writer, &record), WEIR_EINVALID);
    assert_int_equal(weir_dns_write_end(&writer), WEIR_EINVALID);
}

/* Too little room for any part is an error, and nothing is written behind it. */
static void written_into_little(void **state)
{
    weir_dns_header header = {.id = 7};
    weir_dns_record record = {.type = WEIR_DNS_TXT, .klass = 1, .section = WEIR_DNS_ANSWERS};
    weir_dns_writer writer;
    uint8_t out[64];

    record.data = (weir_packet_bytes){(const uint8_t *)"\3abc", 4};
    assert_int_equal(weir_dns_name_parse("example.org", &record.name), 0);
    for (size_t size = 0; size <= 39; size++) {
        memset(out, 0xee, sizeof out);
        weir_dns_write(&writer, &header, out, size);
        int result = weir_dns_add(&writer, &record);
        assert_int_equal(result, size < 39 ? WEIR_ETOOBIG : 0);
        assert_int_equal(weir_dns_write_end(&writer), size < 39 ? WEIR_ETOOBIG : 39);
        for (size_t i = size; i < sizeof out; i++)
            assert_int_equal(out[i], 0xee);
    }
    record.name.size = 0;
    weir_dns_write(&writer, &header, out, sizeof out);
    assert_int_equal(weir_dns_add(&writer, &record), WEIR_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_with_cname), cmocka_unit_test(answers_with_other_types),
        cmocka_unit_test(names_refused),     cmocka_unit_test(names_as_text),
        cmocka_unit_test(written),           cmocka_unit_test(written_into_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
