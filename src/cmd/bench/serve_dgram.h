/* weir bench serve: loads in datagrams. */
#ifndef WEIR_CMD_BENCH_SERVE_DGRAM_H
#define WEIR_CMD_BENCH_SERVE_DGRAM_H

#include <weir/datagram.h>

/* For .datagram of the service. */
extern const weir_dgram_service serve_datagrams;

#endif
