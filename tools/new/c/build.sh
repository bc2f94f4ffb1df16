#!/bin/sh
# Makes my_tool.wasm. It needs clang and lld, of any version that knows wasm32 (Debian: clang-19 lld-19).
set -eu
cd "$(dirname "$0")"
"${CC:-clang-19}" --target=wasm32 -O2 -Wall -Wextra -nostdlib -ffreestanding -mbulk-memory \
  -Wl,--no-entry -Wl,--strip-all -o my_tool.module.wasm tool.c
"${GPAK:-gpak}" tools componentize my_tool.module.wasm -o my_tool.wasm
rm my_tool.module.wasm
