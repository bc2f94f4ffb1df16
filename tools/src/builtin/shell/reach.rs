//! How far a command reaches: where it may write, and what it may not read.
//!
//! A command is whatever somebody's shell does, so the gate asks about it; but once it is allowed, it
//! should still change nothing that the task is not about. Where the kernel can (Landlock, Linux 5.13 and
//! later), what a command starts may read all that its user may but what gpak keeps for itself (keys, tokens, journals of
//! other tasks), and write only in the workspace, in temporary folders, in what build tools keep from one build to the
//! next, and where the settings say.
//! A process cannot get out of it, nor can its children. It also means that `sudo` gives no rights.
//!
//! The restriction is one of the thread that starts the command, and is inherited; so that thread is made
//! for it and ends at once.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::process::{Child, Command};

/// Devices that are written to without changing anything.
const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

/// What build tools keep in a user's home folder: downloads and builds, and nothing that is run by itself
/// or that says how something is run.
const KEPT_BY_BUILDS: [&str; 17] = [
    ".cache",
    ".bun/install/cache",
    ".cargo/.global-cache",
    ".cargo/.package-cache",
    ".cargo/.package-cache-mutate",
    ".cargo/git",
    ".cargo/registry",
    ".gradle/caches",
    ".ivy2/cache",
    ".local/share/pnpm/store",
    ".m2/repository",
    ".npm",
    ".nuget/packages",
    ".pub-cache",
    ".sbt/boot",
    ".yarn/cache",
    "go/pkg",
];

/// How far commands reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// They read and write wherever their user may.
    Everywhere,
    /// They write in the workspace, in temporary folders, in what build tools keep, and in these folders and files, and
    /// read all but what is protected.
    Workspace {
        /// Absolute. What is not there is passed over.
        and: Vec<PathBuf>,
    },
}

impl Default for Reach {
    fn default() -> Self {
        Self::Workspace { and: Vec::new() }
    }
}

impl Reach {
    /// Whether commands can be held to anything on this system.
    pub fn can_be_enforced() -> bool {
        enforce::is_there()
    }

    /// Whether commands are held to the workspace here.
    pub(super) fn is_narrow(&self) -> bool {
        matches!(self, Self::Workspace { .. }) && Self::can_be_enforced()
    }

    /// Starts a command in `workspace` that reaches no further than this, and neither reads nor writes `protected`
    /// unless that is within the workspace or a temporary folder. To be called in a runtime.
    pub(super) fn start(
        &self,
        mut command: Command,
        workspace: &Path,
        protected: &[PathBuf],
    ) -> io::Result<Child> {
        let Self::Workspace { and } = self else {
            return command.spawn();
        };
        let mut writable = vec![
            workspace.to_owned(),
            std::env::temp_dir(),
            "/tmp".into(),
            "/var/tmp".into(),
        ];
        let readable = readable(protected, &writable);
        writable.extend(DEVICES.map(PathBuf::from));
        let home = std::env::home_dir().unwrap_or_default();
        let kept = KEPT_BY_BUILDS.map(|name| home.join(name));
        for path in kept.iter().chain(and) {
            around(path, protected, true, &mut writable);
        }
        let runtime = tokio::runtime::Handle::current();
        let starting = std::thread::spawn(move || {
            let _entered = runtime.enter();
            enforce::restrict(&writable, &readable)?;
            command.spawn()
        });
        let panicked = |_| io::Error::other("the thread that starts commands panicked");
        starting.join().map_err(panicked)?
    }
}

/// What may be read where something is hidden; none where nothing is. What is made later, in a folder that leads to
/// what is hidden, is not among it: commands cannot make anything there.
fn readable(protected: &[PathBuf], open: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let is_hidden = |own: &&PathBuf| !open.iter().any(|open| own.starts_with(open));
    // By its real name: what leads to it through a link would else be read by that name.
    let hidden: Vec<_> = protected
        .iter()
        .filter(is_hidden)
        .filter_map(|own| own.canonicalize().ok())
        .collect();
    if hidden.is_empty() {
        return None;
    }
    let mut readable = Vec::new();
    around(Path::new("/"), &hidden, false, &mut readable);
    Some(readable)
}

/// Adds `path`, or as much of what is in it as leads to nothing that is protected: with what links in it lead to, or
/// without.
fn around(path: &Path, protected: &[PathBuf], with_links: bool, found: &mut Vec<PathBuf>) {
    if protected.iter().any(|kept| path.starts_with(kept)) {
        return;
    }
    if !protected.iter().any(|kept| kept.starts_with(path)) {
        found.push(path.to_owned());
        return;
    }
    // What cannot be listed cannot be written either, and is not read.
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if with_links || entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            around(&entry.path(), protected, with_links, found);
        }
    }
}

#[cfg(target_os = "linux")]
mod enforce {
    use std::{io, path::PathBuf};

    use landlock::{
        ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetError, path_beneath_rules,
    };

    /// With truncation, and without what devices do: a kernel that knows less does what it can.
    const KNOWN: ABI = ABI::V3;

    pub(super) fn is_there() -> bool {
        let least = AccessFs::from_write(ABI::V1);
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        rules.handle_access(least).and_then(Ruleset::create).is_ok()
    }

    /// Lets this thread, and what it starts from now on, write in these places only, and read files in these and those
    /// only, or everywhere. Names can be listed everywhere.
    pub(super) fn restrict(
        writable: &[PathBuf],
        readable: &Option<Vec<PathBuf>>,
    ) -> io::Result<()> {
        let reading = match readable {
            Some(_) => AccessFs::ReadFile.into(),
            None => BitFlags::empty(),
        };
        let writing = AccessFs::from_write(KNOWN);
        let restrict = || -> Result<(), RulesetError> {
            Ruleset::default()
                .handle_access(writing | reading)?
                .create()?
                .add_rules(path_beneath_rules(writable, writing | reading))?
                .add_rules(path_beneath_rules(readable.iter().flatten(), reading))?
                .restrict_self()
                .map(drop)
        };
        restrict().map_err(io::Error::other)
    }
}

#[cfg(not(target_os = "linux"))]
mod enforce {
    use std::{io, path::PathBuf};

    pub(super) fn is_there() -> bool {
        false
    }

    pub(super) fn restrict(_: &[PathBuf], _: &Option<Vec<PathBuf>>) -> io::Result<()> {
        Ok(())
    }
}
