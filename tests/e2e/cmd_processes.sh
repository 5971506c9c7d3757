#!/usr/bin/env bash
# ctest: timeout=300 threads
# The shape processes: a master and its workers, on both first-class back ends.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll
