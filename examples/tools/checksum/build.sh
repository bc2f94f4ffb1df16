#!/bin/sh
# Makes checksum.wasm. It needs clang and lld, of any version that knows wasm32 (Debian: clang-19 lld-19).
set -eu
cd "$(dirname "$0")"
"${CC:-clang-19}" --target=wasm32 -O2 -Wall -Wextra -nostdlib -ffreestanding -mbulk-memory \
  -Wl,--no-entry -Wl,--strip-all -o checksum.module.wasm tool.c
"${GPAK:-gpak}" tools componentize checksum.module.wasm -o checksum.wasm
rm checksum.module.wasm
