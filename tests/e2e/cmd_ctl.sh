#!/usr/bin/env bash
# ctest: timeout=300 threads
# weir ctl against a running server, and the control socket itself, on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
