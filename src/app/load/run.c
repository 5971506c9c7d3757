/* A load from its options to its result: the caller's thread starts loops, watches and sums up. */
#include "app/load/dgram.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { LOOK_NS = 20000000, PUBLISHED_NS = 15000000 };

static atomic_bool stopping;

void weir_load_stop(void)
{
    atomic_store(&stopping, true);
}

/* ---- loops ---- */

static uint32_t bounded_ms(uint64_t ns)
{
    uint64_t ms = ns / WEIR_MS;
    return ms == 0 ? 1 : ms >= WEIR_OFF ? WEIR_OFF : (uint32_t)ms;
}

static void service_make(struct load_loop *loop)
{
    const weir_load_options *options = &loop->load->options;
    weir_service *service = &loop->service;
    *service = options->kind == WEIR_LOAD_STREAM ? load_stream_service : load_service;
    service->socket = options->socket;
    service->connect_ms = bounded_ms(options->timeout_ns);
    service->first_byte_ms = service->idle_ms = service->write_ms = WEIR_OFF;
    /* Held connections end with a FIN from either side; others may be many a second. */
    service->tls = options->tls;
    if (options->tls != NULL) /* before anything comes there is the handshake */
        service->first_byte_ms = bounded_ms(options->timeout_ns);
    service->linger_ms = options->hold ? bounded_ms(options->timeout_ns) : 500;
}

static uint32_t power_of_two(uint32_t least)
{
    uint32_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

/* In fresh pages, which stay untouched where no values fall. */
static void times_begin(struct load_times *times)
{
    histogram_clear(&times->service);
    histogram_clear(&times->response);
    histogram_clear(&times->connect);
    histogram_clear(&times->handshake);
}

static bool conns_make(struct load_loop *loop)
{
    const struct load *load = loop->load;
    uint32_t slots = power_of_two(load->options.pipeline);
    loop->slot_mask = slots - 1;
    loop->conns_bytes = loop->conn_count * sizeof *loop->conns;
    loop->slots_bytes = (size_t)loop->conn_count * slots * sizeof *loop->slots;
    loop->conns = weir__pages_alloc(loop->conns_bytes);
    loop->slots = weir__pages_alloc(loop->slots_bytes);
    if (loop->conns == NULL || loop->slots == NULL)
        return false;
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        loop->conns[i].loop = loop;
        loop->conns[i].slots = loop->slots + (size_t)i * slots;
        loop->conns[i].group = &load->groups[load->dealt[i * load->loop_count + loop->index]];
    }
    return true;
}

static uint64_t share(uint64_t whole, unsigned parts, unsigned index)
{
    return whole / parts + (index < whole % parts);
}

static int loop_make(struct load *load, unsigned index, const struct load_why *why)
{
    struct load_loop *loop = weir__pages_alloc(sizeof *loop);
    if (loop == NULL)
        return load_fail(why, WEIR_ENOMEM, "out of memory");
    load->loops[index] = loop;
    loop->load = load;
    loop->index = index;
    loop->conn_count = (uint32_t)share(load->options.conns, load->loop_count, index);
    loop->quota = UINT64_MAX;
    loop->window = LOAD_CONNECTING_ALL / load->loop_count;
    if (loop->window > LOAD_CONNECTING_MAX)
        loop->window = LOAD_CONNECTING_MAX;
    if (loop->window < LOAD_CONNECTING_LEAST)
        loop->window = LOAD_CONNECTING_LEAST;
    loop->quota_share = load->options.requests != 0
                            ? share(load->options.requests, load->loop_count, index)
                            : UINT64_MAX;
    loop->now = weir__pages_alloc(sizeof *loop->now);
    loop->total = weir__pages_alloc(sizeof *loop->total);
    loop->samples = weir__zalloc(LOAD_TCP_SAMPLES * sizeof *loop->samples);
    if (loop->now == NULL || loop->total == NULL || loop->samples == NULL || !conns_make(loop))
        return load_fail(why, WEIR_ENOMEM, "out of memory for %u connections", loop->conn_count);
    if (load_is_dgram(&load->options) && !load_dgrams_make(loop))
        return load_fail(why, WEIR_ENOMEM, "out of memory for %u sockets", loop->conn_count);
    times_begin(loop->now);
    times_begin(loop->total);
    histogram_clear(&loop->shared.times);
    histogram_clear(&loop->shared.handshake);
    uint64_t seed;
    weir__random_bytes(&seed, sizeof seed);
    random_seed(&loop->random, seed);
    service_make(loop);
    int result = weir_loop_new(&loop->loop, &load->options.loop);
    if (result < 0)
        return load_fail(why, result, "no loop could be started: %s", weir_error_text(result));
    snprintf(loop->backend, sizeof loop->backend, "%s", weir_loop_backend(loop->loop));
    return 0;
}

