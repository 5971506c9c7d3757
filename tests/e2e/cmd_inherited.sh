#!/usr/bin/env bash
# ctest: timeout=200 threads
# Sockets that weir serve is started with, as a service manager does it, and what it tells that one.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll
