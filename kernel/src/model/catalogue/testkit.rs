//! A small real model for tests.

use std::path::{Path, PathBuf};

use super::{Catalogue, Network, Quiet, Store};

/// The model that tests run real inference with.
pub const SMALL_MODEL: &str = "embedded/smollm2-135m-instruct";

/// The folder that tests keep models in: `GPAK_TEST_MODELS`, or `gpak-test-models` in the target folder.
pub fn models_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("GPAK_TEST_MODELS") {
        return dir.into();
    }
    let is_target = |dir: &&Path| dir.join("CACHEDIR.TAG").is_file();
    let exe = std::env::current_exe().unwrap_or_default();
    let target = exe
        .ancestors()
        .skip(1)
        .find(is_target)
        .map(Path::to_path_buf);
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    target.unwrap_or_else(fallback).join("gpak-test-models")
}

/// The small model's file: fetched the first time (98 MB), found there from then on. Tests in several
/// processes may ask at once; one fetches and the others wait.
///
/// # Errors
/// Why it is not to be had, in words.
pub fn small_model() -> Result<PathBuf, String> {
    model(SMALL_MODEL)
}

/// Likewise the file of any model of the catalogue.
///
/// # Errors
/// As of [`small_model`].
pub fn model(id: &str) -> Result<PathBuf, String> {
    let catalogue = Catalogue::builtin().map_err(|error| error.to_string())?;
    let store = Store::new(catalogue, models_dir());
    let located = store.pull(id, &Network::default(), &mut Quiet);
    located
        .map(|located| located.path)
        .map_err(|error| error.to_string())
}
