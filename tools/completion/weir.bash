# bash completion for weir(1)

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
    else
        case $before in
        --backend) choices='auto uring epoll poll select' ;;
        --shape) choices='single threads acceptor' ;;
        --log-format) choices='common combined json' ;;
        --listen) choices='http://127.0.0.1:8080 http://[::]:80 unix:' ;;
        --access-log | --socket) compopt -o filenames 2>/dev/null || true
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        --loops | --header | --idle | --max-conns) return ;;
        esac
    fi
    if [[ -z $choices ]]; then
        case $command in
        serve) choices='--listen --backend --loops --shape --access-log --log-format --listing
            --header --idle --max-conns --quiet -v --help'
            if [[ $word != -* ]]; then
                compopt -o filenames 2>/dev/null || true
                mapfile -t COMPREPLY < <(compgen -d -- "$word")
                return
            fi ;;
        ctl) choices='stats connections plan limits drain log --socket --help' ;;
        backends | limits) choices='--json --help' ;;
        help) choices='serve ctl backends limits version' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}
complete -F _weir weir
