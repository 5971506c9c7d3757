#!/usr/bin/env bash
# ctest: timeout=600 processors=4 early
# weir bench udp, and unix datagrams, against weir bench serve and other servers; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
on_backends uring epoll poll select
