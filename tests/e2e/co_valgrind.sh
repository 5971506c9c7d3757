#!/usr/bin/env bash
# ctest: timeout=300 noasan notsan
# Straight-line programs under valgrind: it knows the stacks, finds nothing wrong and no leak. On epoll
# and poll: valgrind 3.19 hands no signal to a thread that waits in io_uring_enter.
set -u
bin=${WEIR_BIN:?}/examples
command -v valgrind >/dev/null || { echo "skip: no valgrind"; exit 77; }
[ -e /usr/include/valgrind/valgrind.h ] || { echo "skip: no <valgrind/valgrind.h>: stacks are not registered"; exit 77; }

temporary=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill -KILL "$pid" 2>/dev/null; rm -rf "$temporary"' EXIT
passed=0 failed=0

check() { # check NAME EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'failed: %s on %s\n  expected: %q\n  was:      %q\n' "$1" "$WEIR_BACKEND" "$2" "$3"
    fi
}

grind=(valgrind --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
    --log-file="$temporary/log")

clean() { # clean NAME: valgrind has found nothing, and believed no stack to have been switched
    check "$1 has no error" 0 "$(sed -n 's/.*ERROR SUMMARY: \([0-9,]*\) errors.*/\1/p' "$temporary/log")"
    check "$1 switches to stacks that valgrind knows" '' "$(grep -i 'switching stacks' "$temporary/log")"
    [ "$failed" -eq 0 ] || cat "$temporary/log"
}

echoes() { # several connections at once, each with a coroutine that waits in its receive and its send
    local clients=() i
    "${grind[@]}" "$bin/echo_co" "unix:$temporary/echo_co" &
    pid=$!
    for _ in $(seq 300); do
        [ -S "$temporary/echo_co" ] && break
        sleep 0.1
    done
    for i in 1 2 3 4 5 6; do
        timeout 60 nc -N -U "$temporary/echo_co" <"$temporary/in" >"$temporary/out.$i" &
        clients+=($!)
    done
    wait "${clients[@]}"
    for i in 1 2 3 4 5 6; do
        check "echo $i" same "$(cmp "$temporary/in" "$temporary/out.$i" && echo same)"
    done
    kill -TERM "$pid"
    wait "$pid"
    check 'echo_co ends in order' 0 $?
    pid=
    clean echo_co
    rm -f "$temporary/echo_co"
}

head -c 200000 /dev/urandom >"$temporary/in"
for backend in epoll poll; do
    export WEIR_BACKEND=$backend
    echoes
    # Scopes, channels, timers: many coroutines, which wait on one another.
    check rated '30 items, sum 465,' "$("${grind[@]}" "$bin/rated" 30 10000 1ms 2>/dev/null | sed 's/,[^,]*$/,/')"
    clean rated
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
