//! What a run of the service meets in place of a person.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gpak_kernel::run::{Answer, Human, Waiting};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Messages to a run that is being driven, until it hears them; who sent one is told once it is written
/// down.
#[derive(Default)]
pub struct Inbox(Mutex<Messages>);

#[derive(Default)]
struct Messages {
    new: VecDeque<(String, oneshot::Sender<()>)>,
    /// Taken by the driver, and not written down yet.
    taken: VecDeque<oneshot::Sender<()>>,
    closed: bool,
}

impl Inbox {
    /// Puts a message in; None if nobody will look for it any more.
    pub fn put(&self, text: String) -> Option<oneshot::Receiver<()>> {
        let mut messages = self.lock();
        if messages.closed {
            return None;
        }
        let (tell, told) = oneshot::channel();
        messages.new.push_back((text, tell));
        Some(told)
    }

    /// One of the messages that were taken is written down.
    pub fn heard(&self) {
        if let Some(tell) = self.lock().taken.pop_front() {
            // Who sent it may have gone.
            let _ = tell.send(());
        }
    }

    /// No message is taken any more. Who waits for one to be heard is told that it was not.
    pub fn close(&self) {
        let mut messages = self.lock();
        messages.closed = true;
        messages.new.clear();
        messages.taken.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody answers at once: the run waits in the journal, and goes on when an answer is there.
pub struct Desk(pub std::sync::Arc<Inbox>);

#[async_trait]
impl Human for Desk {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        None
    }

    fn said(&self) -> Vec<String> {
        let mut messages = self.0.lock();
        let mut said = Vec::new();
        while let Some((text, tell)) = messages.new.pop_front() {
            if !tell.is_closed() {
                said.push(text);
                messages.taken.push_back(tell);
            }
        }
        said
    }
}
