#!/usr/bin/env bash
# ctest: timeout=300
# The ten-line echo before peers that send for ever and do not read, on every back end.
. "$(dirname "$0")/lib_cmd.sh"
[ -x "${WEIR_BIN:?}/examples/echo" ] || skip "the examples were not built"
on_backends uring epoll poll select
