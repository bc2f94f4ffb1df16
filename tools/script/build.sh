#!/usr/bin/env bash
# Makes tools/script/script.wasm, the same bytes each time: QuickJS-ng from the crate rquickjs-sys, with script.c and
# prelude.js.
# Debian's clang-19, lld-19, wasi-libc and libclang-rt-19-dev-wasm32, and npm, are needed. What is made is
# written to the file that is named, or else in place of the one that is there. GPAK names a gpak to use,
# where there is one already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${1:-$here/script.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The sources, at this version, through cargo.
mkdir -p "$work/sources/src"
cat > "$work/sources/Cargo.toml" <<'TOML'
[package]
name = "sources"
version = "0.0.0"
edition = "2021"
[dependencies]
rquickjs-sys = "=0.14.0"
[workspace]
TOML
touch "$work/sources/src/lib.rs"
cargo metadata --quiet --format-version 1 --manifest-path "$work/sources/Cargo.toml" > "$work/metadata.json"
quickjs=$(python3 - "$work/metadata.json" <<'PY'
import json, pathlib, sys
packages = json.load(open(sys.argv[1]))["packages"]
manifest = next(p["manifest_path"] for p in packages if p["name"] == "rquickjs-sys")
print(pathlib.Path(manifest).parent / "quickjs")
PY
)
cp -r "$quickjs" "$work/quickjs"
cp "$here/script.c" "$here/prelude.js" "$work"

(cd "$work" && npm pack --silent @bytecodealliance/wizer-linux-x64@11.0.3 > /dev/null && tar xzf ./*.tgz && chmod +x package/wizer)

cd "$work"
clang-19 --target=wasm32-wasi -mexec-model=reactor -O2 -DNDEBUG -D_GNU_SOURCE -fno-strict-aliasing -mbulk-memory \
  -w -Iquickjs -Wl,--strip-all -Wl,-z,stack-size=1048576 -o core.wasm \
  script.c quickjs/quickjs.c quickjs/libregexp.c quickjs/libunicode.c quickjs/dtoa.c
package/wizer --init-func wizer-initialize --wasm-bulk-memory true core.wasm -o made.wasm
cd "$here/../.."
if [ -z "${GPAK:-}" ]; then
  cargo build --quiet --workspace --bin gpak
  GPAK="${CARGO_TARGET_DIR:-target}/debug/gpak"
fi
"$GPAK" tools componentize "$work/made.wasm" --world script -o "$out"
sha256sum "$out"
