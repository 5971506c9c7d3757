# shellcheck shell=bash
# Read by the tests in network namespaces: runs the Python file of the same name.
set -u
here=$(dirname "$0")
name=$(basename "$0" .sh)
: "${WEIR_BIN:?}"

if ! command -v python3 >/dev/null; then
    echo "skip: no python3, which sets the networks up"
    exit 77
fi
exec python3 "$here/$name.py" "$@"
