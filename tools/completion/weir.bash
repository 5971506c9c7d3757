# bash completion for weir(1)

# The values that an option takes, or nothing; 1 if it takes none.
_weir_values()
{
    case $1 in
    --backend) echo auto uring epoll poll select ;;
    --shape) echo threads acceptor single ;;
    --spread) echo round-robin least-conns source-hash ;;
    --overload) echo answer reset leave ;;
    --access-format) echo combined common json ;;
    --listen) echo http://127.0.0.1:8080 http://:80 unix: ;;
    --features | --loops | --header | --idle | --header-timeout | --body-timeout | \
        --write-timeout | --max-body | --max-conns | --accept-rate | --memory | --drain | --limit | --interval) ;;
    *) return 1 ;;
    esac
}

_weir_options()
{
    case $1 in
    serve) echo --listen --backend --features --shape --loops --spread --pin --listing --hidden \
        --symlinks --no-precompressed --header --idle --header-timeout --body-timeout \
        --write-timeout --max-body --max-conns --overload --accept-rate --memory --drain --access-log --access-format --ctl \
        --quiet --verbose --help ;;
    ctl) echo --socket --json --limit --interval --help ;;
    backends) echo --json --features --help ;;
    limits | version) echo --json --help ;;
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
        choices='serve ctl backends limits version help --help --version'
    elif [[ $before == --access-log || $before == --ctl || $before == --socket ]]; then
        compopt -o filenames 2>/dev/null || true
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    elif [[ $command != backends ]] && choices=$(_weir_values "$before"); then
        : # the values of the option before it, or none that could be offered
    elif [[ $word == -* ]]; then
        choices=$(_weir_options "$command")
    else
        case $command in
        serve)
            compopt -o filenames 2>/dev/null || true
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return
            ;;
        ctl) choices='stats connections loops plan limits log-level drain' ;;
        help) choices='serve ctl backends limits version' ;;
        esac
        [[ $before == log-level ]] && choices='error warn info debug off'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}
complete -F _weir weir
