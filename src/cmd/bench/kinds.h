/* The kinds of load: each is a command of its own behind "weir bench". */
#ifndef WEIR_CMD_BENCH_KINDS_H
#define WEIR_CMD_BENCH_KINDS_H

#include "cmd/bench/bench.h"

extern const struct command bench_http, bench_tcp, bench_udp, bench_unix, bench_conns, bench_raw,
    bench_serve, bench_compare, bench_iperf3;

#endif
