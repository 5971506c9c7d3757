#!/usr/bin/env bash
# ./dev test: every stage, or those named. Each stage builds one preset and runs a part of the
# suite; all results are counted together by tools/report.py, whose last line is the verdict.
# "--kernel 6.1" is the stage kernel-6.1: the contracts' tests under that kernel, all of them.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/packages.sh"
. "$root/tools/build.sh"

stages=(release install asan tsan clang lint)
long_stages=(nth-full kernel-6.1 kernel-6.12)
results="$root/build/results"
# Most tests wait for time, sockets and clients far more than they compute. What computes asks for
# several of these places ("processors=" at a test's head), and so does what measures.
jobs=$(($(nproc) * 4))
prefix=()

# note STAGE passed|failed|skipped NAME [REASON]: one result that is no CTest test.
note() {
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$results/notes.tsv"
}

# suite STAGE PRESET [CTEST ARGUMENT...]: build the preset, then run the tests that match.
suite() {
    local stage=$1 preset=$2
    shift 2
    echo "== $stage: build"
    if ! build_all "$preset"; then
        note "$stage" failed build "build/$preset does not build"
        return
    fi
    note "$stage" passed build
    echo "== $stage: tests"
    (cd "$root/build/$preset" && "${prefix[@]}" ctest --output-on-failure --no-tests=ignore -j "$jobs" \
        --test-output-size-passed 1000000 --test-output-size-failed 1000000 \
        --output-junit "$results/$stage.xml" "$@")
    # CTest's exit code says no more than its results, except when it could not write any.
    [ -s "$results/$stage.xml" ] || note "$stage" failed ctest "no results"
    again "$stage" "$preset"
}

# again STAGE PRESET: the tests with real clients that failed run once more, one at a time. Their
# clients have patience in seconds, of which a machine with other work may take any number. Who
# passes then is told as unsteady; who fails again has failed. No other test gets a second chance.
again() {
    local stage=$1 preset=$2
    grep -q 'name="e2e\.[^>]*status="fail"' "$results/$stage.xml" 2>/dev/null || return 0
    echo "== $stage: those with real clients that failed, once more"
    (cd "$root/build/$preset" && "${prefix[@]}" ctest --output-on-failure --rerun-failed -FA . -L '^e2e$' \
        --test-output-size-failed 1000000 --output-junit "$results/$stage.again.xml")
}

# The sanitizers' fixed shadow memory meets the kernel's random addresses now and then, when these
# are drawn from 32 bits, as newer kernels do; without randomness it never does.
steady=()
setarch "$(uname -m)" -R true 2>/dev/null && steady=(setarch "$(uname -m)" -R)

# Under sanitizers the tests with real clients take two back ends: poll and select share the code of
# epoll, and the contracts' tests run on all of them.
#
# "slow" tests are long loads, which sanitizers only make longer. The switches of a back end change
# what the kernel does, not what threads share, so the thread sanitizer leaves out these variants. Of
# the tests with real clients it takes those in which loops meet (label "threads"), on two back ends.
stage_release() { suite release release -LE install; }
stage_install() { suite install release -L install; }
stage_asan() {
    local prefix=("${steady[@]}" env "WEIR_BACKENDS=uring epoll")
    suite asan asan -L '^(unit|conformance|e2e|nth)$' -LE '^(slow|noasan)$'
}
stage_tsan() {
    local prefix=("${steady[@]}" env "WEIR_BACKENDS=uring epoll")
    suite tsan tsan -L '^(unit|conformance|threads)$' -LE '^(slow|notsan|variant)$'
}

# Every call fails with every error, not a sample of them: some minutes.
stage_nth-full() {
    local prefix=("${steady[@]}" env WEIR_NTH_FULL=1)
    suite nth-full asan -L '^nth$'
}

# kernel VERSION: in a virtual machine without hardware support, ten to twenty minutes.
stage_kernel() {
    local stage=kernel-$1 code
    echo "== $stage: build"
    if ! build_all release; then
        note "$stage" failed build "build/release does not build"
        return
    fi
    echo "== $stage: tests"
    WEIR_BUILD="$root/build/release" "$root/tests/kernel/boot.py" "$1" \
        --results "$results/notes.tsv" | tee "$results/$stage.log"
    code=${PIPESTATUS[0]}
    case $code in
    0 | 1) grep -q "^$stage" "$results/notes.tsv" || note "$stage" failed boot "no results" ;;
    77) note "$stage" skipped boot "$(sed -n 's/^skip: //p' "$results/$stage.log" | head -1)" ;;
    *) note "$stage" failed boot "see above" ;;
    esac
}

stage_clang() {
    echo "== clang: build"
    if build_all clang; then
        note clang passed build
    else
        note clang failed build "build/clang does not build"
    fi
    echo "== clang: fuzz targets, a few inputs each"
    if ! { configure fuzz -DWEIR_TESTS=ON && compile fuzz weir_fuzz; }; then
        note clang failed fuzz "build/fuzz does not build"
        return
    fi
    "$root/tools/fuzz.sh" all --runs 4000 --results "$results/notes.tsv" ||
        echo "fuzz: see build/fuzz/found"
}

stage_lint() {
    echo "== lint"
    "$root/tools/lint.sh" --results "$results/notes.tsv" || true
}

# Samples are drawn anew with each commit.
WEIR_NTH_SEED=$((16#$(git -C "$root" rev-parse --short=6 HEAD 2>/dev/null || echo 0)))
export WEIR_NTH_SEED

named=()
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) named+=("kernel-${2:-}") && shift ;;
    --kernel=*) named+=("kernel-${1#--kernel=}") ;;
    *) named+=("$1") ;;
    esac
    shift
done
set -- "${named[@]}"
for stage in "$@"; do
    if [[ " ${stages[*]} ${long_stages[*]} " != *" $stage "* ]]; then
        echo "dev: no stage \"$stage\"; there are: ${stages[*]} ${long_stages[*]}" >&2
        exit 64
    fi
done
need_packages "${build_packages[@]}" "${test_packages[@]}" "${clang_packages[@]}" \
    "${lint_packages[@]}"
(need_packages "${machine_packages[@]}") || echo "dev: SKIPPED: tests under older kernels" >&2
(need_packages "${cross_packages[@]}") || echo "dev: SKIPPED: tests of aarch64's switch" >&2
rm -rf "$results"
mkdir -p "$results"
for stage in "${@:-${stages[@]}}"; do
    began_s=$SECONDS
    case $stage in
    kernel-*) stage_kernel "${stage#kernel-}" ;;
    *) "stage_$stage" ;;
    esac
    echo "== $stage: $((SECONDS - began_s)) s"
done
exec python3 "$root/tools/report.py" "$results"
