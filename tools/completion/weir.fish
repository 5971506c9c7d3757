# fish completion for weir(1)

complete -c weir -f
complete -c weir -n __fish_use_subcommand -a serve -d 'serve files over HTTP'
complete -c weir -n __fish_use_subcommand -a ctl -d 'ask or tell a running server'
complete -c weir -n __fish_use_subcommand -a backends -d 'what this kernel offers, and why'
complete -c weir -n __fish_use_subcommand -a limits -d 'every bound and its default'
complete -c weir -n __fish_use_subcommand -a version -d 'the version'
complete -c weir -n __fish_use_subcommand -l help -d 'how to call it'

set -l serve '__fish_seen_subcommand_from serve'
complete -c weir -n $serve -a '(__fish_complete_directories)'
complete -c weir -n $serve -l listen -x -d 'address, as a URL; may be repeated'
complete -c weir -n $serve -l backend -x -a 'auto uring epoll poll select' -d 'what to wait with'
complete -c weir -n $serve -l loops -x -d 'number of event loops'
complete -c weir -n $serve -l shape -x -a 'single threads acceptor' -d 'how loops map to threads'
complete -c weir -n $serve -l access-log -r -d 'file, or - for standard output'
complete -c weir -n $serve -l log-format -x -a 'common combined json' -d 'form of the access log'
complete -c weir -n $serve -l listing -d 'list folders without index.html'
complete -c weir -n $serve -l header -x -d 'header field to add to each response'
complete -c weir -n $serve -l idle -x -d 'time after which an idle connection is closed'
complete -c weir -n $serve -l max-conns -x -d 'limit of connections'
complete -c weir -n $serve -l quiet -d 'no start-up line'
complete -c weir -n $serve -s v -d 'tell more'
complete -c weir -n $serve -l help -d 'how to call it'

complete -c weir -n '__fish_seen_subcommand_from ctl' -l socket -r -d 'the control socket'
complete -c weir -n '__fish_seen_subcommand_from ctl' -a 'stats connections plan limits drain log'
complete -c weir -n '__fish_seen_subcommand_from backends limits' -l json -d 'as JSON'
