//! Where a run stands.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Outcome};

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Created, and no driver has taken it on.
    #[default]
    Pending,
    /// A driver is, or was when it died, at work.
    Running,
    /// It waits for somebody: an approval, an answer, `gpak resume`.
    Waiting,
    /// It ended with an answer.
    Completed,
    /// It ended without.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The status after `event`.
    pub fn after(self, event: &Event) -> Self {
        match event {
            Event::RunCreated { .. } => Self::Pending,
            _ if self.is_final() => self,
            Event::RunStarted { .. } | Event::RunResumed { .. } | Event::ApprovalDecided { .. } => {
                Self::Running
            }
            Event::ApprovalRequested { .. } | Event::RunPaused { .. } => Self::Waiting,
            Event::RunFinished { outcome } => match outcome {
                Outcome::Completed { .. } => Self::Completed,
                Outcome::Failed { .. } => Self::Failed,
                Outcome::Cancelled => Self::Cancelled,
            },
            _ => self,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}
