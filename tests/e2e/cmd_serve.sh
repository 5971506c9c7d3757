#!/usr/bin/env bash
# ctest: timeout=600 threads
# weir serve: what it says, what its options do, signals and logs; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
