//! Processes that are ended together.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::Child;

/// A process group, killed when dropped.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group that `child` leads; it was started with `process_group(0)`.
    pub(crate) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.map(Pid::from_raw))
    }

    /// Asks the group to end.
    pub(crate) fn end(&self) {
        if let Some(group) = self.0 {
            // It fails if none of the group is left, which is as well.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }

    /// Kills the group, once.
    pub(crate) fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It fails if none of the group is left, which is as well.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
