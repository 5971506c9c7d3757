/* resolv.conf, nsswitch.conf and hosts, as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/module.h>

#include "dns/config.h"
#include "dns/hosts.h"

static void resolv(struct config_resolv *out, const char *text)
{
    config_read_resolv(out, text, strlen(text));
}

static void server_is(const weir_address *server, const char *url)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    weir_address_format(server, text, sizeof text);
    assert_string_equal(text, url);
}

static void defaults(void **state)
{
    struct config_resolv c;

    resolv(&c, "");
    assert_int_equal(c.server_count, 1);
    server_is(&c.servers[0], "udp://127.0.0.1:53");
    assert_int_equal(c.ndots, 1);
    assert_int_equal(c.timeout_s, 5);
    assert_int_equal(c.attempts, 2);
    assert_int_equal(c.search_count, 0);
    assert_false(c.rotate || c.tcp || c.no_ip6);
    assert_int_equal(c.ignored, 0);
}

static void everything(void **state)
{
    struct config_resolv c;

    resolv(&c, "; a comment\n# another\n"
               "nameserver 192.0.2.1\nnameserver\t2001:db8::1  \nnameserver [192.0.2.3]:5353 # x\n"
               "nameserver [2001:db8::4]:54\r\nnameserver 192.0.2.5:55\n"
               "domain gone.example\nsearch A.example b.example. .\n"
               "options ndots:99 timeout:0 attempts:9 rotate use-vc no-aaaa edns0 trust-ad\n"
               "sortlist 130.155.160.0/255.255.240.0\nnameserver 192.0.2.6");
    assert_int_equal(c.server_count, 6);
    server_is(&c.servers[0], "udp://192.0.2.1:53");
    server_is(&c.servers[1], "udp://[2001:db8::1]:53");
    server_is(&c.servers[2], "udp://192.0.2.3:5353");
    server_is(&c.servers[3], "udp://[2001:db8::4]:54");
    server_is(&c.servers[4], "udp://192.0.2.5:55");
    server_is(&c.servers[5], "udp://192.0.2.6:53");
    assert_int_equal(c.search_count, 2);
    assert_string_equal(c.search[0], "A.example");
    assert_string_equal(c.search[1], "b.example");
    assert_int_equal(c.ndots, 15);
    assert_int_equal(c.timeout_s, 1);
    assert_int_equal(c.attempts, 5);
    assert_true(c.rotate && c.tcp && c.no_ip6);
    assert_int_equal(c.ignored, 0);
    resolv(&c, "search one.example\ndomain two.example three.example\n");
    assert_int_equal(c.search_count, 1);
    assert_string_equal(c.search[0], "two.example");
}

static void nonsense(void **state)
{
    static const char *const servers[] = {
        "",      "nonsense", "1.2.3",        "1.2.3.4.5", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:99999",
        "[::1",  "::1]",     "[1.2.3.4]53",  "[]",        "[]:53",    "*",         "::g",
        ":::53", "[::1]:",   "localhost:53", "%",         "[1.2.3.4", "1.2.3.4]",
    };
    char text[200 * 20] = "";
    struct config_resolv c;

    for (size_t i = 0; i < sizeof servers / sizeof servers[0]; i++) {
        if (strcmp(servers[i], "localhost:53") == 0)
            continue;
        snprintf(text, sizeof text, "nameserver %s\n", servers[i]);
        resolv(&c, text);
        if (c.ignored != 1)
            fail_msg("taken: \"%s\"", servers[i]);
        server_is(&c.servers[0], "udp://127.0.0.1:53");
    }
    text[0] = '\0';
    for (int i = 0; i < 40; i++)
        strcat(text, "nameserver 192.0.2.1\n");
    resolv(&c, text);
    assert_int_equal(c.server_count, CONFIG_SERVERS_MAX);
    assert_int_equal(c.ignored, 40 - CONFIG_SERVERS_MAX);
    strcpy(text, "search");
    for (int i = 0; i < 40; i++)
        strcat(text, " a.example");
    resolv(&c, strcat(text, " a..b\n"));
    assert_int_equal(c.search_count, CONFIG_SEARCH_MAX);
    assert_int_equal(c.ignored, 40 + 1 - CONFIG_SEARCH_MAX);
    config_read_resolv(&c, "nameserver 1.2.3.4\0 5\n\0\n", 24);
    server_is(&c.servers[0], "udp://1.2.3.4:53");
}

/* "fd" for files, dns; behind each the letters of the statuses with which the search ends. */
static void order_is(const char *text, const char *expected)
{
    struct config_switch c;
    char got[128] = "";

    config_read_switch(&c, text, strlen(text));
    for (unsigned i = 0; i < c.count; i++) {
        strcat(got, c.sources[i].dns ? "D" : "F");
        for (unsigned k = 0; k < CONFIG_STATUSES; k++)
            if ((c.sources[i].last_when >> k & 1) != 0)
                strncat(got, &"snut"[k], 1);
    }
    assert_string_equal(got, expected);
}

