#include "sim/check/prog.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Only the driver for real kernels has these. */
__attribute__((weak)) void sim_real_loop(weir_loop *loop);
__attribute__((weak)) void sim_real_run(weir_loop *loop);
__attribute__((weak)) void sim_real_address(char *text, size_t size, unsigned host);

bool prog_real(void)
{
    return sim_real_run != NULL;
}

static void on_term(weir_watch *watch, int number, void *arg)
{
    weir_loop_stop(arg);
}

static void each_turn(weir_loop *loop, void *arg)
{
    struct check_loop *cl = check_loop_named(arg, loop);
    if (cl != NULL)
        check_turn(cl);
}

struct check_loop *prog_loop(struct check *check, const weir_loop_options *options)
{
    weir_loop *loop;
    int result = weir_loop_new(&loop, options);
    if (result < 0) {
        sim_check(sim_fault_on(SIM_FAULT_NO_MEMORY) || sim_fault_on(SIM_FAULT_SOCKET_ERROR),
                  "K11.loop: a loop while nothing is scarce; %s", weir_error_name(result));
        return NULL;
    }
    struct check_loop *cl = check_loop_new(check, loop, options);
    sim_host_each_turn(sim_host_self(), each_turn, check);
    if (prog_real()) {
        sim_real_loop(loop);
        return cl;
    }
    weir_watch *term = check_watch(cl);
    prog_enter(cl);
    result = weir_signal(term, SIGTERM, on_term, loop);
    if (result < 0)
        sim_fail("K15.signal: a signal is watched; %s", weir_error_name(result));
    prog_leave();
    return cl;
}

void prog_enter(struct check_loop *cl)
{
    weir_loop_enter(check_loop_of(cl));
}

void prog_leave(void)
{
    weir_loop_enter(NULL);
}

void prog_turn(struct check_loop *cl)
{
    weir_loop *loop = check_loop_of(cl);
    if (prog_real())
        sim_real_run(loop);
    else
        sim_check(weir_loop_run(loop) == 0, "K9.run: a loop runs until it is stopped; an error");
}

void prog_free(struct check_loop *cl)
{
    check_loop_free(cl);
}

void prog_run(struct check_loop *cl)
{
    prog_turn(cl);
    prog_free(cl);
}

void prog_stop(struct check_loop *cl)
{
    weir_loop_stop(check_loop_of(cl));
}

void prog_begin(void)
{
    static const enum sim_fault lasting[] = {
        SIM_FAULT_RESET,      SIM_FAULT_FIN_RESET,  SIM_FAULT_CONNECT_ERROR, SIM_FAULT_ACCEPT_ERROR,
        SIM_FAULT_SEND_ERROR, SIM_FAULT_RECV_ERROR, SIM_FAULT_SOCKET_ERROR,  SIM_FAULT_NO_MEMORY,
        SIM_FAULT_FILE_ERROR, SIM_FAULT_FILE_SHORT, SIM_FAULT_PORTS,         SIM_FAULT_THREAD_ERROR,
    };
    if (!sim_chance(1, 3))
        return;
    for (unsigned i = 0; i < sizeof lasting / sizeof *lasting; i++)
        sim_fault_forbid(lasting[i]);
}

weir_loop_options prog_options(bool patient)
{
    weir_loop_options o = {.stall_ms = 60000};
    if (sim_chance(2, 3))
        o.receive_block_bytes = 1024u << sim_random(7);
    if (sim_chance(2, 3))
        o.receive_blocks = 1u << sim_random(6);
    if (!patient && sim_chance(1, 6))
        o.memory_max_bytes = 64u << (10 + sim_random(6));
    return o;
}

/* Of no deadline, a short or a long one. */
static uint32_t span_ms(bool patient, uint32_t least)
{
    /* Only a deadline ends the wait for a peer that is gone without a word. */
    uint32_t off = sim_can_break() ? 0 : WEIR_OFF;
    if (patient)
        return sim_chance(1, 2) ? off : 0;
    switch (sim_random(4)) {
    case 0:
        return off;
    case 1:
        return 0;
    default:
        return (uint32_t)sim_between(least, least * 20);
    }
}