static void loop_free(struct load_loop *loop)
{
    if (loop == NULL)
        return;
    if (!loop->has_thread)
        weir_loop_free(loop->loop);
    load_dgrams_free(loop);
    weir__pages_free(loop->conns, loop->conns_bytes);
    weir__pages_free(loop->slots, loop->slots_bytes);
    weir__pages_free(loop->now, sizeof *loop->now);
    weir__pages_free(loop->total, sizeof *loop->total);
    weir__free(loop->samples);
    weir__pages_free(loop, sizeof *loop);
}

/* The thread ends with its loop: what is left on it is aborted there. */
static void *thread_run(void *arg)
{
    struct load_loop *loop = arg;
    struct load *load = loop->load;
    weir_loop_run(loop->loop);
    loop->quitting = true;
    weir_loop_free(loop->loop);
    for (uint32_t i = 0; i < loop->conn_count; i++)
        http1_reply_end(&loop->conns[i].reply);
    pthread_mutex_lock(&load->mutex);
    loop->shared.finished = true;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
    return NULL;
}

static int threads_start(struct load *load, const struct load_why *why)
{
    for (unsigned i = 0; i < load->loop_count; i++) {
        struct load_loop *loop = load->loops[i];
        weir_post(loop->loop, &loop->start_task, load_loop_start, loop);
        int code = pthread_create(&loop->thread, NULL, thread_run, loop);
        if (code != 0)
            return load_fail(why, -code, "no thread for loop %u: %s", i, weir_error_text(-code));
        loop->has_thread = true;
    }
    return 0;
}

static void post_all(struct load *load, size_t task_at, weir_task_fn *fn)
{
    for (unsigned i = 0; i < load->loop_count; i++) {
        struct load_loop *loop = load->loops[i];
        pthread_mutex_lock(&load->mutex);
        bool over = loop->shared.finished;
        pthread_mutex_unlock(&load->mutex);
        if (loop->has_thread && !over)
            weir_post(loop->loop, (weir_task *)(void *)((char *)loop + task_at), fn, loop);
    }
}

static void stop_all(struct load *load)
{
    if (load->stop_sent)
        return;
    load->stop_sent = true;
    post_all(load, offsetof(struct load_loop, stop_task), load_loop_stop);
}

static void threads_join(struct load *load)
{
    for (unsigned i = 0; i < load->loop_count; i++)
        if (load->loops[i] != NULL && load->loops[i]->has_thread)
            pthread_join(load->loops[i]->thread, NULL);
}

/* ---- watching ---- */

static bool all_have(const struct load *load, size_t flag)
{
    for (unsigned i = 0; i < load->loop_count; i++)
        if (!*(const bool *)((const char *)&load->loops[i]->shared + flag))
            return false;
    return true;
}

/* Waits until every loop has the flag, the time comes, or somebody wants the end. With the mutex
 * held. */
static bool wait_until(struct load *load, size_t flag, uint64_t until_ns)
{
    while (!all_have(load, flag)) {
        uint64_t now_ns = weir__clock_now_ns(), next_ns = now_ns + LOOK_NS;
        if (now_ns >= until_ns || (atomic_load(&stopping) && !load->stop_sent))
            return false;
        if (next_ns > until_ns)
            next_ns = until_ns;
        struct timespec at = {.tv_sec = (time_t)(next_ns / WEIR_S),
                              .tv_nsec = (long)(next_ns % WEIR_S)};
        pthread_cond_timedwait(&load->changed, &load->mutex, &at);
    }
    return true;
}

