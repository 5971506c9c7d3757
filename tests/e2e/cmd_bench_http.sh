#!/usr/bin/env bash
# ctest: timeout=600 processors=4 early
# weir bench http: what it sends, what it counts, how it tells it; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
