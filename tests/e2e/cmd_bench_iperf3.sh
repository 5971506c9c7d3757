#!/usr/bin/env bash
# ctest: timeout=600 processors=4 early
# weir bench iperf3 against iperf3 itself, in both roles, and against those who are neither; on every
# back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll # what it shares with the others is tested by cmd_bench_tcp
