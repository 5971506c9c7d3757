/* The options of a load: what is left out, and what cannot be. */
#include "app/load/load.h"

#include <sched.h>

static unsigned cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (unsigned)count : 1;
}

void load_options_default(weir_load_options *o)
{
    if (o->conns == 0)
        o->conns = load_is_stream(o) ? 1 : 64;
    if (o->loops == 0)
        o->loops = cpus() > 1 ? cpus() / 2 : 1;
    if (o->loops > o->conns)
        o->loops = o->conns;
    /* A lost answer must not keep those back that are due behind it. */
    if (o->pipeline == 0)
        o->pipeline = o->kind == WEIR_LOAD_DGRAM_RR && load_is_open_loop(o) ? LOAD_PIPELINE_MAX : 1;
    if (o->duration_ns == 0)
        o->duration_ns = o->requests != 0 ? WEIR_NEVER : LOAD_DURATION_NS;
    if (o->timeout_ns == 0)
        o->timeout_ns = load_is_dgram(o) ? LOAD_DGRAM_TIMEOUT_NS : LOAD_TIMEOUT_NS;
    if (o->interval_ns == 0)
        o->interval_ns = WEIR_S;
    if (o->request_bytes == 0)
        o->request_bytes = o->kind == WEIR_LOAD_STREAM         ? 256 << 10
                           : o->kind == WEIR_LOAD_DGRAM_STREAM ? LOAD_DGRAM_STREAM_BYTES
                                                               : 64;
    if (o->answer_bytes == 0)
        o->answer_bytes = o->kind == WEIR_LOAD_RAW ? UINT64_MAX : o->request_bytes;
    if (o->loop.sharers == 0)
        o->loop.sharers = (o->loops + cpus() - 1) / cpus();
}

static bool is_datagram_size(uint64_t bytes)
{
    return bytes >= WEIR_LOAD_HEAD_BYTES && bytes <= WEIR_LOAD_DATAGRAM_MAX;
}

static int check_dgram(const weir_load_options *o, const struct load_why *why)
{
    if (!is_datagram_size(o->request_bytes) || !is_datagram_size(o->answer_bytes))
        return load_fail(why, WEIR_EINVALID, "datagrams have from %d to %d bytes",
                         WEIR_LOAD_HEAD_BYTES, WEIR_LOAD_DATAGRAM_MAX);
    if (o->close || o->reset || o->hold || o->life_ns != 0)
        return load_fail(why, WEIR_EINVALID,
                         "datagrams have no connection that could be closed, reset or held");
    if (o->plain && o->kind == WEIR_LOAD_DGRAM_STREAM && o->way != WEIR_LOAD_UP)
        return load_fail(why, WEIR_EINVALID, "only weir bench serve sends streams of datagrams");
    if (o->plain && o->answer_bytes != o->request_bytes)
        return load_fail(why, WEIR_EINVALID,
                         "an echo server answers with what it got: only weir bench serve has "
                         "answers of another size");
    return 0;
}

int load_options_check(const weir_load_options *o, const struct load_why *why)
{
    if (o->conns > LOAD_CONNS_MAX)
        return load_fail(why, WEIR_EINVALID, "at most %d connections", LOAD_CONNS_MAX);
    if (o->loops > LOAD_LOOPS_MAX)
        return load_fail(why, WEIR_EINVALID, "at most %d threads", LOAD_LOOPS_MAX);
    if (o->pipeline > LOAD_PIPELINE_MAX)
        return load_fail(why, WEIR_EINVALID, "at most %d requests in a pipeline",
                         LOAD_PIPELINE_MAX);
    if (o->close && o->pipeline > 1)
        return load_fail(why, WEIR_EINVALID,
                         "a connection for each request leaves nothing to pipeline: choose one");
    if (o->close && o->rate_per_conn > 0)
        return load_fail(why, WEIR_EINVALID,
                         "a connection for each request has no rate of its own: use a rate in all");
    if (o->rate > 0 && o->rate_per_conn > 0)
        return load_fail(why, WEIR_EINVALID, "a rate in all, or for each connection: choose one");
    if (!(o->rate >= 0 && o->rate <= 1e9 && o->rate_per_conn >= 0 && o->rate_per_conn <= 1e9))
        return load_fail(why, WEIR_EINVALID, "a rate must be from above 0 to 1000000000 a second");
    if (o->kind == WEIR_LOAD_RAW && o->body.size == 0)
        return load_fail(why, WEIR_EINVALID, "there are no bytes to send");
    if (o->kind == WEIR_LOAD_RAW && o->raw_end.size > LOAD_MARKER_MAX)
        return load_fail(why, WEIR_EINVALID, "the end marker is longer than %d bytes",
                         LOAD_MARKER_MAX);
    if (load_is_stream(o) && (load_is_open_loop(o) || o->close || o->requests != 0))
        return load_fail(why, WEIR_EINVALID, "a stream has bytes, and no requests");
    if (o->stream_rate >> 48 != 0)
        return load_fail(why, WEIR_EINVALID, "a stream of less than 2^48 bytes a second");
    if (o->request_bytes > 1u << 30 || (o->answer_bytes > 1ull << 40 && o->kind == WEIR_LOAD_RR))
        return load_fail(why, WEIR_EINVALID, "requests of at most 1 GiB, answers of at most 1 TiB");
    if (o->plain && o->kind == WEIR_LOAD_RR && o->answer_bytes != o->request_bytes)
        return load_fail(why, WEIR_EINVALID,
                         "an echo server answers with what it got: only weir bench serve has "
                         "answers of another size");
    if (o->prove && (!o->hold || load_is_open_loop(o) || load_is_stream(o)))
        return load_fail(why, WEIR_EINVALID,
                         "only connections that are held, and ask for nothing else, are proven");
    if (o->interval_ns < 10 * WEIR_MS)
        return load_fail(why, WEIR_EINVALID, "an interval is at least 10ms");
    return load_is_dgram(o) ? check_dgram(o, why) : 0;
}
