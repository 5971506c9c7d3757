#!/usr/bin/env bash
# ctest: timeout=120
# The examples of TLS, as their own comments say.
. "$(dirname "$0")/lib_examples.sh"

[ -x "$bin/tls-echo" ] || { echo "skip: built without TLS"; exit 77; }
command -v openssl >/dev/null || { echo "skip: no openssl"; exit 77; }
cert=$temporary/cert.pem key=$temporary/key.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$key" -out "$cert" \
    -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
port=$(python3 -c 'import socket as s; x=s.socket(); x.bind(("127.0.0.1",0)); print(x.getsockname()[1])')
url=127.0.0.1:$port

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    start tls-echo "$cert" "$key" "unix:$temporary/tls-echo tls://$url"
    check 'the client' $'TLS 1.3 with TLS_AES_128_GCM_SHA256\nhello' "$("$bin/tls-echo" "$cert" "tls://$url")"
    check 'openssl' hello "$( (echo hello; sleep 0.3) |
        openssl s_client -connect "$url" -CAfile "$cert" -verify_return_error -quiet -no_ign_eof 2>/dev/null)"
    other=$temporary/other.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null \
        -out "$other" -days 2 -subj /CN=other 2>/dev/null
    check 'not trusted' 1 "$("$bin/tls-echo" "$other" "tls://$url" 2>"$temporary/said"; echo $?)"
    check 'and says why' 1 "$(grep -c "peer's certificate was not accepted" "$temporary/said")"
    stop tls-echo
    start https-hello "$cert" "$key" "unix:$temporary/https-hello https://$url"
    check 'over TLS' 'Hello, you, with TLS_AES_128_GCM_SHA256!' \
        "$(curl -s --cacert "$cert" "https://localhost:$port/hello/you")"
    check 'beside it' 'Hello, you, with nothing to hide!' \
        "$(curl -s --unix-socket "$temporary/https-hello" http://x/hello/you)"
    stop https-hello
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
