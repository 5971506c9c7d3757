#!/usr/bin/env bash
# ctest: timeout=300 noasan notsan
# The switch, the stacks and the coroutines of aarch64: the same tests as on this machine, by a cross
# compiler, under an emulator. With and without the marks for branch targets (BTI), and unoptimised.
set -u
cd "${WEIR_SOURCE:?}" || exit 1

skip() {
    echo "skip: $*"
    exit 77
}

command -v aarch64-linux-gnu-gcc >/dev/null || skip "no aarch64-linux-gnu-gcc (gcc-aarch64-linux-gnu)"
[ -e /usr/aarch64-linux-gnu/include/stdio.h ] || skip "no C library for aarch64 (libc6-dev-arm64-cross)"
command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64 (qemu-user)"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
passed=0 failed=0

run() { # run THING FLAG...
    local thing=$1
    shift
    if ! aarch64-linux-gnu-gcc -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Wno-type-limits -Werror \
        -fno-omit-frame-pointer "$@" -Itests/cross -Iinclude -Isrc -Itests \
        -o "$temporary/$thing" "tests/unit/co/test_$thing.c" src/co/{co,stack,switch_ucontext}.c \
        src/co/switch_aarch64.S src/base/{alloc,assert,clock,env,log}.c -lm -pthread; then
        echo "failed: $thing $* does not build"
        failed=$((failed + 1))
        return
    fi
    # The emulator bounds no address space.
    if CROSS_WITHOUT=no_address_space_is_an_error timeout 120 qemu-aarch64 -cpu max \
        -L /usr/aarch64-linux-gnu "$temporary/$thing" >"$temporary/out" 2>"$temporary/errors"; then
        passed=$((passed + 1))
    else
        echo "failed: $thing $*, with $?"
        cat "$temporary/out" "$temporary/errors"
        failed=$((failed + 1))
    fi
}

run switch -O0 -mbranch-protection=standard
run switch -O2
run co -O2
run stack -O2
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
