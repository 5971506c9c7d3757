#!/usr/bin/env bash
# ctest: timeout=120 serial noasan notsan
# The runner of ./dev bench: its arithmetic and its report on recorded results, and one very short
# comparison of two servers.
set -euo pipefail
: "${WEIR_BUILD:?}" "${WEIR_SOURCE:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bench"
bench=$WEIR_SOURCE/bench
cc=${CC:-cc}
flags=(-O2 -D_GNU_SOURCE)
"$cc" "${flags[@]}" "$bench"/load/{echo_load,client,account}.c -o "$scratch/bench/echo_load"
"$cc" "${flags[@]}" "$bench"/peers/bare/{echo_epoll,listen}.c -o "$scratch/bench/echo_epoll"
# shellcheck disable=SC2046
"$cc" "${flags[@]}" -I "$WEIR_SOURCE/include" "$bench/servers/weir_echo.c" \
    "$WEIR_BUILD/lib/libweir.a" -o "$scratch/bench/weir_echo" $(pkg-config --libs liburing) -lm -pthread
export WEIR_BIN=$scratch
# Over TLS the load is weir bench, beside these programs.
if [ -x "$WEIR_BUILD/bin/weir" ] && [ -e "$WEIR_BUILD/lib/libweir-tls.a" ]; then
    ln -s "$WEIR_BUILD/bin/weir" "$scratch/weir"
    # shellcheck disable=SC2046
    "$cc" "${flags[@]}" -I "$WEIR_SOURCE/include" "$bench/servers/weir_https.c" \
        "$WEIR_BUILD/lib/libweir-tls.a" "$WEIR_BUILD/lib/libweir.a" -o "$scratch/bench/weir_https" \
        $(pkg-config --libs liburing libssl libcrypto) -lm -pthread
fi
PYTHONDONTWRITEBYTECODE=1 python3 "$(dirname "$0")/bench_runner.py" "$scratch"
