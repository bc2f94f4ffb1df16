//! Who a node is on the mesh, whom it trusts, and where it meets them.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use gpak_kernel::identity::{PublicKey, SecretKey};
use serde::Deserialize;

/// What is wrong with the mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A file cannot be had.
    #[error("{file}: {why}")]
    File {
        /// Its name.
        file: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is no configuration.
    #[error("{file} says not who is on the mesh: {why}")]
    Syntax {
        /// Its name.
        file: String,
        /// What is wrong, with the line.
        why: toml::de::Error,
    },
    /// The key's file holds no key.
    #[error("{file} holds no key: {why}; remove it, and a new one is made")]
    Key {
        /// Its name.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The network does not let it.
    #[error("the mesh cannot be joined: {0}")]
    Network(String),
}

/// A file that says who is on the mesh.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshConfig {
    /// What this node is called.
    pub name: String,
    /// The file of its secret key; it is made if it is not there.
    pub key: PathBuf,
    /// The public keys of the peers that are believed.
    #[serde(default)]
    pub trusted: Vec<PublicKey>,
    /// Where it listens, as `tcp/0.0.0.0:7447`. Left out with `connect`, peers find each other by
    /// multicast.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Where its peers listen.
    #[serde(default)]
    pub connect: Vec<String>,
    /// How far around a danger its warnings reach.
    #[serde(default = "default_radius")]
    pub warn_radius_m: f32,
}

fn default_radius() -> f32 {
    1.5
}

impl MeshConfig {
    /// From a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Self, MeshError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Err(why) => Err(MeshError::File { file, why }),
            Ok(text) => toml::from_str(&text).map_err(|why| MeshError::Syntax { file, why }),
        }
    }

    /// The key of this node.
    ///
    /// # Errors
    ///
    /// Its file cannot be read or made, or holds something else.
    pub fn secret(&self) -> Result<SecretKey, MeshError> {
        secret(&self.key)
    }
}

/// The key in a file, which only its owner can read; made if there is none.
///
/// # Errors
///
/// The file cannot be read or made, or holds something else.
pub fn secret(path: &Path) -> Result<SecretKey, MeshError> {
    let file = || path.display().to_string();
    let failed = |why| MeshError::File { file: file(), why };
    match std::fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|why| MeshError::Key { file: file(), why }),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|why| failed(std::io::Error::other(why)))?;
            let key = SecretKey::from_bytes(&bytes);
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o600).open(path);
            let written = opened.and_then(|mut to| writeln!(to, "{}", key.reveal()));
            written.map_err(failed)?;
            Ok(key)
        }
        Err(why) => Err(failed(why)),
    }
}
