//! How the self that is here improves: what was experienced is read, what is proposed is tried, and what passed is signed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gpak_kernel::{
    identity::{
        Edit, History,
        reflection::{MOST_READ, Proposal, ReflectionError, Scenario, reflect},
    },
    label::Label,
    memory::{Filter, Memory},
    model::Model,
};
use gpak_memory::{IdentityError, IdentityStore};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, file},
    home::{Home, write_whole},
    who,
};

/// What a reflection stands on, in one home.
pub struct Reflecting {
    store: IdentityStore,
    /// Where what was read is noted, and proposals are kept.
    folder: PathBuf,
    scenarios: PathBuf,
    namespace: String,
}

/// What came of reading some experiences.
pub struct Came {
    /// How many were read.
    pub read: usize,
    /// What was proposed.
    pub proposal: Proposal,
    /// What became of it.
    pub then: Then,
}

/// What became of a proposal.
pub enum Then {
    /// It says nothing.
    Nothing,
    /// It is the latest version.
    Signed(Box<History>),
    /// It waits for a person, under that number.
    Kept(u32),
}

/// A proposal that waits for a person.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// When it was made.
    pub at: Timestamp,
    /// It.
    pub proposal: Proposal,
}

/// How far the experiences were read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    namespace: String,
    place: u64,
}

impl Reflecting {
    /// On the memory of that namespace, with the scenarios in a folder.
    pub fn new(home: &Home, namespace: &str, scenarios: Option<PathBuf>) -> Self {
        Self {
            store: who::store(home),
            folder: home.data.join("identity/reflection"),
            scenarios: scenarios.unwrap_or_else(|| home.config.join("scenarios")),
            namespace: namespace.to_owned(),
        }
    }

    /// Has the next reflection read all experiences again, from the first.
    pub fn read_again(&self) -> Result<(), Failure> {
        let _one = self.alone()?;
        self.note(0)
    }

    /// Reads what was experienced since the last time, some of it at once; nothing where there is nothing new. What a
    /// model was asked in vain is read again the next time.
    pub async fn next(
        &self,
        model: &dyn Model,
        memory: &dyn Memory,
    ) -> Result<Option<Came>, Failure> {
        let _one = self.alone()?;
        let secret = self.store.secret()?;
        let history = self.store.history()?.ok_or(IdentityError::None)?;
        let scenarios = self.scenarios()?;
        let filter = Filter::namespace(&self.namespace);
        let records = memory
            .export(&filter, Some(self.mark()?), MOST_READ)
            .await?;
        let Some(last) = records.last() else {
            return Ok(None);
        };
        let (read, place) = (records.len(), last.place);
        let experiences: Vec<_> = records.into_iter().map(|record| record.episode).collect();
        let proposal = reflect(model, &history, &experiences, &scenarios).await?;
        let then = if proposal.edits.is_empty() {
            Then::Nothing
        } else if proposal.refused.is_some() {
            Then::Kept(self.keep(&proposal)?)
        } else {
            let reason = format!("reflection on {read} experiences");
            Then::Signed(Box::new(self.sign(&secret, &proposal, &reason)?))
        };
        self.note(place)?;
        Ok(Some(Came {
            read,
            proposal,
            then,
        }))
    }

    fn sign(
        &self,
        secret: &gpak_kernel::identity::SecretKey,
        proposal: &Proposal,
        reason: &str,
    ) -> Result<History, Failure> {
        self.store.extend(|history| {
            if history.latest() != proposal.base {
                return Err(Failure::new(format!(
                    "the proposal is for version {}, and the identity is version {} by now",
                    proposal.base,
                    history.latest()
                ))
                .help("`gpak identity reflect --again` makes one for the identity as it is now"));
            }
            let (edits, now): (Vec<Edit>, _) = (proposal.edits.clone(), Timestamp::now());
            let version = history.sign(secret, Label::Own, reason, now, edits)?;
            Ok(history.take(version)?)
        })
    }

    /// Signs a proposal that was kept, in spite of why it was.
    pub fn accept(&self, number: u32) -> Result<History, Failure> {
        let _one = self.alone()?;
        let kept = self.kept(number)?;
        let secret = self.store.secret()?;
        let history = self.sign(&secret, &kept.proposal, "reflection, accepted by the user")?;
        self.remove(number)?;
        Ok(history)
    }

