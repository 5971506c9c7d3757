#!/usr/bin/env bash
# ctest: timeout=240
# Hosts that are silent, unreachable or far behind bad links, in network namespaces.
. "$(dirname "$0")/lib_lab.sh"
