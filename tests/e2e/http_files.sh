#!/usr/bin/env bash
# ctest: timeout=600 early
# Static files and the access log, on every back end. Arguments: names of tests of http_files.py.
set -u
here=$(dirname "$0")
server=${WEIR_BUILD:?}/tests/e2e.fileserver

if ! command -v python3 >/dev/null; then
    echo "skip: no python3, which plays the clients"
    exit 77
fi
ulimit -n 4096 2>/dev/null
failed=0
for backend in ${WEIR_BACKENDS:-uring epoll poll select}; do
    echo "# $backend"
    if [ "$backend" = uring ] && ! "$server" / backend=uring check=1 2>/dev/null; then
        echo "no io_uring here"
        continue
    fi
    WEIR_BACKEND=$backend python3 "$here/http_files.py" "$server" "$@" || failed=1
done
exit $failed
