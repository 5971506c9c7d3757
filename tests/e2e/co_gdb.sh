#!/usr/bin/env bash
# ctest: timeout=300 noasan notsan
# Coroutines in gdb: a backtrace goes through the switch to the loop, and weir-gdb.py lists those that
# wait with their stacks: in a process, with a stripped library, and in a core file.
set -u
: "${WEIR_BUILD:?}" "${WEIR_SOURCE:?}"
command -v gdb >/dev/null || { echo "skip: no gdb"; exit 77; }
[ -z "${WEIR_SANITIZE:-}" ] || { echo "skip: gdb looks at the release build"; exit 77; }

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
passed=0 failed=0
cd "$temporary" || exit 1
ulimit -c unlimited 2>/dev/null

# has NAME REGEX...: these lines, in this order, maybe with others between.
has() {
    local name=$1 rest
    shift
    rest=$(cat "$temporary/out")
    for line; do
        if ! grep -qE -- "$line" <<<"$rest"; then
            echo "failed: $name: no line (or not in this order) that matches: $line"
            cat "$temporary/out"
            failed=$((failed + 1))
            return
        fi
        rest=$(sed -E "0,/${line//\//\\/}/d" <<<"$rest")
    done
    passed=$((passed + 1))
}

debug() { # debug COMMAND... -- PROGRAM...: what gdb says
    local commands=()
    while [ "$1" != -- ]; do
        commands+=(-ex "$1")
        shift
    done
    timeout 100 gdb -batch -nx -iex 'set debuginfod enabled off' -iex 'set width 0' \
        -x "$WEIR_SOURCE/tools/gdb/weir-gdb.py" "${commands[@]}" "${@:2}" >"$temporary/out" 2>&1
}

frame='^ +#[0-9]+ .* in '

debug 'break marker' run bt 'weir coroutines' bt continue -- "$WEIR_BUILD/tests/e2e.debugged"
if grep -qE 'ptrace|Operation not permitted' out; then
    cat out
    echo "skip: gdb may not trace here"
    exit 77
fi
has 'a backtrace from a coroutine to main' '^#0 .*marker \(number=.*42\)' '^#[0-9]+ .*looker ' \
    '^#[0-9]+ .*weir__switch_' '^#[0-9]+ .*weir_loop_turn' '^#[0-9]+ .*weir_loop_run' '^#[0-9]+ .*main '
has 'one that sleeps' '^1: sleeper .*loop 1, at 0x[0-9a-f]+, [0-9]+ of [0-9]+ bytes' \
    "${frame}weir_sleep \(until=" "${frame}nap \(hours=7\) at .*debugged.c:" \
    "${frame}sleeper \(arg=0x" '^2: '
has 'one that runs' '^2: looker .*in the scope "questions": runs now'
has 'one that waits for a channel' '^3: asker .*in the scope "questions"' "${frame}weir_chan_recv " \
    "${frame}asker " '^3 coroutines'
has 'the stack as before, and the program goes on' '^3 coroutines' '^#0 .*marker ' '^#[0-9]+ .*main ' '^done'

# As packages have it: the library without debug information, its names gone but the exported ones.
cp "$WEIR_BUILD"/lib/libweir.so.*.*.* . && strip --strip-unneeded libweir.so.*
ln -s libweir.so.* libweir.so && ln -s libweir.so.* "$(readelf -d libweir.so | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
"${CC:-cc}" -g -O2 -I"$WEIR_SOURCE/include" "$WEIR_SOURCE/tests/e2e/debugged.c" -o shared -L. -lweir || failed=$((failed + 1))
export LD_LIBRARY_PATH=$temporary
debug 'break marker' run bt 'weir coroutines 1' 'weir coroutines brief' 'weir coroutines 4' -- ./shared
has 'a backtrace through a stripped library' '^#0 .*marker ' '^#[0-9]+ .*looker ' '^#[0-9]+ .*weir_loop_turn' \
    '^#[0-9]+ .*main '
has 'coroutines of a stripped library' '^1: sleeper ' "${frame}weir_sleep " "${frame}nap \(hours=7\)" \
    "${frame}sleeper " '^1: sleeper ' '^2: looker ' '^3: asker ' '^3 coroutines' '^There are 3 coroutines'

if [[ $(cat /proc/sys/kernel/core_pattern) == core ]] && (./shared dies; true) >/dev/null 2>&1 && compgen -G 'core*' >/dev/null; then
    debug bt 'weir coroutines' -- ./shared core*
    has 'a core file' '^#[0-9]+ .*marker ' '^#[0-9]+ .*weir_loop_turn' '^1: sleeper ' "${frame}weir_sleep " \
        "${frame}nap \(hours=7\)" '^2: looker .*runs now' '^3: asker ' "${frame}weir_chan_recv|${frame}asker"
else
    echo "skip: core files are not written to the working directory here (kernel.core_pattern)"
fi

# Where there is nothing to be seen it says so.
debug 'weir coroutines' -- "$(command -v true)"
has 'no process' 'No (registers|stack|frame|process)|no weir'

cmake --install "$WEIR_BUILD" --prefix "$temporary/prefix" --component dev >/dev/null
if [ -s "$temporary/prefix/share/weir/weir-gdb.py" ]; then
    passed=$((passed + 1))
else
    echo "failed: weir-gdb.py is not installed"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
