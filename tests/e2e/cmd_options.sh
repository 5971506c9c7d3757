#!/usr/bin/env bash
# The command line: help, versions, mistakes and their exit codes.
. "$(dirname "$0")/lib_cmd.sh"
exec python3 "$here/$name.py" "$weir"