void prog_service(weir_service *s, const weir_loop_options *options, bool patient)
{
    uint32_t block = options->receive_block_bytes != 0 ? options->receive_block_bytes : 1u << 20;
    if (sim_chance(1, 2))
        s->soft_mark_bytes = (uint32_t)sim_between(1, 1) << sim_between(8, 16);
    uint32_t mark = s->soft_mark_bytes != 0 ? s->soft_mark_bytes : 64u << 10;
    if (options->receive_block_bytes != 0 && !prog_real() && sim_chance(1, 2))
        s->hard_cap_bytes = mark + (64u << 10) + (uint32_t)sim_size(65536);
    else if (block + mark > 1u << 20) /* a block of any size fits above the mark */
        s->hard_cap_bytes = mark + (1u << 20) + (uint32_t)sim_size(65536);
    s->first_byte_ms = span_ms(patient, 20);
    s->idle_ms = span_ms(patient, 20);
    s->write_ms = span_ms(patient, 20);
    s->connect_ms = span_ms(patient, 20);
    s->linger_ms = patient ? 0 : span_ms(patient, 5);
    if (s->linger_ms == WEIR_OFF || s->write_ms == WEIR_OFF)
        s->linger_ms = 0; /* or a peer that stays silent would stay for ever */
    if (sim_chance(1, 4))
        s->reader_idle_ms = (uint32_t)sim_between(5, 300);
    if (sim_chance(1, 4))
        s->writer_idle_ms = (uint32_t)sim_between(5, 300);
    if (sim_chance(1, 4))
        s->both_idle_ms = (uint32_t)sim_between(5, 300);
    if (!patient && sim_chance(1, 4))
        s->read_on = WEIR_READ_ALWAYS;
}

size_t prog_size(struct check *check)
{
    unsigned most = sim_fault_on(SIM_FAULT_SMALL_WINDOW) ? 10 : 15;
    return (size_t)check_random(check, 1ull << (4 + check_random(check, most)));
}

const char *prog_url(char *text, size_t size, unsigned host, unsigned port)
{
    char address[64];
    enum { REAL_PORTS = 13000 }; /* others have servers near 7000 */
    if (prog_real()) {
        sim_real_address(address, sizeof address, host);
        port += REAL_PORTS;
    } else {
        snprintf(address, sizeof address, "10.0.0.%u", host);
    }
    snprintf(text, size, "tcp://%s:%u", address, port);
    return text;
}

sim_host *prog_host(const char *name, unsigned number, int (*main)(void *arg), void *arg)
{
    char address[32];
    snprintf(address, sizeof address, "10.0.0.%u", number);
    return sim_host_new(name, address, main, arg);
}

void prog_start(sim_host *host, const bool *ready)
{
    sim_faults_stop();
    sim_host_start(host);
    for (int i = 0; !*(const volatile bool *)ready; i++) {
        sim_check(i < 10000 && sim_host_running(host), "start: %s begins; it does not",
                  sim_host_name(host));
        sim_sleep(WEIR_MS);
    }
    sim_faults_go_on();
}

void prog_wait(sim_host *host, uint64_t ns)
{
    sim_check(sim_host_wait(host, ns), "progress: %s ends within %llu ms; it does not",
              sim_host_name(host), (unsigned long long)(ns / WEIR_MS));
}

void prog_kill(struct check *check, sim_host *host, enum sim_kill how)
{
    if (!prog_real()) /* there it ends in order: a thread cannot be killed */
        check_killed(check, host);
    sim_host_kill(host, how);
}

void prog_end(sim_host *host)
{
    sim_host_signal(host, SIGTERM);
    prog_wait(host, 60 * WEIR_S);
}