static int nobody_there(struct load *load, const struct load_why *why)
{
    static const struct {
        enum load_error error;
        int code;
        const char *text;
    } table[] = {
        {LOAD_ERROR_refused, -ECONNREFUSED,
         "connection refused: nothing listens there; start the server, or mend the address"},
        {LOAD_ERROR_unreachable, -EHOSTUNREACH, "the host cannot be reached: see ip route get"},
        {LOAD_ERROR_connect_timeout, -ETIMEDOUT,
         "no answer to connecting: a firewall drops it, or the host is down"},
        {LOAD_ERROR_ports, -EADDRNOTAVAIL, "no local port is left: use --source or --reset"},
        {LOAD_ERROR_descriptors, -EMFILE, "no descriptor is left: raise ulimit -n"},
        {LOAD_ERROR_handshake, -ECONNABORTED,
         "the TLS handshake failed: does the server speak TLS there, in a version and with "
         "ciphers that are allowed here?"},
        {LOAD_ERROR_certificate, -ECONNABORTED,
         "the certificate was not accepted: name who issued it (--cacert FILE), or the host it is "
         "for (--server-name NAME)"},
        {LOAD_ERROR_handshake_timeout, -ETIMEDOUT,
         "no TLS handshake came to its end: does the server speak TLS there?"},
    };
    enum load_error error = load->loops[0]->shared.connect_error;
    const char *shown = load->groups[0].url;
    if (error == LOAD_ERROR_connect_timeout && load_is_dgram(&load->options))
        return load_fail(why, -ETIMEDOUT,
                         "%s does not answer: %s; or a firewall drops it, or the host is down",
                         shown,
                         load_dgram_says_begin(&load->options) ? "it is not weir bench serve"
                                                               : "it is no echo server");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].error == error)
            return load_fail(why, table[i].code, "cannot connect to %s: %s", shown, table[i].text);
    return load_fail(why, -ECONNABORTED, "cannot connect to %s", shown);
}

static uint64_t connects_of(const struct load *load)
{
    uint64_t connects = 0;
    for (unsigned i = 0; i < load->loop_count; i++)
        connects += load->loops[i]->shared.counts.connects;
    return connects;
}

/* Opens the connections. 0, or why there is no load. */
static int connect_phase(struct load *load, uint64_t *took_ns, const struct load_why *why)
{
    uint64_t begin_ns = weir__clock_now_ns(), limit_ns = begin_ns + load->options.ramp_ns;
    uint64_t connects = 0, before;
    bool settled;
    pthread_mutex_lock(&load->mutex);
    do { /* as long as one comes at least in a time-out */
        before = connects;
        limit_ns += load->options.timeout_ns + load->options.interval_ns + WEIR_S;
        settled = wait_until(load, offsetof(struct load_shared, settled), limit_ns);
        connects = connects_of(load);
    } while (!settled && connects != before && weir__clock_now_ns() >= limit_ns);
    bool nobody = settled && connects == 0 && !load->options.close;
    int result = nobody ? nobody_there(load, why) : 0;
    pthread_mutex_unlock(&load->mutex);
    *took_ns = weir__clock_now_ns() - begin_ns;
    return result;
}

static void report_handshakes(struct load *load, weir_load_progress *progress)
{
    pthread_mutex_lock(&load->mutex);
    for (unsigned i = 0; i < load->loop_count; i++) {
        histogram_merge(load->window, &load->loops[i]->shared.handshake);
        histogram_clear(&load->loops[i]->shared.handshake);
    }
    pthread_mutex_unlock(&load->mutex);
    load_times_of(load->window, &progress->handshake);
    histogram_clear(load->window);
}

static void report(struct load *load, struct load_result *result, uint64_t *last_ns,
                   weir_load_counts *before)
{
    weir_load_progress progress = {.begin_ns = *last_ns};
    weir_load_counts sum = {0};
    pthread_mutex_lock(&load->mutex);
    for (unsigned i = 0; i < load->loop_count; i++) {
        struct load_shared *shared = &load->loops[i]->shared;
        load_counts_add(&sum, &shared->counts, 1);
        progress.open_conns += shared->open_conns;
        histogram_merge(load->window, &shared->times);
        histogram_clear(&shared->times);
    }
    pthread_mutex_unlock(&load->mutex);
    load_times_of(load->window, &progress.times);
    histogram_clear(load->window);
    if (load->secure)
        report_handshakes(load, &progress);
    progress.counts = sum;
    load_counts_add(&progress.counts, before, -1);
    *before = sum;
    *last_ns += load->options.interval_ns;
    progress.end_ns = *last_ns;
    bool endless = load->options.duration_ns == WEIR_NEVER;
    progress.total_ns = endless ? WEIR_NEVER : load->options.warmup_ns + load->options.duration_ns;
    progress.phase =
        progress.begin_ns < load->options.warmup_ns ? WEIR_LOAD_WARMING : WEIR_LOAD_MEASURING;
    if (progress.phase == WEIR_LOAD_MEASURING &&
        result->told.interval_count < result->interval_room)
        result->intervals[result->told.interval_count++] = progress;
    if (load->options.on_interval != NULL)
        load->options.on_interval(&progress, load->options.user);
}

