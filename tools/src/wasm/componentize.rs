//! Components of core modules, for compilers that make nothing else.

use std::{borrow::Cow, path::Path};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::{PackageId, Resolve, SourceMap, WorldId};

use super::WasmError;

/// The text of the worlds that a tool can be of: `gpak:tool@0.1.0`.
pub const TOOL_WIT: &str = include_str!("../../wit/tool.wit");
/// The text of the world of interpreters, of the same package.
const SCRIPT_WIT: &str = include_str!("../../wit/script.wit");
/// The world of a module that brings none, where none is named. What is not imported of it is left out.
const WORLD: &str = "tool";
/// How Wasm and its components begin.
const WASM: &[u8] = b"\0asm";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Makes a component of a core module, which is Wasm or its text (WAT).
///
/// Which world it is for, it may say itself (what `wit-bindgen` makes does). Where it does not, or `wit`
/// or `world` is given, it is that world of the WIT in the folder `wit`: by default `tool` of gpak's own.
///
/// # Errors
/// If it is no core module, the world cannot be read or is not there, or the module is not what the
/// world wants, with the names of what is missing.
pub fn componentize(
    module: &[u8],
    wit: Option<&Path>,
    world: Option<&str>,
) -> Result<Vec<u8>, WasmError> {
    let mut module = parsed(module)?.into_owned();
    let brings_world = metadata::decode(&module).is_ok_and(|(stripped, _)| stripped.is_some());
    if wit.is_some() || world.is_some() || !brings_world {
        let (resolve, world) = select(wit, world.unwrap_or(WORLD))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|why| misfit(&why))?;
    }
    let encoder = ComponentEncoder::default().validate(true);
    let encoded = encoder
        .module(&module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|why| misfit(&why))
}

/// The module as Wasm.
fn parsed(module: &[u8]) -> Result<Cow<'_, [u8]>, WasmError> {
    let wasm = if module.starts_with(WASM) {
        Cow::Borrowed(module)
    } else {
        let parsed = wat::parse_bytes(module).map_err(|why| {
            WasmError::Component(format!("this is neither a Wasm module nor its text: {why}"))
        })?;
        Cow::Owned(parsed.into_owned())
    };
    if wasm.starts_with(COMPONENT) {
        return Err(WasmError::Component(
            "this is a component already; name it as `file` in its tool.toml".to_owned(),
        ));
    }
    Ok(wasm)
}

fn select(wit: Option<&Path>, world: &str) -> Result<(Resolve, WorldId), WasmError> {
    let mut resolve = Resolve::default();
    let package = match wit {
        Some(folder) => resolve
            .push_dir(folder)
            .map(|(package, _)| package)
            .map_err(|why| format!("{why:#}")),
        None => own(&mut resolve),
    };
    let package = package.map_err(|why| {
        let place = wit.unwrap_or(Path::new("gpak's own WIT")).display();
        WasmError::Component(format!("{place} cannot be read as WIT: {why}"))
    })?;
    let selected = resolve.select_world(&[package], Some(world));
    let selected = selected.map_err(|_| {
        let names = resolve.packages.get(package);
        let names = names.into_iter().flat_map(|package| package.worlds.keys());
        let names: Vec<_> = names.map(String::as_str).collect();
        WasmError::Component(format!(
            "there is no world {world}; there are {}",
            names.join(", ")
        ))
    })?;
    Ok((resolve, selected))
}

/// The package in `tools/wit`, of two files.
fn own(resolve: &mut Resolve) -> Result<PackageId, String> {
    let mut sources = SourceMap::default();
    sources.push_str("tool.wit", TOOL_WIT);
    sources.push_str("script.wit", SCRIPT_WIT);
    let group = sources.parse().map_err(|(_, why)| why.to_string())?;
    resolve.push_group(group).map_err(|why| why.to_string())
}

fn misfit(why: &impl std::fmt::Display) -> WasmError {
    let why = format!("{why:#}");
    let then = if why.contains("wasi_snapshot_preview1") {
        "; WASI of before components cannot be had: build it without WASI, or for WASI 0.2 (wasm32-wasip2)"
    } else {
        ""
    };
    WasmError::Component(format!(
        "the module is not what its world wants: {why}{then}"
    ))
}
