#!/usr/bin/env bash
# Builds with counters, runs the suite, and tells what it reaches of base, io, loop, net and proto;
# --lines lists every line that was not run, --update writes the generated part of docs/coverage.md,
# --again counts anew without running the suite.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/packages.sh"
. "$root/tools/build.sh"

again='' options=()
for word in "$@"; do
    case $word in
    --lines) options+=(--lines) ;;
    --update) options+=(--update "$root/docs/coverage.md") ;;
    --again) again=yes ;;
    *)
        echo "usage: tools/coverage.sh [--lines] [--update] [--again]" >&2
        exit 64
        ;;
    esac
done
if [ -z "$again" ]; then
    need_packages "${build_packages[@]}" "${test_packages[@]}"
    build_all coverage
    find "$root/build/coverage" -name '*.gcda' -delete
    (cd "$root/build/coverage" && ctest -j "$(nproc)" -LE '^(install|slow)$' --output-on-failure) ||
        echo "coverage: some tests failed; what they reached is counted"
fi
exec python3 "$root/tools/coverage.py" "$root/build/coverage" "${options[@]}"
