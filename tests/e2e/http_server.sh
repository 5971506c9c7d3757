#!/usr/bin/env bash
# ctest: timeout=600 early
# The HTTP server as its clients see it, on every back end.
exec python3 "${WEIR_SOURCE:?}/tests/e2e/http_server.py"
