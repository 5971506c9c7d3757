#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "app/load/load.h"
#include "base/alloc.h"

static char text[512];
static const struct load_why why = {text, sizeof text};

static struct load plan_of(const char *const *urls, const uint32_t *weights, unsigned pipeline,
                           unsigned conns)
{
    struct load load = {
        .options = {.urls = urls, .weights = weights, .pipeline = pipeline, .conns = conns}};
    if (load_plan_make(&load, &why) != 0)
        fail_msg("%s", text);
    return load;
}

/* Any run of up to `pipeline` requests lies in one piece, and holds them in their order. */
static void requests_are_laid_out_by_weight(void **state)
{
    static const char *const urls[] = {"http://127.0.0.1:80/a", "http://127.0.0.1:80/bb", NULL};
    static const uint32_t weights[] = {6, 2};
    static const char one[] = "GET /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
                      two[] = "GET /bb HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n";
    struct load load = plan_of(urls, weights, 5, 4);
    const struct load_group *group = &load.groups[0];
    unsigned ones = 0;

    assert_int_equal(load.group_count, 1);
    assert_int_equal(group->cycle, 4); /* 3 to 1 */
    for (unsigned i = 0; i < group->cycle + 5; i++) {
        const uint8_t *at = group->bytes + group->offsets[i];
        size_t size = group->offsets[i + 1] - group->offsets[i];
        bool first = size == sizeof one - 1;
        assert_memory_equal(at, first ? one : two, size);
        ones += i < group->cycle && first;
        if (i >= group->cycle)
            assert_int_equal(size, group->offsets[i - group->cycle + 1] -
                                       group->offsets[i - group->cycle]);
        if (i < group->cycle)
            assert_int_equal(group->methods[i], HTTP_GET);
    }
    assert_int_equal(ones, 3);
    load_plan_free(&load);
}

static void connections_are_dealt_by_weight(void **state)
{
    static const char *const urls[] = {"http://127.0.0.1:81/", "http://127.0.0.1:82/",
                                       "http://127.0.0.1:83/", NULL};
    static const uint32_t weights[] = {1000, 1, 500};
    struct load load = plan_of(urls, weights, 1, 15);
    unsigned dealt[3] = {0};

    assert_int_equal(load.group_count, 3);
    for (unsigned i = 0; i < 15; i++)
        dealt[load.dealt[i]]++;
    assert_int_equal(dealt[1], 1); /* an address is never left out */
    assert_in_range(dealt[0], 9, 10);
    assert_in_range(dealt[2], 4, 5);
    load_plan_free(&load);
}

static void what_cannot_be_sent_is_refused(void **state)
{
    const struct {
        weir_load_options options;
        const char *says;
    } table[] = {
        {{.method = "GE T"}, "no token"},
        {{.method = "CONNECT"}, "tunnel"},
        {{.headers = (const char *[]){"no colon", NULL}}, "Name: value"},
        {{.headers = (const char *[]){"X: a\r\nY: b", NULL}}, "control character"},
        {{.headers = (const char *[]){"content-LENGTH: 4", NULL}}, "follows from the body"},
        {{.headers = (const char *[]){"Connection: close", NULL}}, "--close"},
        {{.headers = (const char *[]){": x", NULL}}, "Name: value"},
    };
    const struct http_text host = {"h", 1}, target = {"/x y", 4}, good = {"/x", 2};
    struct load_request request;
    uint64_t live = weir__alloc_live();

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(load_request_make(&table[i].options, host, good, &request, &why),
                         WEIR_EINVALID);
        if (strstr(text, table[i].says) == NULL)
            fail_msg("not \"%s\" but: %s", table[i].says, text);
    }
    assert_int_equal(load_request_make(&(weir_load_options){0}, host, target, &request, &why),
                     WEIR_EINVALID);
    assert_int_equal(weir__alloc_live(), live);
}

