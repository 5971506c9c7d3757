#!/usr/bin/env bash
# ctest: timeout=240
# Flows that somebody forgets, ports that run out, floods, in network namespaces.
. "$(dirname "$0")/lib_lab.sh"
