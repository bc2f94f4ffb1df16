//! What was found out about models by asking them, remembered between processes.
//!
//! Whether a model really makes native tool calls cannot be read anywhere: catalogues and templates
//! say yes where it makes none. So it is asked once, with a harmless call, and the answer is kept in a
//! small file. A file that is gone or damaged only means that models are asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use serde::{Deserialize, Serialize};

/// Whose answer it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `openai` or `ollama`.
    pub provider: String,
    /// The server's address, without secrets.
    pub endpoint: String,
    /// The provider's name for the model.
    pub model: String,
    /// What changes when another model is served under that name; empty if the server says nothing.
    pub fingerprint: String,
}

impl Subject {
    fn key(&self) -> String {
        let Self {
            provider,
            endpoint,
            model,
            fingerprint,
        } = self;
        format!("{provider} {endpoint} {model} {fingerprint}")
            .trim_end()
            .to_owned()
    }
}

/// How a model is best asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    /// Whether it really makes native tool calls.
    pub native_tools: bool,
    /// How its text can be constrained.
    #[serde(default)]
    pub format: Format,
    /// Optional members of a request that its server refuses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unwanted: BTreeSet<String>,
}

/// How a model's text can be constrained; each is less than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// To a JSON Schema.
    #[default]
    Schema,
    /// To JSON.
    Json,
    /// Not at all.
    Text,
}

impl Format {
    /// The next that asks less of a server.
    pub fn weaker(self) -> Option<Self> {
        match self {
            Self::Schema => Some(Self::Json),
            Self::Json => Some(Self::Text),
            Self::Text => None,
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    probes: BTreeMap<String, Manner>,
}

/// The remembered answers.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    path: Option<PathBuf>,
}

impl Probes {
    /// Those in the file; none are remembered without one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    fn read(&self) -> File {
        let text = self.path.as_ref().and_then(|path| fs::read(path).ok());
        let file = text.and_then(|text| serde_json::from_slice(&text).ok());
        file.unwrap_or_default()
    }

    /// What is remembered.
    pub fn get(&self, subject: &Subject) -> Option<Manner> {
        self.read().probes.remove(&subject.key())
    }

    /// Remembers. Of two processes that write at once one may have to ask again later.
    ///
    /// # Errors
    /// If the file cannot be written; nothing depends on it.
    pub fn set(&self, subject: &Subject, manner: &Manner) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut file = self.read();
        file.probes.insert(subject.key(), manner.clone());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{count}.part", std::process::id()));
        fs::write(&beside, serde_json::to_vec_pretty(&file)?)?;
        fs::rename(&beside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(model: &str) -> Subject {
        Subject {
            provider: "openai".into(),
            endpoint: "http://127.0.0.1:1/v1".into(),
            model: model.into(),
            fingerprint: String::new(),
        }
    }

    #[test]
    fn answers_are_remembered_and_a_damaged_file_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache/probes.json");
        let probes = Probes::new(Some(path.clone()));
        let manner = Manner {
            native_tools: true,
            format: Format::Json,
            unwanted: ["seed".to_owned()].into(),
        };
        assert_eq!(probes.get(&subject("a")), None);
        probes.set(&subject("a"), &manner).unwrap();
        probes.set(&subject("b"), &Manner::default()).unwrap();
        let again = Probes::new(Some(path.clone()));
        assert_eq!(again.get(&subject("a")), Some(manner.clone()));
        assert_eq!(again.get(&subject("c")), None);
        for damaged in ["", "{\"probes\":", "[1]", "\u{0}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(again.get(&subject("a")), None);
            again.set(&subject("a"), &manner).unwrap();
            assert_eq!(again.get(&subject("a")), Some(manner.clone()));
        }
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside the file");
    }

    #[test]
    fn without_a_file_nothing_is_remembered_and_nothing_fails() {
        let probes = Probes::new(None);
        probes.set(&subject("a"), &Manner::default()).unwrap();
        assert_eq!(probes.get(&subject("a")), None);
    }
}
