#!/usr/bin/env bash
# A run is a function of its seed: every event of it, in two runs and in two processes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seeds=${SIM_SAME_SEEDS:-200}
first=$("$here/run" --seeds "$seeds" --twice --hashes | grep -E '^[a-z_]+ 0x' | sort)
second=$("$here/run" --seeds "$seeds" --hashes | grep -E '^[a-z_]+ 0x' | sort)
if [ "$first" != "$second" ]; then
    echo "the events of some seeds differ from process to process:"
    diff <(echo "$first") <(echo "$second") | head -20
    exit 1
fi
echo "$(wc -l <<<"$first") runs were the same three times"
