#!/usr/bin/env bash
# ctest: timeout=400
# The mixed load of tests/soak for some seconds: every answer is right, and nothing is left behind.
# By hand for an hour: tests/soak/soak.py run build/release/bin/weir; docs/soak.md has its figures.
set -u
here=$(dirname "$0")
weir=${WEIR_BIN:?}/weir

skip() {
    echo "skip: $*"
    exit 77
}

[ -x "$weir" ] || skip "the command was not built"
command -v python3 >/dev/null || skip "no python3, which is the load"
backends=epoll
if "$weir" backends --json | tr -d ' \n' | grep '"backend":"uring","usable":true' >/dev/null; then
    backends="uring epoll"
fi
running=()
for backend in $backends; do
    python3 "$here/../soak/soak.py" run "$weir" --backend "$backend" \
        --seconds "${WEIR_SOAK_S:-8}" &
    running+=($!)
done
failed=0
for one in "${running[@]}"; do
    wait "$one" || failed=1
done
exit $failed
