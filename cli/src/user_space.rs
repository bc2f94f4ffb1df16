//! What the user has added to the tools that come with gpak.

use gpak_tools::{
    builtin::Options,
    wasm::{self, Cache, Packages},
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

/// What the built-in tools are told of this user's house.
pub fn options(home: &Home) -> Options {
    let mut options = Options::new(home.undo());
    options.protected = home.protected();
    options
}
