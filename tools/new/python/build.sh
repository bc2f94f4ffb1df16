#!/bin/sh
# Makes my_tool.wasm (18 MB: Python is in it). It needs componentize-py: pip install componentize-py
set -eu
cd "$(dirname "$0")"
"${COMPONENTIZE_PY:-componentize-py}" --wit-path wit --world pure-tool componentize app --output my_tool.wasm
