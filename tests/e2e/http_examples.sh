#!/usr/bin/env bash
# ctest: timeout=120
# The examples of docs/guide/http.md, as their own comments say.
set -u
bin=${WEIR_BIN:?}/examples
temporary=$(mktemp -d)
passed=0 failed=0 pid=
trap 'test -z "$pid" || kill -KILL "$pid" 2>/dev/null; rm -rf "$temporary"' EXIT

check() { # check NAME EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'failed: %s on %s\n  expected: %q\n  was:      %q\n' "$1" "$WEIR_BACKEND" "$2" "$3"
    fi
}

start() { # start NAME
    rm -f "$temporary/socket"
    "$bin/$1" "unix:$temporary/socket" 2>"$temporary/errors" &
    pid=$!
    for _ in $(seq 200); do
        [ -S "$temporary/socket" ] && return 0
        sleep 0.05
    done
    echo "failed: $1 does not listen"
    failed=$((failed + 1))
}

stop() { # stop NAME: a clean end after TERM
    kill -TERM "$pid"
    wait "$pid"
    check "$1 ends in order" "0 " "$? $(cat "$temporary/errors")"
    pid=
}

head -c 3000000 /dev/zero >"$temporary/zeros"
curl=(curl -s -m 20 --unix-socket "$temporary/socket")

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    start plain
    check 'later' 'after 20 ms' "$("${curl[@]}" http://x/later/20)"
    check 'sum' '3 bytes, sum 00017862' "$("${curl[@]}" --data-binary abc http://x/sum)"
    check 'large' '3000000 bytes, sum 00000000' \
        "$("${curl[@]}" -H Expect: --data-binary "@$temporary/zeros" http://x/sum)"
    check 'continued' '3000000 bytes, sum 00000000' \
        "$("${curl[@]}" -H 'Expect: 100-continue' --data-binary "@$temporary/zeros" http://x/sum)"
    check 'nothing' '0 bytes, sum 00000000' "$("${curl[@]}" -X POST http://x/sum)"
    stop plain
    start events
    check 'events' $'id: 1\ndata: tick\n\nid: 2\ndata: tick' \
        "$("${curl[@]}" -N 'http://x/events?ms=20&count=2')"
    check 'a listener that leaves' $'id: 1\ndata: tick' \
        "$("${curl[@]}" -N http://x/events?ms=20 | head -2)"
    stop events
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
