#!/usr/bin/env bash
# ctest: timeout=240
# Killed without a word and started again under load: the address is bound at once, and no client
# waits beyond its deadline, on every back end.
. "$(dirname "$0")/../e2e/lib_cmd.sh"
export PYTHONPATH=$here/../e2e
on_backends uring epoll poll select
