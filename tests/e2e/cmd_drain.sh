#!/usr/bin/env bash
# ctest: timeout=600 threads early
# Stopping under load: not one request whose connection was accepted is lost, on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
