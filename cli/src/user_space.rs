//! What the user has added to the tools that come with gpak.

use std::collections::BTreeSet;

use gpak_tools::{
    builtin::Options,
    wasm::{self, Cache, Offered, Packages},
};

use crate::home::Home;

/// Compiled code of components, which is trusted as far as the key in the user's data says.
pub fn code_cache(home: &Home) -> Cache {
    Cache::new(home.cache.join("wasm"), home.data.join("wasm-code.key"))
}

/// The packages that this user has added.
pub fn packages(home: &Home, builtin: Options) -> Packages {
    let dir = home.data.join("tools");
    Packages::new(wasm::Options::new(dir, code_cache(home), builtin))
}

/// The tools of these packages, but for those whose names are taken.
pub fn offered(home: &Home, builtin: &Options, taken: &BTreeSet<String>) -> Offered {
    packages(home, builtin.clone()).offer(taken)
}
