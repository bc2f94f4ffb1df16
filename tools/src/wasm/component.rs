//! A component as bytes and as code, and what it imports.

use std::collections::BTreeSet;

use wasmtime::{Engine, component::types::ComponentItem};

use super::{Asks, WasmError, asks::Capability};

/// Larger components are not compiled, in bytes. Python's have 18 MB.
pub(crate) const COMPONENT_BYTES: usize = 48 * 1024 * 1024;

/// What there is at most, as code takes time to make.
const PACKAGE: &str = "gpak:tool/";
const VERSION: &str = "0.1";
/// Interfaces of WASI that the host has.
const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Whether these are the bytes of a component, and if not, what they are.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), WasmError> {
    let what = match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "it is a core module and not a component; `gpak tools componentize` makes one of it"
        }
        [0, b'a', b's', b'm', _, _, _, _, ..] => {
            "it is of a version of Wasm that this gpak does not know; build it for the component model"
        }
        [0, b'a', b's', b'm', ..] | [] => "it is cut short; build or copy it again",
        _ => "it is not Wasm; name the component that the build made",
    };
    Err(WasmError::Component(format!(
        "this is no component: {what}"
    )))
}

/// What a component imports of what can be granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Imports {
    pub(crate) capabilities: BTreeSet<Capability>,
    /// Names of the interfaces of ours.
    pub(crate) interfaces: BTreeSet<String>,
}

impl Imports {
    /// Reads them off the component's type.
    ///
    /// # Errors
    /// If there is something that no host here has.
    pub(crate) fn of(
        engine: &Engine,
        component: &wasmtime::component::Component,
    ) -> Result<Self, WasmError> {
        let ty = component.component_type();
        let mut all = Self::default();
        for (name, item) in ty.imports(engine) {
            if let Some(ours) = name.strip_prefix(PACKAGE) {
                let ComponentItem::ComponentInstance(instance) = item.ty else {
                    return Err(foreign(name));
                };
                let functions = instance.exports(engine).filter_map(|(name, item)| {
                    matches!(item.ty, ComponentItem::ComponentFunc(_)).then(|| name.to_owned())
                });
                all.add_ours(name, ours, &functions.collect::<Vec<_>>())?;
            } else if let Some(wasi) = name.strip_prefix("wasi:") {
                let package = wasi.split(['/', '@']).next().unwrap_or_default();
                if package == "http" {
                    return Err(WasmError::Component(format!(
                        "the component imports {name}, which gpak does not offer: requests go through \
                         gpak:tool/http, which knows what was granted and puts secrets in"
                    )));
                }
                let version = name.rsplit_once('@').map_or("", |(_, version)| version);
                if !WASI.contains(&package) || !version.starts_with("0.2.") {
                    return Err(foreign(name));
                }
                all.capabilities.insert(Capability::Wasi);
            } else {
                return Err(foreign(name));
            }
        }
        Ok(all)
    }

    fn add_ours(&mut self, name: &str, ours: &str, functions: &[String]) -> Result<(), WasmError> {
        let (interface, version) = ours.split_once('@').unwrap_or((ours, ""));
        if !version.starts_with(VERSION) {
            return Err(WasmError::Component(format!(
                "the component is for {name}, and this gpak has version {VERSION} of it; build the \
                 component again with the tool.wit of this version (gpak tools new makes a project with it)"
            )));
        }
        // An interface of which nothing is used, or only its types, gives nothing.
        if functions.is_empty() {
            return Ok(());
        }
        let needed: &[Capability] = match interface {
            "core" => &[],
            "http" => &[Capability::Http],
            "fs" => &[Capability::Files],
            "kv" => &[Capability::Values],
            "invoke-tool" => &[Capability::Invoke],
            _ => return Err(foreign(name)),
        };
        self.interfaces.insert(interface.to_owned());
        self.capabilities.extend(needed);
        if interface == "core" {
            self.capabilities
                .extend(functions.iter().filter_map(|name| match name.as_str() {
                    "now" => Some(Capability::Clock),
                    "random" => Some(Capability::Random),
                    "variable" => Some(Capability::Environment),
                    _ => None,
                }));
        }
        Ok(())
    }

    /// What it imports and `asks` does not have.
    pub(crate) fn beyond(&self, asks: &Asks) -> Vec<Capability> {
        let all = self.capabilities.iter().copied();
        all.filter(|capability| !asks.has(*capability)).collect()
    }
}

fn foreign(name: &str) -> WasmError {
    WasmError::Component(format!(
        "the component imports {name}, which gpak does not have: it is for another world; build it for one \
         of gpak:tool@0.1.0 (gpak tools new makes a project that does)"
    ))
}
