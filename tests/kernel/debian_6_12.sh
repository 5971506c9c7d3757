#!/usr/bin/env bash
# ctest: timeout=300
# A slice of the contracts' tests, and bad links, under Debian's kernel 6.12.
if ! command -v python3 >/dev/null; then
    echo "skip: no python3, which boots the virtual machine"
    exit 77
fi
exec python3 "$(dirname "$0")/boot.py" 6.12 --slice
