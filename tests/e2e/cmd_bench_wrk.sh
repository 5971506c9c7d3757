#!/usr/bin/env bash
# ctest: timeout=100 serial
# weir bench http beside wrk, on the back end that it takes of itself.
. "$(dirname "$0")/lib_cmd.sh"
on_backends auto
