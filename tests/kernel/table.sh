#!/usr/bin/env bash
# ctest: timeout=60
# Every test, row and fault that docs/guide/causes.md names is there.
if ! command -v python3 >/dev/null; then
    echo "skip: no python3, which reads the table"
    exit 77
fi
exec python3 "$(dirname "$0")/table.py"
