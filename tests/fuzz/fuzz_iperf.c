/* The parameters and results of iperf3's protocol, as either end may send them: what is taken is
 * within its bounds, and written and read again it is the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "app/iperf/iperf.h"
#include "base/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static void params(const char *text, size_t size)
{
    struct iperf_params one, two;
    weir_json_writer out = {0};
    if (iperf_params_read(text, size, &one) < 0)
        return;
    require(one.streams >= 1 && one.streams <= WEIR_IPERF_STREAMS_MAX);
    require(one.block_bytes >= 1 && one.block_bytes <= IPERF_TCP_BLOCK_MAX);
    require(!one.udp || one.block_bytes <= IPERF_UDP_BLOCK_MAX);
    require(one.time_s != 0 || one.bytes != 0 || one.blocks != 0);
    iperf_params_write(&one, &out);
    require(weir_json_done(&out) == 0);
    require(iperf_params_read(out.data, out.size, &two) == 0);
    require(memcmp(&one, &two, sizeof one) == 0);
    weir_json_free(&out);
}

static void results(const char *text, size_t size)
{
    static struct iperf_results one, two;
    struct iperf_report report, again;
    weir_json_writer out = {0}, copy = {0};
    if (iperf_results_read(text, size, &one, &report) < 0)
        return;
    require(one.count <= IPERF_STREAMS_ALL);
    if (report.json != NULL) {
        iperf_json_copy(&copy, NULL, report.values, report.json);
        require(weir_json_done(&copy) == 0);
    }
    one.output = report.json != NULL && report.json->kind == WEIR_JSON_OBJECT ? copy.data : NULL;
    one.output_json = true;
    weir__free((void *)(uintptr_t)report.values);
    iperf_results_write(&one, &out);
    if (weir_json_done(&out) == 0) { /* a report may be too deep to stand within another text */
        require(iperf_results_read(out.data, out.size, &two, &again) == 0);
        require(one.count == two.count);
        for (unsigned i = 0; i < one.count; i++)
            require(one.rows[i].bytes == two.rows[i].bytes && one.rows[i].id == two.rows[i].id &&
                    one.rows[i].packets == two.rows[i].packets);
        weir__free((void *)(uintptr_t)again.values);
    }
    weir_json_free(&copy);
    weir_json_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    params((const char *)data, size);
    results((const char *)data, size);
    return 0;
}
