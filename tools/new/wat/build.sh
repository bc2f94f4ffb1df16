#!/bin/sh
# Makes my_tool.wasm. Nothing but gpak is needed.
set -eu
cd "$(dirname "$0")"
"${GPAK:-gpak}" tools componentize my_tool.wat -o my_tool.wasm
