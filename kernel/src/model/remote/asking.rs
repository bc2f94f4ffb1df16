//! How one model is asked: found out once, remembered, and less after a refusal.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Failure, less};
use crate::model::probe::{Manner, Probes, Subject};

/// The manner in which a model is asked, as far as it is known.
pub(crate) struct Asking {
    manner: Mutex<Manner>,
    probes: Probes,
    subject: Subject,
}

impl Asking {
    /// Nothing is known yet but what is remembered in the file.
    pub(crate) fn new(probes: Option<PathBuf>, subject: Subject) -> Self {
        Self {
            manner: Mutex::default(),
            probes: Probes::new(probes),
            subject,
        }
    }

    /// What need not be asked: it is remembered, or the user `told` whether there are native calls.
    pub(crate) fn known(&self, told: Option<bool>) -> Option<Manner> {
        let remembered = self.probes.get(&self.subject);
        let mut manner = remembered.or_else(|| told.map(|_| Manner::default()))?;
        manner.native_tools = told.unwrap_or(manner.native_tools);
        Some(manner)
    }

    /// The manner now.
    pub(crate) fn manner(&self) -> Manner {
        self.lock().clone()
    }

    /// Asks in this manner from now on.
    pub(crate) fn set(&self, manner: Manner) {
        *self.lock() = manner;
    }

    /// Remembers a manner for later processes; nothing depends on it.
    pub(crate) fn remember(&self, manner: &Manner) {
        if let Err(why) = self.probes.set(&self.subject, manner) {
            tracing::warn!(%why, "what was found out about the model cannot be remembered");
        }
    }

    /// The manner that leaves out what a failure says is refused, from now on; None if there is nothing
    /// to leave out.
    pub(crate) fn less(
        &self,
        manner: &Manner,
        failure: &Failure,
        optional: &[&str],
    ) -> Option<Manner> {
        let less = less(manner, failure, optional)?;
        tracing::info!(
            model = self.subject.model,
            refused = failure.message,
            "asking for less"
        );
        self.set(less.clone());
        Some(less)
    }

    fn lock(&self) -> MutexGuard<'_, Manner> {
        // A poisoned lock still guards whole values: each is put there at once.
        self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