static void a_request_has_what_it_needs(void **state)
{
    static const char want[] = "POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\nConnection: close\r\n"
                               "Content-Length: 3\r\n\r\nabc";
    weir_load_options options = {
        .headers = (const char *[]){"A: b", NULL}, .body = weir_static("abc", 3), .close = true};
    struct load_request request;

    assert_int_equal(load_request_make(&options, (struct http_text){"h", 1},
                                       (struct http_text){"/x", 2}, &request, &why),
                     0);
    assert_int_equal(request.size, sizeof want - 1);
    assert_memory_equal(request.bytes, want, request.size);
    assert_int_equal(request.method, HTTP_POST);
    weir__free(request.bytes);
}

/* The sources of all connections of a load, on their n-th connect. */
static void source_text(struct load *load, unsigned number, unsigned turns, char *out)
{
    static struct load_loop loop;
    static struct load_conn conns[8];
    weir_address address;
    struct sockaddr_in ip4;

    loop.load = load;
    loop.conns = conns;
    conns[number].loop = &loop;
    conns[number].turns = turns;
    assert_non_null(load_source_of(&conns[number], &address));
    memcpy(&ip4, &address.socket, sizeof ip4);
    inet_ntop(AF_INET, &ip4.sin_addr, out, INET_ADDRSTRLEN);
}

static void sources_are_used_in_turn(void **state)
{
    static const char *const sources[] = {"127.0.3.7/30", "127.0.4.4", NULL};
    static const char *const want[] = {"127.0.3.5", "127.0.3.6", "127.0.4.4"};
    static const char *const bad[][2] = {
        {"x", NULL}, {"1.2.3.4/31", NULL}, {"1.2.3.4/7", NULL}, {"::1/64", NULL}, {"", NULL}};
    struct load load = {.options = {.sources = sources, .conns = 2}, .loop_count = 1};
    char got[INET_ADDRSTRLEN];

    assert_int_equal(load_sources_make(&load, &why), 0);
    assert_int_equal(load.source_sum, 3);
    for (unsigned turn = 0; turn < 4; turn++)
        for (unsigned conn = 0; conn < 2; conn++) {
            source_text(&load, conn, turn, got);
            assert_string_equal(got, want[(conn + 2 * turn) % 3]);
        }
    weir__free(load.sources);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct load other = {.options = {.sources = bad[i]}};
        assert_int_equal(load_sources_make(&other, &why), WEIR_EADDRESS);
        weir__free(other.sources);
    }
}

static void markers_are_found_however_they_overlap(void **state)
{
    static const struct {
        const char *end, *stream;
        unsigned found;
    } table[] = {{"aab", "aaabaab", 2},
                 {"abab", "abaabababab", 2},
                 {"\r\n.\r\n", "x\r\n.\r\r\n.\r\ny\r\n\r\n.\r\n", 2},
                 {"a", "aaa", 3}};
    static const uint8_t methods[1];
    static struct load_times times;

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct load load = {
            .options = {.kind = WEIR_LOAD_RAW, .pipeline = 8, .raw_end = weir_str(table[i].end)}};
        const struct load_group group = {.cycle = 1, .methods = (uint8_t *)(uintptr_t)methods};
        load_marker_begin(&load);
        for (size_t step = 1; step <= strlen(table[i].stream); step++) {
            struct load_slot slots[8] = {0};
            struct load_loop loop = {.load = &load, .slot_mask = 7, .now = &times, .in_flight = 8};
            struct load_conn conn = {
                .loop = &loop, .group = &group, .slots = slots, .in_flight = 8, .state = LOAD_OPEN};
            size_t size = strlen(table[i].stream);
            for (size_t at = 0; at < size; at += step)
                load_take(&conn, (const uint8_t *)table[i].stream + at,
                          size - at < step ? size - at : step, 1);
            assert_int_equal(loop.counts.requests, table[i].found);
        }
    }
}

