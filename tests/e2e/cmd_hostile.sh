#!/usr/bin/env bash
# ctest: timeout=900 early
# Clients that mean harm, or behave as if they did; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
