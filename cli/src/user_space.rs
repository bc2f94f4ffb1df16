//! What the user has added to the tools that come with gpak.

use std::collections::BTreeSet;

use gpak_kernel::{
    context::READ_HISTORY,
    run::{child::Delegate, episodes::RECALL},
    tool::Tool as _,
};
use gpak_tools::{
    builtin::{self, Options},
    forge::{MAKE_TOOL, MadeStore},
    script::RUN_SCRIPT,
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

/// The tools that runs made, which run as those of `packages` do.
pub fn made(home: &Home, packages: &Packages) -> MadeStore {
    MadeStore::new(home.data.join("made"), packages.clone())
}

/// The names that tools of gpak's own have.
pub fn reserved(home: &Home) -> BTreeSet<String> {
    let tools = builtin::all(&options(home));
    let names = tools.iter().map(|tool| tool.spec().name.clone());
    let of_memory = ["remember", RECALL, "forget"].map(str::to_owned);
    let pin = builtin::pin_fact().spec().name.clone();
    let delegate = Delegate::default().spec().name.clone();
    let others = [
        RUN_SCRIPT.to_owned(),
        MAKE_TOOL.to_owned(),
        READ_HISTORY.to_owned(),
        pin,
        delegate,
    ];
    names.chain(others).chain(of_memory).collect()
}
