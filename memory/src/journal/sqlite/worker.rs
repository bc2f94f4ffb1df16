//! A thread that owns a connection and does one job after the other.
//!
//! Measured against `spawn_blocking` with a mutex around the connection, for an append without its fsync:
//! 26 µs to 36 µs on tokio's multi-threaded runtime, 27 µs to 48 µs on the other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use gpak_kernel::journal::JournalError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    failure::{self, Failure},
    open::Lock,
};

/// Jobs that may wait for the thread; who brings one more waits until there is room.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread. Dropping it lets it finish what is queued, close its connection and end.
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    lock: Arc<Lock>,
}

impl Worker {
    /// Starts a thread on `connection` to the file at `path`.
    pub(super) fn start(
        name: &str,
        mut connection: Connection,
        path: &Path,
        lock: &Arc<Lock>,
    ) -> Result<Self, JournalError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        });
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread.map_err(|e| failure::file(path, "given a thread", &e))?),
            path: path.to_owned(),
            lock: Arc::clone(lock),
        })
    }

    /// Does `job` on the thread. A job that nobody waits for any more when its turn comes is left out;
    /// one that has begun is finished.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let gone = || {
            let file = self.path.display();
            JournalError::Store(format!("the journal {file} is closed; start gpak again"))
        };
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            if !answer.is_closed() {
                let _ = answer.send(job(connection));
            }
        });
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        let done = answered.await.map_err(|_| gone())?;
        done.map_err(|failure| {
            if failure.is_damage() {
                self.lock.forget_check();
            }
            failure.about(&self.path)
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to close.
            let _ = thread.join();
        }
    }
}
