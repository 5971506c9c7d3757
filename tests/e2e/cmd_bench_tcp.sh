#!/usr/bin/env bash
# ctest: timeout=600 processors=4 early
# weir bench tcp, unix, conns, raw and serve, and compare; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
