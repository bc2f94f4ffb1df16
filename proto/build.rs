//! Compiles the `.proto` files, with no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 3] = [
        "gpak/v1/identity.proto",
        "gpak/v1/control.proto",
        "gpak/v1/experience.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
