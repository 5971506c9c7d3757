#!/usr/bin/env bash
# ctest: timeout=240
# The examples that speak in packets, in network namespaces.
. "$(dirname "$0")/lib_lab.sh"
