/* The control connection: states of one byte, and JSON behind its length. */
#include "app/iperf/iperf.h"

#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

void iperf_control_expect(struct iperf_test *test, enum iperf_expect expect)
{
    test->control.expect = expect;
    test->control.got = 0;
    test->control.need = expect == EXPECT_STATE ? 1 : expect == EXPECT_SIZE ? 4 : 8;
}

static void failed(struct iperf_test *test, int error, const char *what)
{
    iperf_fail(test, error, "%s", what);
    if (test->server != NULL)
        iperf_server_failed(test, IPERF_ERROR_PARAMS);
    else
        iperf_client_failed(test);
}

static uint32_t body_limit(const struct iperf_test *test)
{
    if (test->state == IPERF_PARAM_EXCHANGE)
        return IPERF_PARAMS_BYTES_MAX;
    bool report = test->server == NULL && test->params.server_output;
    return report ? IPERF_OUTPUT_BYTES_MAX : IPERF_RESULTS_BYTES_MAX;
}

static void take_size(struct iperf_test *test)
{
    struct iperf_control *control = &test->control;
    uint32_t size = get32(control->head);
    if (size == 0 || size > body_limit(test)) {
        failed(test, WEIR_EPROTO, "the other end announces more JSON than there may be");
        return;
    }
    control->body = weir__alloc((size_t)size + 1);
    if (control->body == NULL) {
        failed(test, WEIR_ENOMEM, "out of memory");
        return;
    }
    control->expect = EXPECT_BODY;
    control->got = 0;
    control->need = size;
}

/* What was waited for is there. */
static void take_whole(struct iperf_test *test)
{
    struct iperf_control *control = &test->control;
    char *body = control->body;
    uint32_t size = control->need;
    switch (control->expect) {
    case EXPECT_STATE:
        control->got = 0;
        if (test->server != NULL)
            iperf_server_state(test, (int8_t)control->head[0]);
        else
            iperf_client_state(test, (int8_t)control->head[0]);
        break;
    case EXPECT_SIZE:
        take_size(test);
        break;
    case EXPECT_BODY:
        body[size] = '\0';
        control->body = NULL;
        iperf_control_expect(test, EXPECT_STATE);
        if (test->server != NULL)
            iperf_server_body(test, body, size);
        else
            iperf_client_body(test, body, size);
        break;
    case EXPECT_ERROR:
        control->expect = EXPECT_NOTHING;
        iperf_client_error(test, (int)get32(control->head), (int)get32(control->head + 4));
        break;
    case EXPECT_NOTHING:
        break;
    }
}

void iperf_control_take(struct iperf_test *test, weir_view view)
{
    struct iperf_control *control = &test->control;
    iperf_test_hold(test);
    while (view.size != 0 && control->expect != EXPECT_NOTHING && control->open) {
        uint8_t *into = control->expect == EXPECT_BODY ? (uint8_t *)control->body : control->head;
        uint32_t part = control->need - control->got;
        part = part < view.size ? part : view.size;
        memcpy(into + control->got, view.data, part);
        control->got += part;
        view = weir_slice(view, part, view.size);
        if (control->got == control->need)
            take_whole(test);
    }
    iperf_test_release(test);
}

static void send_bytes(struct iperf_test *test, const void *data, size_t size)
{
    if (test->control.open && weir_send(test->control.conn, weir_bytes(data, size)) < 0)
        weir_abort(test->control.conn);
}

void iperf_control_send_state(struct iperf_test *test, enum iperf_state state)
{
    int8_t byte = (int8_t)state;
    test->state = byte;
    send_bytes(test, &byte, 1);
}

/* Ends the text, without the newline behind it, sends it and frees it. */
void iperf_control_send_json(struct iperf_test *test, weir_json_writer *out)
{
    int result = weir_json_done(out);
    if (result == 0) {
        uint32_t size = (uint32_t)out->size - 1;
        uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                           (uint8_t)size};
        send_bytes(test, head, sizeof head);
        send_bytes(test, out->data, size);
    } else if (test->control.open) {
        weir_abort(test->control.conn);
    }
    weir_json_free(out);
}

void iperf_control_close(struct iperf_test *test)
{
    test->control.expect = EXPECT_NOTHING;
    if (test->control.open)
        weir_close(test->control.conn);
}
