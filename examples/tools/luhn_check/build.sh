#!/bin/sh
# Makes luhn_check.wasm. Nothing but gpak is needed.
set -eu
cd "$(dirname "$0")"
"${GPAK:-gpak}" tools componentize luhn_check.wat -o luhn_check.wasm
