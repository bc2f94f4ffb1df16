//! Makes a component of a core module, for a world of `tools/wit`:
//! `cargo run --example componentize -- WORLD MODULE COMPONENT`

use std::{env, error::Error, fs, path::Path};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(world), Some(module), Some(component)) = (args.next(), args.next(), args.next())
    else {
        return Err("usage: componentize WORLD MODULE COMPONENT".into());
    };
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (package, _) = resolve.push_dir(&wit)?;
    let world = resolve.select_world(&[package], Some(&world))?;
    let mut module = fs::read(module)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let made = ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()?;
    fs::write(component, made)?;
    Ok(())
}