    /// Throws a proposal away that was kept.
    pub fn discard(&self, number: u32) -> Result<(), Failure> {
        let _one = self.alone()?;
        self.kept(number)?;
        self.remove(number)
    }

    /// The numbers of the proposals that wait for a person, oldest first.
    pub fn waiting(&self) -> Result<Vec<u32>, Failure> {
        let mut numbers = Vec::new();
        for path in files(&self.folder, "json")? {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            numbers.extend(stem.and_then(|stem| stem.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The proposal of that number.
    pub fn kept(&self, number: u32) -> Result<Kept, Failure> {
        let path = self.path(number);
        if !path.exists() {
            return Err(Failure::usage(format!("no proposal {number} waits"))
                .help("`gpak identity proposals` lists those that do"));
        }
        let text = fs::read(&path).map_err(file(&path))?;
        serde_json::from_slice(&text)
            .map_err(|why| Failure::new(format!("{}: {why}", path.display())))
    }

    fn keep(&self, proposal: &Proposal) -> Result<u32, Failure> {
        let number = self
            .waiting()?
            .last()
            .map_or(1, |last| last.saturating_add(1));
        let kept = Kept {
            at: Timestamp::now(),
            proposal: proposal.clone(),
        };
        write(&self.path(number), &kept)?;
        Ok(number)
    }

    fn remove(&self, number: u32) -> Result<(), Failure> {
        let path = self.path(number);
        fs::remove_file(&path).map_err(file(&path))
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number}.json"))
    }

    /// Two reflections at once would learn the same twice.
    fn alone(&self) -> Result<fs::File, Failure> {
        fs::create_dir_all(&self.folder).map_err(file(&self.folder))?;
        let path = self.folder.join("lock");
        let lock = fs::File::create(&path).map_err(file(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::new(
                "another process reflects on this identity just now; wait until it is done",
            )),
            Err(fs::TryLockError::Error(why)) => Err(file(&path)(why)),
        }
    }

    fn mark(&self) -> Result<u64, Failure> {
        let path = self.folder.join("mark");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(why) => return Err(file(&path)(why)),
        };
        let mark: Mark = serde_json::from_slice(&text).map_err(|why| {
            Failure::new(format!("{}: {why}", path.display()))
                .help("remove the file, and all experiences are read again")
        })?;
        Ok(match mark.namespace == self.namespace {
            true => mark.place,
            false => 0,
        })
    }

    fn note(&self, place: u64) -> Result<(), Failure> {
        let namespace = self.namespace.clone();
        write(&self.folder.join("mark"), &Mark { namespace, place })
    }

    /// The scenarios, in the order of their files' names.
    fn scenarios(&self) -> Result<Vec<Scenario>, Failure> {
        let paths = files(&self.scenarios, "toml")?;
        paths.iter().map(|path| scenario(path)).collect()
    }
}

/// A scenario of a file. Where it gives no name, the file's is taken.
fn scenario(path: &Path) -> Result<Scenario, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{}: {why}", path.display())).help(
            "a scenario says `situation`, `acts` (a list of `{ name, means }`), and which of them are `allowed` or \
             `forbidden`",
        )
    };
    let text = fs::read_to_string(path).map_err(file(path))?;
    let mut said: toml::Table = toml::from_str(&text).map_err(|why| wrong(format!("\n{why}")))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    said.entry("name").or_insert_with(|| stem.as_ref().into());
    let scenario: Scenario = said.try_into().map_err(|why| wrong(format!("\n{why}")))?;
    scenario.check().map_err(|why| wrong(why.to_string()))?;
    Ok(scenario)
}

/// The files of a folder that end so, by name; none where there is no folder.
fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(file(folder)(why)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(file(folder))?.path();
        if path.extension().is_some_and(|found| found == end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|why| Failure::new(why.to_string()))?;
    write_whole(path, &bytes)
}

impl From<ReflectionError> for Failure {
    fn from(why: ReflectionError) -> Self {
        match why {
            ReflectionError::Model(why) => why.into(),
            ReflectionError::TooSmall(why) => why.into(),
            ReflectionError::Edit(why) => why.into(),
            ReflectionError::Scenario(_) => Self::usage(why.to_string()),
        }
    }
}
