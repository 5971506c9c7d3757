# bash completion for weir(1)

# The values that an option takes, or nothing; 1 if it takes none.
_weir_values()
{
    case $1 in
    --backend) echo auto uring epoll poll select ;;
    --shape) echo threads acceptor single processes ;;
    --spread) echo round-robin least-conns source-hash ;;
    --overload) echo answer reset leave ;;
    --access-format) echo combined common json ;;
    --tls-min | --tls-max) echo 1.2 1.3 ;;
    --listen) echo http://127.0.0.1:8080 http://:80 unix: ;;
    --features | --loops | --header | --idle | --header-timeout | --body-timeout | \
        --write-timeout | --max-body | --max-conns | --accept-rate | --handshake-rate | --hsts | --workers | --memory | --drain | --limit | --interval) ;;
    --find | --fail-if) echo 'p99<5ms' 'p99>5ms' 'errors>0' 'rps<10k' ;;
    --answer | --beat | --bitrate | --body | --bytes | --connections | --duration | --end | \
        --life | --method | --parallel | --pipeline | --ramp | --rate | --rate-per-conn | \
        --repeat | --request | --requests | --size | --source | --threads | --timeout | \
        --warmup | --weights) ;;
    --pin | --server-name | --alpn | --group | --user) ;;
    --client | --port | --bind | --time | --blockcount | --omit | --length | --window | --tos | \
        --title | --connect-timeout) ;;
    --congestion) echo cubic bbr reno ;;
    *) return 1 ;;
    esac
}

_weir_options()
{
    case $1 in
    serve) echo --listen --backend --features --shape --loops --workers --user --group \
        --one-listener --spread --pin --cert --key --ocsp --ticket-keys --handshake-pool \
        --handshake-rate --tls --client-ca --redirect --hsts --tls-min --listing --hidden \
        --symlinks --no-precompressed --header --idle --header-timeout --body-timeout \
        --write-timeout --max-body --max-conns --overload --accept-rate --memory --drain --access-log --access-format --ctl \
        --quiet --verbose --help ;;
    ctl) echo --socket --json --limit --interval --help ;;
    backends) echo --json --features --help ;;
    cert) echo --out --ca --ca-key --name --days --client --help ;;
    limits | version) echo --json --help ;;
    esac
}

# The options of a kind of load.
_weir_bench_options()
{
    local load='--connections --duration --requests --threads --warmup --ramp --timeout --reset --source'
    local rate='--rate --rate-per-conn --poisson --find'
    local result='--repeat --fail-if --strict --json --json-stream --hgrm --svg --interval --latency
        --quiet --backend --features --help'
    local tls='--cacert --insecure --pin --server-name --resume --tls-min --tls-max --alpn --cert --key
        --hgrm-handshake'
    case $1 in
    http) echo "$load" "$rate" "$tls" "$result" --method --header --body --body-file --pipeline \
        --weights --close --unix ;;
    udp) echo "${load/--reset /}" "$rate" "$result" --size --answer --pipeline --plain --parallel \
        --reverse --bidir --bytes --bitrate ;;
    tcp) echo "$load" "$rate" "$tls" "$result" --size --answer --pipeline --plain --parallel \
        --reverse --bidir --bytes --bitrate ;;
    unix) echo "$load" "$rate" "$result" --size --answer --pipeline --plain --parallel \
        --reverse --bidir --bytes --bitrate ;;
    conns) echo "$load" "$tls" "$result" --beat --size --life --prove ;;
    raw) echo "$load" "$rate" "$tls" "$result" --request --request-file --end --end-file --answer --pipeline \
        --close ;;
    serve) echo --listen --cert --key --tls --threads --backend --features --quiet --help ;;
    iperf3) echo --server --client --port --bind --version4 --version6 --interval --json --one-off \
        --udp --parallel --reverse --bidir --time --bytes --blockcount --omit --bitrate --length \
        --window --congestion --tos --title --no-delay --udp-counters-64bit --get-server-output \
        --connect-timeout --backend --features --help ;;
    compare) echo --json --help ;;
    esac
}

_weir()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]-} choices=
    COMPREPLY=()

    # bash takes "--backend=ep" for three words.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    if ((COMP_CWORD == 1)); then
        choices='serve bench ctl cert backends limits version help --help --version'
    elif [[ $command == bench ]] && ((COMP_CWORD == 2)); then
        choices='http tcp udp unix conns raw serve iperf3 compare --help'
    elif [[ $before == --access-log || $before == --ctl || $before == --socket ||
        ($command == bench && ${COMP_WORDS[2]} != iperf3 && $before =~ ^--(json|json-stream|hgrm|hgrm-handshake|cacert|cert|key|svg|body-file|request-file|end-file|unix)$) ]]; then
        compopt -o filenames 2>/dev/null || true
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    elif [[ $command != backends ]] && choices=$(_weir_values "$before"); then
        : # the values of the option before it, or none that could be offered
    elif [[ $word == -* ]]; then
        choices=$(_weir_options "$command")
        [[ $command == bench ]] && choices=$(_weir_bench_options "${COMP_WORDS[2]}")
    else
        case $command in
        serve)
            compopt -o filenames 2>/dev/null || true
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return
            ;;
        ctl) choices='stats connections loops plan limits log-level drain' ;;
        bench)
            case ${COMP_WORDS[2]} in
            tcp | unix) choices='rr crr stream' ;;
            udp) choices='rr stream' ;;
            http | conns) choices='http://127.0.0.1:8080/' ;;
            compare)
                compopt -o filenames 2>/dev/null || true
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
                ;;
            esac
            ;;
        help) choices='serve bench ctl cert backends limits version' ;;
        esac
        [[ $before == log-level ]] && choices='error warn info debug off'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}
complete -F _weir weir
