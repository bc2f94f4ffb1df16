//! Measures the embedded engine: `cargo run --release -p gpak-kernel --example engine -- MODEL.gguf`
//! prints its [`Figures`](gpak_kernel::model::embedded::Figures) as JSON.

use gpak_kernel::model::embedded::{Options, measure, share_cores};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    share_cores();
    let path = std::env::args_os().nth(1).ok_or("name a GGUF file")?;
    let figures = measure(path, Options::default())?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
