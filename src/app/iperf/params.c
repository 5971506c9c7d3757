/* The parameters that a client tells its server, in the JSON of iperf3. */
#include "app/iperf/iperf.h"

#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

#define RATE_MAX      1e15
#define SIZE_MAX_REAL 9e15 /* below it a double holds every whole number */

/* Each value stands behind one of these, or at the beginning; in texts some are counted too. */
static unsigned values_at_most(const char *text, size_t size)
{
    unsigned count = 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{';
    return count;
}

int iperf_json_read(const char *text, size_t size, weir_json_value **out)
{
    unsigned most = values_at_most(text, size);
    weir_json_value *values = weir__alloc(most * sizeof *values);
    *out = NULL;
    if (values == NULL)
        return WEIR_ENOMEM;
    int count = weir_json_read(text, size, values, most);
    if (count <= 0 || values[0].kind != WEIR_JSON_OBJECT) {
        weir__free(values);
        return WEIR_EPROTO;
    }
    *out = values;
    return count;
}

struct taking {
    const weir_json_value *values;
    bool wrong;
};

/* A whole number that may be missing: then it stays what it was. */
static uint64_t take(struct taking *from, const char *name, double least, double most,
                     uint64_t missing)
{
    const weir_json_value *value = weir_json_find(from->values, from->values, name);
    double number = 0;
    if (value == NULL)
        return missing;
    if (weir_json_to_real(value, &number) < 0 || !(number >= least && number <= most)) {
        from->wrong = true;
        return missing;
    }
    return (uint64_t)number;
}

/* true, or a number that is not 0. */
static bool take_flag(struct taking *from, const char *name)
{
    const weir_json_value *value = weir_json_find(from->values, from->values, name);
    double number = 0;
    if (value == NULL)
        return false;
    if (value->kind == WEIR_JSON_BOOL)
        return value->truth;
    from->wrong |= weir_json_to_real(value, &number) < 0;
    return number > 0 || number < 0;
}

static void take_text(struct taking *from, const char *name, char *out, size_t size)
{
    const weir_json_value *value = weir_json_find(from->values, from->values, name);
    out[0] = '\0';
    if (value != NULL && weir_json_to_text(value, out, size) < 0) {
        out[0] = '\0';
        from->wrong = true;
    }
}

static void check(struct taking *from, const struct iperf_params *params)
{
    bool sctp = take_flag(from, "sctp"), tcp = take_flag(from, "tcp");
    from->wrong |= sctp || (tcp && params->udp) || (params->reverse && params->both);
    if (params->udp)
        from->wrong |= params->block_bytes < IPERF_UDP_BLOCK_LEAST ||
                       params->block_bytes > IPERF_UDP_BLOCK_MAX;
    from->wrong |= params->bytes != 0 && params->blocks != 0;
    from->wrong |= params->time_s == 0 && params->bytes == 0 && params->blocks == 0;
}

int iperf_params_read(const char *text, size_t size, struct iperf_params *out)
{
    weir_json_value *values;
    int count = iperf_json_read(text, size, &values);
    memset(out, 0, sizeof *out);
    if (count < 0)
        return count;
    struct taking from = {values, false};
    out->udp = take_flag(&from, "udp");
    out->reverse = take_flag(&from, "reverse");
    out->both = take_flag(&from, "bidirectional");
    out->counters64 = take_flag(&from, "udp_counters_64bit");
    out->server_output = take_flag(&from, "get_server_output");
    out->nodelay = take_flag(&from, "nodelay");
    out->streams = (uint32_t)take(&from, "parallel", 1, WEIR_IPERF_STREAMS_MAX, 1);
    out->omit_s = (uint32_t)take(&from, "omit", 0, IPERF_OMIT_MAX_S, 0);
    out->bytes = take(&from, "num", 0, SIZE_MAX_REAL, 0);
    out->blocks = take(&from, "blockcount", 0, SIZE_MAX_REAL, 0);
    out->time_s = (uint32_t)take(&from, "time", 0, IPERF_TIME_MAX_S, 0);
    out->block_bytes =
        (uint32_t)take(&from, "len", 1, IPERF_TCP_BLOCK_MAX, out->udp ? 1460 : 128 << 10);
    out->window_bytes = (uint32_t)take(&from, "window", 0, 512 << 20, 0);
    out->rate_bits = take(&from, "bandwidth", 0, RATE_MAX, 0);
    out->burst = (uint32_t)take(&from, "burst", 0, 1000, 0);
    out->tos = (uint8_t)take(&from, "TOS", 0, 255, 0);
    take_text(&from, "congestion", out->congestion, sizeof out->congestion);
    take_text(&from, "client_version", out->version, sizeof out->version);
    take_text(&from, "title", out->title, sizeof out->title);
    check(&from, out);
    weir__free(values);
    return from.wrong ? WEIR_EPROTO : 0;
}

static void number_if(weir_json_writer *out, const char *name, uint64_t number)
{
    if (number != 0)
        weir_json_number(out, name, number);
}

void iperf_params_write(const struct iperf_params *params, weir_json_writer *out)
{
    weir_json_object(out, NULL);
    weir_json_bool(out, params->udp ? "udp" : "tcp", true);
    weir_json_number(out, "omit", params->omit_s);
    weir_json_number(out, "time", params->time_s);
    weir_json_number(out, "num", params->bytes);
    weir_json_number(out, "blockcount", params->blocks);
    weir_json_number(out, "parallel", params->streams);
    weir_json_number(out, "len", params->block_bytes);
    if (params->nodelay)
        weir_json_bool(out, "nodelay", true);
    if (params->reverse)
        weir_json_bool(out, "reverse", true);
    if (params->both)
        weir_json_bool(out, "bidirectional", true);
    number_if(out, "window", params->window_bytes);
    number_if(out, "bandwidth", params->rate_bits);
    weir_json_number(out, "pacing_timer", 1000);
    number_if(out, "burst", params->burst);
    number_if(out, "TOS", params->tos);
    if (params->title[0] != '\0')
        weir_json_text(out, "title", params->title);
    if (params->congestion[0] != '\0')
        weir_json_text(out, "congestion", params->congestion);
    number_if(out, "get_server_output", params->server_output);
    number_if(out, "udp_counters_64bit", params->counters64);
    /* iperf3 reads no more than that there is one. */
    weir_json_text(out, "client_version", params->version);
    weir_json_end(out);
}
