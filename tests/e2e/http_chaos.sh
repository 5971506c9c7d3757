#!/usr/bin/env bash
# ctest: timeout=120
# Clients without manners against the HTTP server, a few seconds on each back end.
exec python3 "${WEIR_SOURCE:?}/tests/e2e/http_chaos.py"
