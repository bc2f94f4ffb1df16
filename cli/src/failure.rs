//! What went wrong, what to do about it, and the exit code that says so.

use gpak_kernel::{journal::JournalError, model::ModelError, run::DriveError};
use miette::Diagnostic;

/// An error as the user sees it.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Failure {
    message: String,
    #[help]
    help: Option<String>,
    /// The process's exit code.
    pub code: u8,
}

/// It was done.
pub const DONE: u8 = 0;
/// It failed.
pub const FAILED: u8 = 1;
/// It was asked for wrongly.
pub const USAGE: u8 = 2;
/// It waits for an approval.
pub const NEEDS_APPROVAL: u8 = 3;
/// The budget ran out.
pub const OUT_OF_BUDGET: u8 = 4;
/// Somebody interrupted it.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    /// It failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            code: FAILED,
        }
    }

    /// It was asked for wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            ..Self::new(message)
        }
    }

    /// With what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A file that could not be read or written.
pub fn file(path: &std::path::Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::new(format!("{}: {error}", path.display()))
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::NoRun(_) => Self::usage(error.to_string()),
            JournalError::Busy { .. } => Self::new(error.to_string())
                .help("wait for it, or stop that process and `gpak resume` the run"),
            JournalError::Chain(_) => Self::new(error.to_string()).help(
                "the journal of this run cannot be trusted from there on; \
                 `gpak runs fork RUN --at NUMBER` goes on from an entry before it",
            ),
            JournalError::Conflict { .. } | JournalError::Store(_) => Self::new(error.to_string()),
        }
    }
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Journal(error) => error.into(),
            DriveError::EmptyTask
            | DriveError::Workspace { .. }
            | DriveError::IsChild { .. }
            | DriveError::Unable(_)
            | DriveError::NoEntry { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::new(error.to_string())
    }
}
