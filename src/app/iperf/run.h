/* What client and server share around a test: options, addresses, being stopped. */
#ifndef WEIR_APP_IPERF_RUN_H
#define WEIR_APP_IPERF_RUN_H

#include "app/iperf/iperf.h"

/* Puts the defaults in place. 0, or an error with its cause. */
int iperf_options_check(weir_iperf_options *options, char *why, size_t why_size);
/* An address of this host without its port: "127.0.0.2", "::1". 0, or an error. */
int iperf_bind_address(const char *text, unsigned port, weir_address *out);
/* What new sockets are like, for the report. */
void iperf_socket_facts(struct iperf_test *test);
/* Between the two weir_iperf_stop stops the loop. */
void iperf_running_begin(weir_loop *loop);
void iperf_running_end(void);
bool iperf_running_stopped(void);

#endif
