#!/usr/bin/env bash
# ctest: timeout=240
# Connecting through proxies: scripted ones, microsocks and tinyproxy; on every back end.
. "$(dirname "$0")/lib_cmd.sh"

program=${WEIR_BUILD:?}/tests/e2e.via
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
failed=0 pids=()
# All at once: they wait far more than they compute.
for backend in ${WEIR_BACKENDS:-uring epoll poll select}; do
    if [ "$backend" = uring ] &&
        ! "$weir" backends --json | tr -d ' \n' | grep '"backend":"uring","usable":true' >/dev/null; then
        echo "no io_uring here"
        continue
    fi
    WEIR_BACKEND=$backend python3 "$here/via.py" "$program" >"$temporary/$backend" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
for output in "$temporary"/*; do
    echo "# $(basename "$output")"
    cat "$output"
done

# The program of the guide compiles as it stands there.
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$WEIR_SOURCE/docs/guide/proxies.md" |
    "${CC:-cc}" -Wall -Wextra -Wno-unused-parameter -Werror -std=gnu17 -I"$WEIR_SOURCE/include" \
        -fsyntax-only -x c - || failed=1
exit $failed
