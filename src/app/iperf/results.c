/* The results that both ends tell each other, in the JSON of iperf3. */
#include "app/iperf/iperf.h"

#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

#define COUNT_MAX 9000000000000000 /* below it a double holds every whole number */

struct taking {
    const weir_json_value *values, *object;
    bool wrong;
};

static double take(struct taking *from, const char *name, bool needed, double least, double most)
{
    const weir_json_value *value = weir_json_find(from->values, from->object, name);
    double number = 0;
    if (value == NULL) {
        from->wrong |= needed;
        return 0;
    }
    if (weir_json_to_real(value, &number) < 0 || !(number >= least && number <= most)) {
        from->wrong = true;
        return 0;
    }
    return number;
}

/* iperf3 3.12 writes -1 as a number of 64 bits without a sign, which no double holds. */
static int64_t take_signed(struct taking *from, const char *name, bool needed)
{
    const weir_json_value *value = weir_json_find(from->values, from->object, name);
    uint64_t whole;
    if (weir_json_to_number(value, &whole) == 0 && whole > INT64_MAX && -whole <= COUNT_MAX)
        return -(int64_t)-whole;
    return (int64_t)take(from, name, needed, -COUNT_MAX, COUNT_MAX);
}

static void take_stream(struct taking *from, struct iperf_result *out)
{
    out->known = true;
    out->id = (uint32_t)take(from, "id", true, 1, IPERF_STREAMS_ALL + 1);
    out->bytes = (uint64_t)take(from, "bytes", true, 0, COUNT_MAX);
    out->resent = take_signed(from, "retransmits", true);
    out->jitter_s = take(from, "jitter", true, 0, 1e9);
    out->packets = (uint64_t)take(from, "packets", true, 0, COUNT_MAX);
    out->lost = take_signed(from, "errors", true);
    out->tells_omitted = weir_json_find(from->values, from->object, "omitted_packets") != NULL;
    out->omitted_packets = (uint64_t)take(from, "omitted_packets", false, 0, COUNT_MAX);
    out->omitted_lost = take_signed(from, "omitted_errors", false);
    out->begin_s = take(from, "start_time", false, 0, 1e9);
    out->end_s = take(from, "end_time", false, 0, 1e9);
}

static void take_streams(struct taking *from, struct iperf_results *out)
{
    const weir_json_value *streams = weir_json_find(from->values, from->object, "streams");
    if (streams == NULL || streams->kind != WEIR_JSON_ARRAY || streams->count > IPERF_STREAMS_ALL) {
        from->wrong = true;
        return;
    }
    for (const weir_json_value *at = weir_json_first(from->values, streams); at != NULL;
         at = weir_json_next(from->values, streams, at)) {
        struct taking row = {from->values, at, at->kind != WEIR_JSON_OBJECT};
        if (!row.wrong)
            take_stream(&row, &out->rows[out->count++]);
        from->wrong |= row.wrong;
    }
}

int iperf_results_read(const char *text, size_t size, struct iperf_results *out,
                       struct iperf_report *report)
{
    weir_json_value *values;
    int count = iperf_json_read(text, size, &values);
    memset(out, 0, sizeof *out);
    memset(report, 0, sizeof *report);
    if (count < 0)
        return count;
    struct taking from = {values, values, false};
    out->cpu = take(&from, "cpu_util_total", true, 0, 1e9);
    out->cpu_user = take(&from, "cpu_util_user", true, 0, 1e9);
    out->cpu_system = take(&from, "cpu_util_system", true, 0, 1e9);
    out->has_resent = take_signed(&from, "sender_has_retransmits", true) > 0;
    const weir_json_value *name = weir_json_find(values, values, "congestion_used");
    if (name != NULL && weir_json_to_text(name, out->congestion, sizeof out->congestion) < 0)
        from.wrong = true;
    take_streams(&from, out);
    if (from.wrong) {
        weir__free(values);
        return WEIR_EPROTO;
    }
    report->values = values;
    report->text = weir_json_find(values, values, "server_output_text");
    report->json = weir_json_find(values, values, "server_output_json");
    return 0;
}