static void load_phase(struct load *load, struct load_result *result)
{
    uint64_t last_ns = 0, start_ns = weir__clock_now_ns();
    weir_load_counts before = {0};
    pthread_mutex_lock(&load->mutex);
    for (unsigned i = 0; i < load->loop_count; i++)
        load_counts_add(&before, &load->loops[i]->shared.counts, 1);
    pthread_mutex_unlock(&load->mutex);
    post_all(load, offsetof(struct load_loop, go_task), load_loop_go);
    for (bool over = false; !over;) {
        uint64_t next_ns = start_ns + last_ns + load->options.interval_ns;
        pthread_mutex_lock(&load->mutex);
        over = wait_until(load, offsetof(struct load_shared, finished), next_ns + PUBLISHED_NS);
        pthread_mutex_unlock(&load->mutex);
        if (atomic_load(&stopping) && !over && !load->stop_sent) {
            load->stopped = result->told.interrupted = true;
            stop_all(load);
            continue;
        }
        uint64_t end_ns = load->options.warmup_ns + load->options.duration_ns;
        bool within = load->options.duration_ns == WEIR_NEVER ||
                      last_ns + load->options.interval_ns <= end_ns;
        if (weir__clock_now_ns() >= next_ns && within && !load->stop_sent)
            report(load, result, &last_ns, &before);
    }
}

/* ---- the result ---- */

static int by_number(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static uint64_t median(const struct load *load, size_t field, size_t size)
{
    uint64_t values[LOAD_LOOPS_MAX * 4], count = 0;
    for (unsigned i = 0; i < load->loop_count; i++)
        for (uint32_t k = 0; k < load->loops[i]->sample_count; k++) {
            const char *at = (const char *)&load->loops[i]->samples[k] + field;
            if (count < sizeof values / sizeof *values)
                values[count++] = size == 8 ? *(const uint64_t *)(const void *)at
                                            : *(const uint32_t *)(const void *)at;
        }
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, by_number);
    return values[count / 2];
}

static void sum_tcp(const struct load *load, weir_load_tcp *tcp)
{
    for (unsigned i = 0; i < load->loop_count; i++) {
        tcp->age_ms += load->loops[i]->sample_age_ms;
        for (uint32_t k = 0; k < load->loops[i]->sample_count; k++) {
            const weir_tcp_info *info = &load->loops[i]->samples[k];
            tcp->samples++;
            tcp->busy_ms += info->busy_ms;
            tcp->receiver_limited_ms += info->receiver_limited_ms;
            tcp->buffer_limited_ms += info->buffer_limited_ms;
            tcp->app_limited += info->app_limited;
            tcp->resent_segments += info->resent_total_segments;
            tcp->rtt_max_us = info->rtt_us > tcp->rtt_max_us ? info->rtt_us : tcp->rtt_max_us;
        }
    }
#define MEDIAN(field) \
    median(load, offsetof(weir_tcp_info, field), sizeof((weir_tcp_info *)0)->field)
    tcp->rtt_us = MEDIAN(rtt_us);
    tcp->rttvar_us = MEDIAN(rttvar_us);
    tcp->cwnd_segments = MEDIAN(cwnd_segments);
    tcp->delivery_bytes_s = MEDIAN(delivery_bytes_s);
#undef MEDIAN
}

static void sum_loop(const struct load_loop *loop, struct load_result *result)
{
    weir_load_result *told = &result->told;
    weir_load_loop *row = &result->rows[loop->index];
    uint64_t measured_ns = loop->end_ns - loop->measure_ns;

    load_counts_add(&told->counts, &loop->final, 1);
    load_counts_add(&told->counts, &loop->base, -1);
    if (measured_ns > told->measured_ns)
        told->measured_ns = measured_ns;
    told->open_conns += loop->open_at_end;
    told->server_bytes += loop->server_bytes;
    if (told->malformed[0] == '\0')
        memcpy(told->malformed, loop->malformed, sizeof told->malformed);
    histogram_merge(&result->times.service, &loop->total->service);
    histogram_merge(&result->times.response, &loop->total->response);
    histogram_merge(&result->times.connect, &loop->total->connect);
    histogram_merge(&result->times.handshake, &loop->total->handshake);
    load_secured_sum(loop, told);
    row->cpu_ns = loop->ended.cpu_ns - loop->begun.cpu_ns;
    row->runqueue_ns = loop->ended.runqueue_ns - loop->begun.runqueue_ns;
    row->slip_max_ns = loop->ended.stats.timer_slip_max_ns;
    row->turns = loop->ended.stats.turns - loop->begun.stats.turns;
    row->syscalls = loop->ended.stats.io_syscalls - loop->begun.stats.io_syscalls;
    row->requests = loop->final.requests - loop->base.requests;
    snprintf(row->backend, sizeof row->backend, "%s", loop->backend);
}

