# shellcheck shell=bash
# What the scripts that run examples share. Sourced.
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

listening() { # waits until something listens at unix:PATH
    for _ in $(seq 100); do
        [ -S "$1" ] && return 0
        sleep 0.05
    done
    echo "failed: nothing listens at $1"
    failed=$((failed + 1))
}

start() { # start NAME ARGS...
    "$bin/$1" "${@:2}" 2>"$temporary/errors" &
    pid=$!
    listening "$temporary/$1"
}

stop() { # stop NAME: a clean end after TERM
    kill -TERM "$pid"
    wait "$pid"
    check "$1 ends in order" 0 $?
    check "$1 says nothing" "" "$(cat "$temporary/errors")"
    pid=
}
