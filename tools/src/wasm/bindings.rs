//! What `tools/wit/tool.wit` says, in Rust.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "tool",
    imports: { default: async | trappable },
    exports: { default: async },
});
