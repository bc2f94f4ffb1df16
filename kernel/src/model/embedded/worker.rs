//! The one thread that owns a model.
//!
//! Inference uses every core there is, so two replies at once would only be slower: they wait in line.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use tokio::sync::mpsc;

use super::engine::{Engine, Event, Setup};
use crate::model::{Delta, Deltas, ModelError, Reply, Request};

/// Requests that may wait; whoever sends one more waits to send it.
const QUEUE: usize = 16;
/// Room for events that are no tokens.
const OTHER_EVENTS: usize = 1024;

enum Said {
    Event(Event),
    End(Box<Result<Reply, ModelError>>),
}

struct Job {
    request: Request,
    started: Instant,
    out: mpsc::Sender<Said>,
}

/// A handle of the thread. Dropping it stops what it does and waits for it.
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread. The model is loaded for the first request.
    pub(super) fn start(setup: Setup) -> Result<Self, ModelError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let thread = thread::Builder::new()
            .name("gpak-model".into())
            .stack_size(8 << 20)
            .spawn(move || work(&setup, queue, &closed));
        let thread = thread.map_err(|error| ModelError::Unusable {
            message: format!("no thread could be started for it: {error}"),
        })?;
        Ok(Self {
            jobs: Some(jobs),
            closing,
            thread: Some(thread),
        })
    }

    /// Has a request answered. Dropping the future stops the work.
    pub(super) async fn reply(
        &self,
        request: &Request,
        deltas: &mut dyn Deltas,
    ) -> Result<Reply, ModelError> {
        // A reply makes at most two events a token, so the thread never waits for a slow listener.
        let capacity = 2 * request.sampling.max_tokens.min(1 << 20) as usize + OTHER_EVENTS;
        let (out, mut said) = mpsc::channel(capacity);
        let job = Job {
            request: request.clone(),
            started: Instant::now(),
            out,
        };
        let gone = || ModelError::Unusable {
            message: "its thread has ended; restart gpak".into(),
        };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        while let Some(said) = said.recv().await {
            match said {
                Said::Event(event) => deltas.delta(delta(&event)),
                Said::End(result) => return *result,
            }
        }
        Err(gone())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It catches its panics; and there is nobody to tell of one here.
            let _ = thread.join();
        }
    }
}

fn delta(event: &Event) -> Delta<'_> {
    match event {
        Event::Loading => Delta::Loading,
        Event::Reading(done, all) => Delta::Reading(*done, *all),
        Event::Thought(text) => Delta::Thought(text),
        Event::Text(text) => Delta::Text(text),
        Event::Call(text) => Delta::Call(text),
    }
}

fn work(setup: &Setup, mut queue: mpsc::Receiver<Job>, closing: &AtomicBool) {
    let mut loaded: Option<Engine> = None;
    while let Some(job) = queue.blocking_recv() {
        let stop = || closing.load(Ordering::Relaxed) || job.out.is_closed();
        if stop() {
            continue;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| answer(setup, &mut loaded, &job, &stop)));
        let result = answer.unwrap_or_else(|_| {
            // Half-written keys and values may be anything; the next request starts from the file.
            loaded = None;
            Err(ModelError::Unusable {
                message: format!(
                    "{} made the engine panic; please report it",
                    setup.path.display()
                ),
            })
        });
        // Nobody may be there to take it any more.
        let _ = job.out.blocking_send(Said::End(Box::new(result)));
        if let Some(engine) = &mut loaded {
            let settled = catch_unwind(AssertUnwindSafe(|| engine.settle()));
            loaded = loaded.filter(|_| settled.is_ok());
        }
    }
}

fn answer(
    setup: &Setup,
    loaded: &mut Option<Engine>,
    job: &Job,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Reply, ModelError> {
    let mut events = |event| {
        // Full only if nobody listens for a long time, and then a lost delta is no loss.
        let _ = job.out.try_send(Said::Event(event));
    };
    let engine = match loaded {
        Some(engine) => engine,
        None => {
            events(Event::Loading);
            loaded.insert(Engine::load(setup, stop)?)
        }
    };
    engine.reply(&job.request, job.started, &mut events, stop)
}
