#!/usr/bin/env bash
# ./dev fuzz [all | TARGET...] [--seconds N | --runs N] [--keep]: fuzzes every target, or those
# named, for N seconds each (60), or for N inputs each. What is found is kept in build/fuzz/corpus;
# an input that breaks something is in build/fuzz/found, and belongs into tests/fuzz/corpus/TARGET
# together with the fix. --keep adds what reaches new code to tests/fuzz/corpus, made as small as it
# can be.
set -euo pipefail
shopt -s globstar
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/packages.sh"
. "$root/tools/build.sh"

seed=$((${WEIR_NTH_SEED:-0} + 1)) # 0 would be another one each time
names=() bound=(-max_total_time="${WEIR_FUZZ_S:-60}") keep='' results=''

wrong() {
    echo "fuzz: $1" >&2
    exit 64
}

number() {
    [[ ${2:-} =~ ^[0-9]+$ ]] || wrong "$1 needs a number"
}

while [ $# -gt 0 ]; do
    case $1 in
    --seconds) number "$1" "${2:-}" && bound=(-max_total_time="$2") && shift ;;
    --runs) number "$1" "${2:-}" && bound=(-runs="$2" -max_total_time=20 -seed="$seed") && shift ;;
    --keep) keep=yes ;;
    --results) results=${2:-} && shift ;; # a line for each target, for tools/report.py
    all) ;;
    -*) wrong "no option $1" ;;
    *) names+=("$1") ;;
    esac
    shift
done
if [ ${#names[@]} -eq 0 ]; then
    for source in "$root"/tests/fuzz/fuzz_*.c "$root"/tests/fuzz/*/fuzz_*.c; do
        name=${source##*/fuzz_}
        names+=("${name%.c}")
    done
fi
for name in "${names[@]}"; do
    compgen -G "$root/tests/fuzz/**/fuzz_$name.c" >/dev/null || wrong "no target \"$name\""
done

need_packages "${build_packages[@]}" "${clang_packages[@]}" libcmocka-dev
configure fuzz -DWEIR_TESTS=ON && compile fuzz weir_fuzz

# The address sanitizer's fixed shadow memory meets the kernel's random addresses now and then.
steady=()
setarch "$(uname -m)" -R true 2>/dev/null && steady=(setarch "$(uname -m)" -R)

broken=0
for name in "${names[@]}"; do
    target=("${steady[@]}" "$root/build/fuzz/tests/fuzz_$name")
    mine="$root/build/fuzz/corpus/$name" theirs="$root/tests/fuzz/corpus/$name"
    mkdir -p "$mine" "$theirs" "$root/build/fuzz/found"
    options=("${bound[@]}" -print_final_stats=1 -rss_limit_mb=2048 -timeout=60
        -artifact_prefix="$root/build/fuzz/found/$name-")
    [ -f "$root/tests/fuzz/$name.dict" ] && options+=(-dict="$root/tests/fuzz/$name.dict")
    echo "== fuzz $name"
    verdict=passed
    "${target[@]}" "${options[@]}" "$mine" "$theirs" >"$root/build/fuzz/$name.log" 2>&1 ||
        verdict=failed
    if [ "$verdict" = failed ]; then
        broken=$((broken + 1))
        grep -v -e NEW -e REDUCE -e pulse "$root/build/fuzz/$name.log" | tail -n 60
    else
        grep -h -e '^stat::number_of_executed_units' -e 'DONE' "$root/build/fuzz/$name.log" || true
        [ -z "$keep" ] || "${target[@]}" -merge=1 "$theirs" "$mine" 2>&1 | tail -n 1
    fi
    [ -z "$results" ] || printf 'clang\t%s\tfuzz.%s\t\n' "$verdict" "$name" >>"$results"
done
echo "${#names[@]} targets, $broken broken"
[ "$broken" -eq 0 ]