void iperf_results_write(const struct iperf_results *results, weir_json_writer *out)
{
    weir_json_value *values = NULL;
    weir_json_object(out, NULL);
    weir_json_real(out, "cpu_util_total", results->cpu);
    weir_json_real(out, "cpu_util_user", results->cpu_user);
    weir_json_real(out, "cpu_util_system", results->cpu_system);
    weir_json_signed(out, "sender_has_retransmits", results->has_resent ? 1 : -1);
    if (results->congestion[0] != '\0')
        weir_json_text(out, "congestion_used", results->congestion);
    if (results->output != NULL && !results->output_json)
        weir_json_text(out, "server_output_text", results->output);
    else if (results->output != NULL &&
             iperf_json_read(results->output, strlen(results->output), &values) > 0)
        iperf_json_copy(out, "server_output_json", values, values);
    weir__free(values);
    weir_json_array(out, "streams");
    for (unsigned i = 0; i < results->count; i++) {
        const struct iperf_result *row = &results->rows[i];
        weir_json_object(out, NULL);
        weir_json_number(out, "id", row->id);
        weir_json_number(out, "bytes", row->bytes);
        weir_json_signed(out, "retransmits", row->resent);
        weir_json_real(out, "jitter", row->jitter_s);
        weir_json_signed(out, "errors", row->lost);
        weir_json_signed(out, "omitted_errors", row->omitted_lost);
        weir_json_number(out, "packets", row->packets);
        weir_json_number(out, "omitted_packets", row->omitted_packets);
        weir_json_real(out, "start_time", row->begin_s);
        weir_json_real(out, "end_time", row->end_s);
        weir_json_end(out);
    }
    weir_json_end(out);
    weir_json_end(out);
}

/* A text as long as it was written, at most: escapes only become shorter. */
static char *text_of(const weir_json_value *value)
{
    char *text = weir__alloc((size_t)value->size + 1);
    if (text != NULL && weir_json_to_text(value, text, (size_t)value->size + 1) < 0)
        text[0] = '\0';
    return text;
}

static void copy_scalar(weir_json_writer *out, const char *name, const weir_json_value *value)
{
    double number = 0;
    uint64_t whole = 0;
    char *text = NULL;
    switch (value->kind) {
    case WEIR_JSON_BOOL:
        weir_json_bool(out, name, value->truth);
        break;
    case WEIR_JSON_NUMBER:
        if (weir_json_to_number(value, &whole) == 0)
            weir_json_number(out, name, whole);
        else if (weir_json_to_real(value, &number) == 0)
            weir_json_real(out, name, number);
        else
            weir_json_text(out, name, NULL);
        break;
    case WEIR_JSON_TEXT:
        text = text_of(value);
        weir_json_text(out, name, text);
        weir__free(text);
        break;
    default:
        weir_json_text(out, name, NULL);
        break;
    }
}

/* As deep as the reader takes it, which is bounded. */
void iperf_json_copy(weir_json_writer *out, const char *name, const weir_json_value *values,
                     const weir_json_value *value)
{
    bool object = value->kind == WEIR_JSON_OBJECT;
    if (!object && value->kind != WEIR_JSON_ARRAY) {
        copy_scalar(out, name, value);
        return;
    }
    if (object)
        weir_json_object(out, name);
    else
        weir_json_array(out, name);
    char *key = NULL;
    for (const weir_json_value *at = weir_json_first(values, value); at != NULL;
         at = weir_json_next(values, value, at)) {
        if (object && key == NULL) {
            key = text_of(at);
            if (key == NULL)
                break;
            continue;
        }
        iperf_json_copy(out, key, values, at);
        weir__free(key);
        key = NULL;
    }
    weir__free(key);
    weir_json_end(out);
}
