//! The core says who a node is in fewer words, where not all of it fits into the node's window.
//!
//! A model takes its time, and a node that wakes does not wait for it: it gets the template's prompt at once, and the
//! other one when it is made, as it gets a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gpak_kernel::{
    entry::Hash,
    identity::{History, NotCondensed, Share, Told, compile, condense},
    model::Model,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::server::Link;

/// Windows that prompts are made for, at most; nodes with others get the template's.
const WINDOWS: usize = 16;
/// How long a model that did not answer is left alone.
const LATER: Duration = Duration::from_secs(60);

/// What was said in fewer words, and for whom it is wanted.
#[derive(Default)]
pub(super) struct Condensed {
    wanted: watch::Sender<BTreeSet<u32>>,
    /// By the version's number and the window, with the version's hash.
    said: Mutex<BTreeMap<(u64, u32), (Hash, Told)>>,
}

impl Condensed {
    fn said(&self) -> MutexGuard<'_, BTreeMap<(u64, u32), (Hash, Told)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the latest version says in fewer words to a model with such a window, if that is made; it is wanted from
    /// now on.
    pub(super) fn of(&self, history: &History, window: u32) -> Option<Told> {
        self.wanted
            .send_if_modified(|wanted| wanted.len() < WINDOWS && wanted.insert(window));
        let said = self.said();
        let (hash, told) = said.get(&(history.latest(), window))?;
        (*hash == history.hash()).then(|| told.clone())
    }

    /// Whether there is one of that version.
    pub(super) fn is_made(&self, version: u64, window: u32) -> bool {
        self.said().contains_key(&(version, window))
    }
}

impl Link {
    /// Has a model say in fewer words what does not fit into the windows of the nodes that asked, until it is cancelled.
    /// What the model does not answer is asked again later.
    pub async fn condense(&self, model: &dyn Model, cancel: &CancellationToken) {
        let mut wanted = self.condensed().wanted.subscribe();
        let mut changed = self.changes();
        let mut done = BTreeMap::new();
        loop {
            let windows = wanted.borrow_and_update().clone();
            let made = tokio::select! {
                () = cancel.cancelled() => return,
                made = self.condense_for(model, &windows, &mut done) => made,
            };
            let again = match made {
                Ok(()) => self.pace().look,
                Err(why) => {
                    tracing::warn!("what does not fit is left out of prompts: {why}");
                    LATER
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = wanted.changed() => {}
                _ = changed.changed() => {}
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    async fn condense_for(
        &self,
        model: &dyn Model,
        windows: &BTreeSet<u32>,
        done: &mut BTreeMap<u32, Hash>,
    ) -> Result<(), NotCondensed> {
        // An identity that cannot be read is said to the nodes that ask for it.
        let Ok(history) = self.history().await else {
            return Ok(());
        };
        let (latest, hash) = (history.latest(), history.hash());
        for window in windows {
            if done.get(window) != Some(&hash) {
                let (capsule, share) = (history.capsule(), Share::of(*window));
                let told = match condense(model, &capsule, share).await {
                    // The node is told so when it asks.
                    Err(NotCondensed::TooSmall(_)) => None,
                    told => Some(told?),
                };
                let template = compile(&capsule, share).ok();
                if told != template
                    && let Some(told) = told
                {
                    let mut said = self.condensed().said();
                    said.retain(|(version, _), _| *version == latest);
                    said.insert((latest, *window), (hash, told));
                    drop(said);
                    self.look();
                }
                done.insert(*window, hash);
            }
        }
        Ok(())
    }
}
