#!/usr/bin/env bash
# ctest: timeout=300 serial slow
# The million of ./dev bench, with 50 000 connections: more than the process may have descriptors on
# most machines, each asked twice, held, and closed, with none refused, reset or lost.
. "$(dirname "$0")/lib_cmd.sh"
WEIR_BIN=${WEIR_BIN:?} exec "$here/../../bench/million" --conns 50000 --loops 8 --rounds 0 --quiet 1
