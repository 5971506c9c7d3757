#!/usr/bin/env bash
# ctest: timeout=300 threads
# How connections are spread over loops, on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
