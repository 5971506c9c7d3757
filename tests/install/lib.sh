# shellcheck shell=bash
# Read by the tests here: installs the build into a scratch prefix and runs the README's program.
set -euo pipefail
# With pipefail no "| grep -q" here: it ends at the first match, whoever still writes dies of SIGPIPE,
# and what was found counts as not found.

: "${WEIR_BUILD:?}" "${WEIR_SOURCE:?}"
scratch=$(mktemp -d)
server=
clean_up() {
    if [ -n "$server" ]; then
        kill -KILL "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

skip() {
    echo "skip: $*"
    exit 77
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Installs what was built into $prefix.
install_weir() {
    prefix=$scratch/prefix
    cmake --install "$WEIR_BUILD" --prefix "$prefix" >"$scratch/install.log" ||
        { cat "$scratch/install.log"; fail "cmake --install"; }
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name weir.pc)")
    LD_LIBRARY_PATH=$(dirname "$(find "$prefix" -name libweir.so)")
    export PKG_CONFIG_PATH LD_LIBRARY_PATH
}

# Writes the first C program of the README to $1, with a port that is free now in $port.
write_program() {
    port=$(python3 -c 'import socket as s; x=s.socket(); x.bind(("127.0.0.1",0)); print(x.getsockname()[1])')
    # shellcheck disable=SC2016
    sed -n '/^```c$/,/^```$/{/^```/!p; /^```$/q}' "$WEIR_SOURCE/README.md" |
        sed "s/127\.0\.0\.1:7000/127.0.0.1:$port/" >"$1"
    grep -q "127.0.0.1:$port" "$1" || fail "no program with the address 127.0.0.1:7000 in README.md"
}

# Runs $1 as a server: it must echo a line within five seconds, and end orderly when told to.
expect_echo() {
    local answer='' code=0
    "$@" >"$scratch/server.log" 2>&1 &
    server=$!
    for _ in $(seq 50); do
        answer=$( (echo hello; sleep 0.2) | nc -N -w 2 127.0.0.1 "$port" 2>/dev/null || true)
        [ -n "$answer" ] && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    if [ "$answer" != hello ]; then
        cat "$scratch/server.log"
        fail "$1 answered \"$answer\" instead of \"hello\""
    fi
    kill -TERM "$server"
    wait "$server" || code=$?
    server=
    [ "$code" -eq 0 ] || { cat "$scratch/server.log"; fail "$1 ended with $code after TERM"; }
}