static void sum_up(struct load *load, struct load_result *result)
{
    weir_load_result *told = &result->told;
    told->loops = load->loop_count;
    told->conns = load->options.conns;
    told->pipeline = load->options.pipeline;
    told->rate = load->options.rate_per_conn > 0 ? load->options.rate_per_conn * told->conns
                                                 : load->options.rate;
    for (unsigned i = 0; i < load->loop_count; i++)
        sum_loop(load->loops[i], result);
    load_times_of(&result->times.service, &told->service);
    load_times_of(&result->times.response, &told->response);
    load_times_of(&result->times.connect, &told->connect);
    load_times_of(&result->times.handshake, &told->handshake);
    if (load_is_dgram(&load->options))
        load_dgram_sum(load, told);
    else
        sum_tcp(load, &told->tcp);
    load_check(load, result);
    told->loop_rows = result->rows;
    told->intervals = result->intervals;
}

static struct load_result *result_make(const struct load *load)
{
    const weir_load_options *options = &load->options;
    struct load_result *result = weir__pages_alloc(sizeof *result);
    if (result == NULL)
        return NULL;
    uint64_t intervals = LOAD_INTERVALS_MAX;
    if (options->duration_ns != WEIR_NEVER &&
        options->duration_ns / options->interval_ns + 1 < intervals)
        intervals = options->duration_ns / options->interval_ns + 1;
    times_begin(&result->times);
    result->interval_room = (unsigned)intervals;
    result->intervals = weir__pages_alloc(intervals * sizeof *result->intervals);
    result->rows = weir__zalloc(load->loop_count * sizeof *result->rows);
    if (result->intervals != NULL && result->rows != NULL)
        return result;
    weir_load_free(&result->told);
    return NULL;
}

void weir_load_free(weir_load_result *told)
{
    struct load_result *result = (struct load_result *)(void *)told;
    if (result == NULL)
        return;
    weir__pages_free(result->intervals, result->interval_room * sizeof *result->intervals);
    weir__free(result->rows);
    weir__pages_free(result, sizeof *result);
}

static int load_perform(struct load *load, struct load_result **out, const struct load_why *why)
{
    int result = load_plan_make(load, why);
    weir__random_bytes(&load->id, sizeof load->id);
    if (result == 0)
        result = load_sources_make(load, why);
    struct load_result *made = result == 0 ? result_make(load) : NULL;
    if (result == 0 && made == NULL)
        result = load_fail(why, WEIR_ENOMEM, "out of memory");
    for (unsigned i = 0; i < load->loop_count && result == 0; i++)
        result = loop_make(load, i, why);
    if (result == 0)
        load_marker_begin(load);
    if (result == 0)
        result = threads_start(load, why);
    if (result == 0)
        result = connect_phase(load, &made->told.connect_phase_ns, why);
    if (result == 0)
        load_phase(load, made);
    else if (load->loops[0] != NULL)
        stop_all(load);
    threads_join(load);
    if (result == 0)
        sum_up(load, made);
    else if (made != NULL)
        weir_load_free(&made->told);
    *out = result == 0 ? made : NULL;
    return result;
}

int weir__load_run(const weir_load_options *options, size_t size, weir_load_result **out, char *why,
                   size_t why_size)
{
    struct load_why reason = {why, why_size};
    struct load_result *result = NULL;
    pthread_condattr_t monotonic;
    if (why_size != 0)
        why[0] = '\0';
    struct load *load = weir__zalloc(sizeof *load);
    if (load == NULL)
        return load_fail(&reason, WEIR_ENOMEM, "out of memory");
    atomic_store(&stopping, false);
    memcpy(&load->options, options, size < sizeof load->options ? size : sizeof load->options);
    load_options_default(&load->options);
    load->loop_count = load->options.loops;
    pthread_mutex_init(&load->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&load->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = load_options_check(&load->options, &reason);
    load->loops = code == 0 ? weir__zalloc(load->loop_count * sizeof(struct load_loop *)) : NULL;
    load->window = weir__pages_alloc(sizeof *load->window);
    if (code == 0 && (load->loops == NULL || load->window == NULL))
        code = load_fail(&reason, WEIR_ENOMEM, "out of memory");
    if (code == 0) {
        histogram_clear(load->window);
        code = load_perform(load, &result, &reason);
    }
    for (unsigned i = 0; load->loops != NULL && i < load->loop_count; i++)
        loop_free(load->loops[i]);
    weir__free(load->loops);
    weir__pages_free(load->window, sizeof *load->window);
    load_plan_free(load);
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->mutex);
    weir__free(load);
    *out = result != NULL ? &result->told : NULL;
    return code;
}
