#!/usr/bin/env bash
# ctest: timeout=200 noasan notsan
# ./dev bench models: a very short comparison, its page, and everything that it shows.
set -euo pipefail
: "${WEIR_BIN:?}" "${WEIR_SOURCE:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bench"
ln -s "$WEIR_BIN/examples" "$scratch/examples"
load=$WEIR_SOURCE/bench/load
"${CC:-cc}" -O2 -D_GNU_SOURCE "$load/model_load.c" "$load/account.c" -o "$scratch/bench/model_load"
export WEIR_BIN=$scratch PYTHONDONTWRITEBYTECODE=1
python3 "$(dirname "$0")/models_bench.py" "$scratch"
