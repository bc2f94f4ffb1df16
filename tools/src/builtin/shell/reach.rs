//! How far a command reaches: where it may write.
//!
//! A command is whatever somebody's shell does, so the gate asks about it; but once it is allowed, it
//! should still change nothing that the task is not about. Where the kernel can (Landlock, Linux 5.13 and
//! later), what a command starts may read all that its user may, and write only in the workspace, in
//! temporary folders, in what build tools keep from one build to the next, and where the settings say.
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

/// Where commands may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Wherever their user may.
    Everywhere,
    /// In the workspace, in temporary folders, in what build tools keep, and in these folders and files.
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

    /// Starts a command in `workspace` that reaches no further than this, and never into `protected`
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
        writable.extend(DEVICES.map(PathBuf::from));
        let home = std::env::home_dir().unwrap_or_default();
        let kept = KEPT_BY_BUILDS.map(|name| home.join(name));
        for path in kept.iter().chain(and) {
            around(path, protected, &mut writable);
        }
        let runtime = tokio::runtime::Handle::current();
        let starting = std::thread::spawn(move || {
            let _entered = runtime.enter();
            enforce::restrict(&writable)?;
            command.spawn()
        });
        let panicked = |_| io::Error::other("the thread that starts commands panicked");
        starting.join().map_err(panicked)?
    }
}

/// Adds `path`, or as much of what is in it as leads to nothing that is protected.
fn around(path: &Path, protected: &[PathBuf], writable: &mut Vec<PathBuf>) {
    if protected.iter().any(|kept| path.starts_with(kept)) {
        return;
    }
    if !protected.iter().any(|kept| kept.starts_with(path)) {
        writable.push(path.to_owned());
        return;
    }
    // What cannot be listed cannot be written either.
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        around(&entry.path(), protected, writable);
    }
}

#[cfg(target_os = "linux")]
mod enforce {
    use std::{io, path::PathBuf};

    use landlock::{
        ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetError, path_beneath_rules,
    };

    /// With truncation, and without what devices do: a kernel that knows less does what it can.
    const KNOWN: ABI = ABI::V3;

    pub(super) fn is_there() -> bool {
        let least = AccessFs::from_write(ABI::V1);
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        rules.handle_access(least).and_then(Ruleset::create).is_ok()
    }

    /// Lets this thread, and what it starts from now on, write in these places only.
    pub(super) fn restrict(writable: &[PathBuf]) -> io::Result<()> {
        let writing = AccessFs::from_write(KNOWN);
        let restrict = || -> Result<(), RulesetError> {
            Ruleset::default()
                .handle_access(writing)?
                .create()?
                .add_rules(path_beneath_rules(writable, writing))?
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

    pub(super) fn restrict(_: &[PathBuf]) -> io::Result<()> {
        Ok(())
    }
}
