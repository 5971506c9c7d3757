#!/usr/bin/env bash
# ./dev fuzz: runs every fuzz target, or those named, for WEIR_FUZZ_S seconds each (60). What is
# found is kept in build/fuzz/corpus; an input that breaks something is in build/fuzz/found, and
# belongs into tests/fuzz/corpus/TARGET together with the fix.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/packages.sh"
. "$root/tools/build.sh"

need_packages "${build_packages[@]}" "${clang_packages[@]}" libcmocka-dev
build_all fuzz

names=("$@")
if [ $# -eq 0 ]; then
    for source in "$root"/tests/fuzz/fuzz_*.c; do
        [ -e "$source" ] && name=${source##*/fuzz_} && names+=("${name%.c}")
    done
fi
if [ ${#names[@]} -eq 0 ]; then
    echo "fuzz: there are no targets (tests/fuzz/fuzz_*.c)" >&2
    exit 69
fi
broken=0
for name in "${names[@]}"; do
    target="$root/build/fuzz/tests/fuzz_$name"
    if [ ! -x "$target" ]; then
        echo "fuzz: no target \"$name\"" >&2
        exit 64
    fi
    mkdir -p "$root/build/fuzz/corpus/$name" "$root/build/fuzz/found"
    folders=("$root/build/fuzz/corpus/$name")
    [ -d "$root/tests/fuzz/corpus/$name" ] && folders+=("$root/tests/fuzz/corpus/$name")
    options=(-max_total_time="${WEIR_FUZZ_S:-60}" -print_final_stats=1 -rss_limit_mb=2048
        -artifact_prefix="$root/build/fuzz/found/$name-")
    [ -f "$root/tests/fuzz/$name.dict" ] && options+=(-dict="$root/tests/fuzz/$name.dict")
    echo "== fuzz $name"
    "$target" "${options[@]}" "${folders[@]}" || broken=$((broken + 1))
done
echo "${#names[@]} targets, $broken broken"
[ "$broken" -eq 0 ]
