#!/usr/bin/env bash
# ./dev lint: format, style rules, shell scripts, clang-tidy. With --results FILE each of them is
# also written there as a line for tools/report.py.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/packages.sh"
. "$root/tools/build.sh"

results=/dev/null
[ "${1:-}" = --results ] && results=$2
need_packages "${build_packages[@]}" "${clang_packages[@]}" "${lint_packages[@]}" libcmocka-dev
cd "$root" && mkdir -p build || exit 1
failed=0

# check NAME COMMAND...: runs it and notes how it ended; 77 is a skip.
check() {
    local name=$1 output code
    shift
    output=$("$@" 2>&1)
    code=$?
    case $code in
    0) echo "lint: $name: passed" && printf 'lint\tpassed\t%s\t\n' "$name" >>"$results" ;;
    77)
        echo "lint: $name: skipped: $output"
        printf 'lint\tskipped\t%s\t%s\n' "$name" "$output" >>"$results"
        ;;
    *)
        printf '%s\n' "$output"
        echo "lint: $name: FAILED"
        printf 'lint\tfailed\t%s\t\n' "$name" >>"$results"
        failed=1
        ;;
    esac
}

c_files() {
    git ls-files -co --exclude-standard "$@" | while read -r path; do
        [ -e "$path" ] && printf '%s\n' "$path"
    done
}

# The layout is clang-format 14's (Debian 12); another version has other opinions on a few lines.
check_format() {
    local version
    version=$(clang-format --version | sed -E 's/.*version ([0-9]+).*/\1/')
    if [ "$version" != 14 ]; then
        echo "clang-format is version $version, the layout is that of version 14"
        return 77
    fi
    c_files '*.c' '*.h' | xargs -r clang-format --dry-run 2>&1 |
        sed -nE 's/^([^ :]+):[0-9]+:[0-9]+: warning.*/\1/p' | sort | uniq -c >build/format.txt
    [ -s build/format.txt ] || return 0
    echo "lines that clang-format would change (./dev fmt does):"
    cat build/format.txt
    return 1
}

check_shell() {
    c_files dev .ci/run '*.sh' | xargs shellcheck -x
}

# clang-tidy reads each library and command source as clang compiles it. A file that passed and has
# not changed since, nor any header, nor the checks, is not read again: its stamp is newer.
tidy_file() {
    local source=$1 stamp="build/tidy/${1//\//,}.passed"
    [ -e "$stamp" ] && [ "$stamp" -nt "$source" ] && [ "$stamp" -nt build/tidy/newest ] && return
    clang-tidy -p build/clang --quiet "$source" 2>&1 | grep -Ev '^[0-9]+ warnings? generated' >"$stamp.tmp"
    if grep -q . "$stamp.tmp"; then
        cat "$stamp.tmp"
        return 1
    fi
    mv "$stamp.tmp" "$stamp"
}
export -f tidy_file

check_tidy() {
    configure clang -DWEIR_TESTS=ON -DWEIR_EXAMPLES=ON || return 1
    mkdir -p build/tidy
    # The newest of all headers and of the checks, whose time stands for any of them.
    cp -p "$(c_files '*.h' .clang-tidy | xargs -r ls -t | head -1)" build/tidy/newest
    c_files 'src/*.c' | xargs -r -P "$(nproc)" -I{} bash -c 'tidy_file {}'
}

check format check_format
check style python3 tools/style.py
check conformance python3 tools/conformance.py check
check causes python3 tools/causes.py
check shell check_shell
check tidy check_tidy
exit "$failed"
