//! Ctrl-C: once it stops the step, twice the conversation.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::INTERRUPTED;

/// What signals stop.
#[derive(Default)]
pub struct Interrupts {
    step: Mutex<CancellationToken>,
    leaving: CancellationToken,
}

impl Interrupts {
    /// Listens from now on.
    pub fn listen() -> Arc<Self> {
        let interrupts = Arc::new(Self::default());
        let heard = interrupts.clone();
        tokio::spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
                signal(SignalKind::hangup()),
            ) else {
                return;
            };
            loop {
                let for_good = tokio::select! {
                    _ = interrupt.recv() => heard.step().is_cancelled(),
                    _ = terminate.recv() => true,
                    _ = hang_up.recv() => true,
                };
                if for_good && heard.is_leaving() {
                    std::process::exit(i32::from(INTERRUPTED));
                }
                if for_good {
                    heard.leaving.cancel();
                }
                heard.stop_step();
            }
        });
        interrupts
    }

    /// What stops the step that begins now.
    pub fn fresh(&self) -> CancellationToken {
        let fresh = CancellationToken::new();
        *self.lock() = fresh.clone();
        if self.is_leaving() {
            fresh.cancel();
        }
        fresh
    }

    /// Stops the step.
    pub fn stop_step(&self) {
        self.step().cancel();
    }

    /// Whether the conversation is to be left.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Waits until the conversation is to be left.
    pub async fn left(&self) {
        self.leaving.cancelled().await;
    }

    fn step(&self) -> CancellationToken {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
