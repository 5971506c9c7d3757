#!/usr/bin/env bash
# ctest: timeout=300 threads
# weir bench over TLS: against weir serve, weir bench serve, openssl s_server and nginx.
. "$(dirname "$0")/lib_cmd.sh"
"$weir" serve --tls --listen http://127.0.0.1:0 2>&1 | grep -q 'without TLS' && skip "built without TLS"
on_backends uring epoll
