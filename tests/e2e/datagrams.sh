#!/usr/bin/env bash
# ctest: timeout=120
# The example udp-echo with a plain client, on every back end; and the programs of
# docs/guide/datagrams.md, which must compile as they stand there.
. "$(dirname "$0")/lib_examples.sh"

client() { python3 "$(dirname "$0")/datagrams.py" "$@"; }

udp_echo() { # udp_echo URL ARGS...: starts it; its lines go to $temporary/out
    "$bin/udp-echo" "$@" >"$temporary/out" 2>"$temporary/errors" &
    pid=$!
}

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    udp_echo unix-dgram:"$temporary/u"
    listening "$temporary/u"
    check 'unix' '100 of 100' "$(client "unix:$temporary/u" 100)"
    stop udp-echo
    check 'unix: counted' '100 in, 100 out' "$(cat "$temporary/out")"
    check 'unix: its name is removed' gone "$([ -e "$temporary/u" ] || echo gone)"
    port=$((20000 + RANDOM % 10000))
    udp_echo "udp://127.0.0.1:$port"
    check 'udp' '1000 of 1000' "$(client "127.0.0.1:$port" 1000)"
    stop udp-echo
    udp_echo "udp://:$port" 3
    check 'three loops, IPv4' '300 of 300' "$(client "127.0.0.1:$port" 300 many)"
    check 'three loops, IPv6' '300 of 300' "$(client "::1:$port" 300 many)"
    stop udp-echo
    check 'three loops: each served' 3 "$(grep -cv '^0 in' "$temporary/out")"
    check 'three loops: counted' 600 "$(awk '{ s += $1 } END { print s }' "$temporary/out")"
done

# What stands between ```c and ``` and includes a header is a program.
page=$WEIR_SOURCE/docs/guide/datagrams.md
awk -v to="$temporary/guide" '/^```c$/ { n++; on = 1; next } /^```$/ { on = 0 }
    on { print > (to n ".c") }' "$page"
WEIR_BACKEND=any programs=0
for source in "$temporary"/guide*.c; do
    grep -q '#include <weir/weir.h>' "$source" || continue
    programs=$((programs + 1))
    check "$(basename "$source") compiles" '' \
        "$("${CC:-cc}" -Wall -Wextra -Wno-unused-parameter -Werror -std=gnu17 \
            -I"$WEIR_SOURCE/include" -fsyntax-only "$source" 2>&1)"
done
check 'programs in the guide' yes "$([ "$programs" -ge 3 ] && echo yes)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