static void errors_tell_cause_and_leave_nothing(void **state)
{
    static const char *const none[] = {"http://127.0.0.1:1/", NULL};
    weir_load_result *result = (weir_load_result *)text;
    uint64_t live = weir__alloc_live();

    assert_int_equal(weir_load_run(&(weir_load_options){0}, &result, text, sizeof text),
                     WEIR_EINVALID);
    assert_null(result);
    assert_non_null(strstr(text, "no URL"));
    weir_load_options options = {.urls = none, .pipeline = 5000};
    assert_int_equal(weir_load_run(&options, &result, text, sizeof text), WEIR_EINVALID);
    options.pipeline = 1;
    options.loop.backend = "nonsense";
    assert_true(weir_load_run(&options, &result, text, sizeof text) < 0);
    assert_true(weir_load_run(&options, &result, NULL, 0) < 0);
    assert_int_equal(weir__alloc_live(), live);
}

/* What cannot be in datagrams is said before a socket is made. */
static void datagrams_have_rules_of_their_own(void **state)
{
    static const char *const udp[] = {"udp://127.0.0.1:1", NULL};
    static const char *const tcp[] = {"tcp://127.0.0.1:1", NULL};
    static const char *const names[] = {"unix-dgram:", NULL};
    const enum weir_load_kind rr = WEIR_LOAD_DGRAM_RR, stream = WEIR_LOAD_DGRAM_STREAM;
    const struct {
        weir_load_options options;
        int error;
        const char *says;
    } table[] = {
        {{.kind = rr, .urls = udp, .request_bytes = 31}, WEIR_EINVALID, "from 32 to 65507"},
        {{.kind = rr, .urls = udp, .request_bytes = 65508}, WEIR_EINVALID, "from 32 to 65507"},
        {{.kind = rr, .urls = udp, .answer_bytes = 1}, WEIR_EINVALID, "from 32 to 65507"},
        {{.kind = rr, .urls = udp, .close = true}, WEIR_EINVALID, "no connection"},
        {{.kind = rr, .urls = udp, .reset = true}, WEIR_EINVALID, "no connection"},
        {{.kind = rr, .urls = udp, .hold = true}, WEIR_EINVALID, "no connection"},
        {{.kind = rr, .urls = udp, .plain = true, .answer_bytes = 99}, WEIR_EINVALID, "echo"},
        {{.kind = stream, .urls = udp, .plain = true, .way = WEIR_LOAD_DOWN},
         WEIR_EINVALID,
         "only weir bench serve"},
        {{.kind = stream, .urls = udp, .requests = 5}, WEIR_EINVALID, "no requests"},
        {{.kind = stream, .urls = udp, .rate = 5}, WEIR_EINVALID, "no requests"},
        {{.kind = rr, .urls = tcp}, WEIR_EADDRESS, "not udp://HOST:PORT"},
        {{.kind = WEIR_LOAD_RR, .urls = udp}, WEIR_EADDRESS, "not tcp://HOST:PORT"},
        {{.kind = rr, .urls = names}, WEIR_EADDRESS, "unix-dgram:"},
    };
    uint64_t live = weir__alloc_live();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        weir_load_result *result = NULL;
        assert_int_equal(weir_load_run(&table[i].options, &result, text, sizeof text),
                         table[i].error);
        assert_null(result);
        if (strstr(text, table[i].says) == NULL)
            fail_msg("not \"%s\" but: %s", table[i].says, text);
    }
    assert_int_equal(weir__alloc_live(), live);
}

static void counts_have_names(void **state)
{
    unsigned count;
    const weir_load_count_row *rows = weir_load_count_rows(&count);
    weir_load_counts counts = {.error_reset = 2, .error_timeout = 3, .requests = 7};

    assert_int_equal(count * sizeof(uint64_t), sizeof counts);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rows[i].offset, i * sizeof(uint64_t));
    assert_int_equal(weir_load_errors(&counts), 5);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_laid_out_by_weight),
        cmocka_unit_test(connections_are_dealt_by_weight),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(a_request_has_what_it_needs),
        cmocka_unit_test(sources_are_used_in_turn),
        cmocka_unit_test(markers_are_found_however_they_overlap),
        cmocka_unit_test(errors_tell_cause_and_leave_nothing),
        cmocka_unit_test(datagrams_have_rules_of_their_own),
        cmocka_unit_test(counts_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
