#!/usr/bin/env bash
# Whatever the command's --help names, completion offers and the manual explains; and the other way
# round, so that neither tells of what is not there.
. "$(dirname "$0")/lib.sh"

weir=$WEIR_BIN/weir
[ -x "$weir" ] || skip "the command was not built"
. "$WEIR_SOURCE/tools/completion/weir.bash"

# The replies for the words given; the last one is being completed.
offered() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _weir
    printf '%s\n' "${COMPREPLY[@]}"
}

# The options that a help text explains: each begins a line.
flags_in() {
    sed -nE 's/^ +(-[a-zA-Z0-9], )?(--[a-z0-9-]+).*/\2/p' | sort -u
}

"$weir" --help >"$scratch/help" || fail "weir --help"
for command in $(offered weir '' | grep -v '^-'); do
    grep -qw "$command" "$scratch/help" || fail "weir --help does not name \"$command\""
done
for command in serve ctl cert backends limits version; do
    "$weir" "$command" --help >"$scratch/$command" 2>&1 || fail "weir $command --help"
    flags_in <"$scratch/$command" | grep -vx -e --help >"$scratch/helped" || true
    offered weir "$command" -- | grep -vx -e --help >"$scratch/offered" || true
    diff "$scratch/helped" <(sort -u "$scratch/offered") ||
        fail "weir $command --help (<) and bash completion (>) differ"
    for file in weir.fish _weir; do
        while read -r flag; do
            grep -qe "-l ${flag#--}\b" -e "$flag\b" "$WEIR_SOURCE/tools/completion/$file" ||
                fail "$file does not know $flag"
        done <"$scratch/helped"
    done
    page=$WEIR_SOURCE/docs/man/weir-$command.1
    [ -e "$page" ] || page=$WEIR_SOURCE/docs/man/weir.1
    while read -r flag; do
        grep -qe "\(Fl\|Ic\) -${flag#--}\b" "$page" || fail "$(basename "$page") does not explain $flag"
    done <"$scratch/helped"
done
for kind in http tcp udp unix conns raw serve iperf3 compare; do
    "$weir" bench "$kind" --help >"$scratch/$kind" 2>&1 || fail "weir bench $kind --help"
    flags_in <"$scratch/$kind" | grep -vx -e --help >"$scratch/helped" || true
    offered weir bench "$kind" -- | grep -vx -e --help >"$scratch/offered" || true
    diff "$scratch/helped" <(sort -u "$scratch/offered") ||
        fail "weir bench $kind --help (<) and bash completion (>) differ"
    while read -r flag; do
        for file in weir.fish _weir; do
            grep -qe "-l ${flag#--}\b" -e "$flag\b" "$WEIR_SOURCE/tools/completion/$file" ||
                fail "$file does not know $flag"
        done
        grep -qe "\(Fl\|Ic\) -${flag#--}\b" "$WEIR_SOURCE/docs/man/weir-bench.1" ||
            fail "weir-bench.1 does not explain $flag"
    done <"$scratch/helped"
done
grep -qx epoll <(offered weir serve --backend e) || fail "no values for --backend"
grep -qx epoll <(offered weir serve --backend = e) || fail "no values for --backend="
