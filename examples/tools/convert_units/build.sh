#!/bin/sh
# Makes convert_units.wasm. Either `rustup target add wasm32-unknown-unknown` was done, or, where that cannot be fetched,
# Debian's packages rustc-web, rust-web-src and lld-19 are there, whose compiler builds the standard library, too.
set -eu
cd "$(dirname "$0")"
target=wasm32-unknown-unknown
out=${CARGO_TARGET_DIR:-target}
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  cargo build --release --target $target --target-dir "$out"
elif [ -d /usr/lib/rustlib/src/rust/library ]; then
  # Nobody sees where a panic was, so the paths of this machine are left out.
  RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
    RUSTFLAGS=-Zlocation-detail=none cargo build --release --target $target --target-dir "$out" \
    -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
else
  echo "Rust cannot build for $target here: rustup target add $target" >&2
  exit 1
fi
"${GPAK:-gpak}" tools componentize "$out/$target/release/guest.wasm" -o convert_units.wasm
