# shellcheck shell=bash
# Read by the tests of the command: runs the Python file of the same name, once or once a back end.
set -u
here=$(dirname "$0")
weir=${WEIR_BIN:?}/weir
name=$(basename "$0" .sh)

skip() {
    echo "skip: $*"
    exit 77
}

[ -x "$weir" ] || skip "the command was not built"
command -v python3 >/dev/null || skip "no python3, which plays the clients"
ulimit -n "$(ulimit -Hn)" 2>/dev/null

# on_backends NAME...: runs the Python file on each of them that this kernel has.
on_backends() {
    local backend failed=0
    for backend in ${WEIR_BACKENDS:-"$@"}; do
        echo "# $backend"
        if [ "$backend" = uring ] &&
            ! "$weir" backends --json | tr -d ' \n' | grep '"backend":"uring","usable":true' >/dev/null; then
            echo "no io_uring here"
            continue
        fi
        WEIR_BACKEND=$backend python3 "$here/$name.py" "$weir" || failed=1
    done
    return $failed
}