static void order(void **state)
{
    order_is("", "FsDs");
    order_is("hosts: files dns\n", "FsDs");
    order_is("passwd: files\nhosts:\tdns files # x\n", "DsFs");
    order_is("hosts: files mdns4_minimal [NOTFOUND=return] dns", "FsDs");
    order_is("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n", "FsDs");
    order_is("hosts: files [NOTFOUND=return] dns\n", "FsnDs");
    order_is("hosts: dns [!UNAVAIL=return] files\n", "DsntFs");
    order_is("hosts: dns [success=continue TryAgain=return]files\n", "DtFs");
    order_is("hosts: files[notfound=return]dns[\n", "FsnDs");
    order_is("hosts: files [ NOTFOUND=return  UNAVAIL=return ] dns [x=y", "FsnuDs");
    order_is("hosts: db nis\n", "FsDs");
    order_is("hosts: files\nhosts: dns\n", "Ds");
    order_is("hosts: files files files files files files files files files dns\n",
             "FsFsFsFsFsFsFsFs");
}

static struct hosts *hosts_of(const char *text)
{
    size_t size = strlen(text);
    char *copy = weir__alloc(size + 1);
    struct hosts *hosts;
    memcpy(copy, text, size);
    assert_int_equal(hosts_new(&hosts, copy, size), 0);
    return hosts;
}

static void hosts_are(const struct hosts *hosts, const char *name, enum weir_record_type type,
                      const char *expected)
{
    struct record_set *set;
    char got[512] = "", text[WEIR_ADDRESS_TEXT_MAX];

    assert_int_equal(hosts_find(hosts, name, type, &set), 0);
    for (unsigned i = 0; set != NULL && i < set->count; i++) {
        weir_address_format(&set->records[i].address, text, sizeof text);
        strcat(strcat(got, text + 6), " ");
    }
    assert_string_equal(got, expected);
    record_set_unref(set);
}

static void hosts(void **state)
{
    struct hosts *h =
        hosts_of("127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n   \n#10.0.0.1 x\n"
                 "10.0.0.2\tA.Test. b # c\r\n10.0.0.3 a.test\n10.0.0.2 a.test again\n"
                 "10.0.0 short\nfe80::1%eth0 link\n10.0.0.9\n10.0.0.4 last");
    weir_address address;
    struct record_set *set;

    hosts_are(h, "localhost", WEIR_RECORD_HOST, "[::1]:0 127.0.0.1:0 ");
    hosts_are(h, "localhost", WEIR_RECORD_A, "127.0.0.1:0 ");
    hosts_are(h, "localhost", WEIR_RECORD_AAAA, "[::1]:0 ");
    hosts_are(h, "a.test", WEIR_RECORD_HOST, "10.0.0.2:0 10.0.0.3:0 ");
    hosts_are(h, "b", WEIR_RECORD_HOST, "10.0.0.2:0 ");
    hosts_are(h, "last", WEIR_RECORD_HOST, "10.0.0.4:0 ");
    hosts_are(h, "x", WEIR_RECORD_HOST, "");
    hosts_are(h, "c", WEIR_RECORD_HOST, "");
    hosts_are(h, "short", WEIR_RECORD_HOST, "");
    hosts_are(h, "b", WEIR_RECORD_AAAA, "");
    assert_int_equal(hosts_ignored(h), 2);
    weir_address_parse("udp://10.0.0.2:7", &address, NULL);
    assert_int_equal(hosts_find_address(h, &address, &set), 0);
    assert_int_equal(set->count, 2);
    assert_string_equal(set->records[0].name, "a.test");
    record_set_unref(set);
    weir_address_parse("udp://10.0.0.8:7", &address, NULL);
    assert_int_equal(hosts_find_address(h, &address, &set), 0);
    assert_null(set);
    hosts_free(h);
    h = hosts_of("");
    hosts_are(h, "localhost", WEIR_RECORD_HOST, "");
    hosts_free(h);
}

/* A list of blocked names has many; one name has at most 64 addresses. */
static void many_hosts(void **state)
{
    static char text[40 * 20000];
    size_t size = 0;

    for (int i = 0; i < 20000; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "10.%d.%d.1 n%d%s\n", i / 250,
                                 i % 250, i, i < 100 ? " all" : "");
    struct hosts *h = hosts_of(text);
    struct record_set *set;
    hosts_are(h, "n0", WEIR_RECORD_A, "10.0.0.1:0 ");
    hosts_are(h, "n19999", WEIR_RECORD_A, "10.79.249.1:0 ");
    assert_int_equal(hosts_find(h, "all", WEIR_RECORD_A, &set), 0);
    assert_int_equal(set->count, HOSTS_FOUND_MAX);
    record_set_unref(set);
    hosts_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults), cmocka_unit_test(everything), cmocka_unit_test(nonsense),
        cmocka_unit_test(order),    cmocka_unit_test(hosts),      cmocka_unit_test(many_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
