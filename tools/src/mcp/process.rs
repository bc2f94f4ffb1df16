//! A server that is a program of this machine.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    pin::Pin,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use super::locked;
use crate::{group::Group, kept::Kept};

/// Bytes of what a server writes to standard error that are kept.
const STDERR: usize = 4 * 1024;
/// Bytes of one message. A server that sends more is ended: what it means to say fits into no model.
pub(super) const MESSAGE: usize = 4 * 1024 * 1024;
/// How long a server may take to end once its input is closed, and again once it is told to.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last words of a server that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Variables that programs need to run at all. All others are kept from servers: some hold secrets.
const PASSED_ON: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
];

/// A server's process with all that it started.
pub(super) struct Process {
    /// Before the child, so that it is killed before the child is reaped and its number free.
    group: Group,
    child: Child,
    words: Arc<Mutex<Kept>>,
    listener: JoinHandle<()>,
    flooded: Arc<AtomicBool>,
}

/// What a server says, and where it is spoken to.
pub(super) type Pipes = (Bounded<ChildStdout>, ChildStdin);

impl Process {
    /// Starts a program.
    pub(super) fn start(
        program: &str,
        args: &[String],
        env: &BTreeMap<String, String>,
        folder: &Path,
    ) -> io::Result<(Self, Pipes)> {
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(passed_on)
            .envs(env)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("its pipes are gone");
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        let words = Arc::new(Mutex::new(Kept::new(STDERR)));
        let flooded = Arc::new(AtomicBool::new(false));
        let bounded = Bounded {
            inner: stdout,
            message: 0,
            flooded: flooded.clone(),
        };
        let process = Self {
            group: Group::of(&child),
            child,
            listener: tokio::spawn(listen(stderr, words.clone())),
            words,
            flooded,
        };
        Ok((process, (bounded, stdin)))
    }

    /// Whether it was cut off for the length of what it said.
    pub(super) fn has_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// How it ended, if it did, and what it last wrote to standard error.
    pub(super) async fn last_words(&mut self) -> String {
        let status = timeout(LAST_WORDS, self.child.wait()).await;
        let status = match status {
            Ok(Ok(status)) => format!(" ({status})"),
            _ => String::new(),
        };
        // Its children may hold the pipe open, so this too may not come to an end.
        // One that ended must not be waited for again: it was, where these words were asked for before.
        if !self.listener.is_finished() {
            let _ = timeout(LAST_WORDS, &mut self.listener).await;
        }
        let words = locked(&self.words).text("");
        match words.is_empty() {
            true => status,
            false => format!("{status}; it last wrote:\n{words}"),
        }
    }

    /// Waits for its end, its input being closed; helps where it does not come.
    pub(super) async fn end(mut self) {
        if timeout(GRACE, self.child.wait()).await.is_err() {
            self.group.end();
            // Whether or not it ends now, all of its group is killed.
            let _ = timeout(GRACE, self.child.wait()).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
        self.listener.abort();
    }
}

async fn listen(mut stderr: ChildStderr, words: Arc<Mutex<Kept>>) {
    let mut buffer = vec![0; 4 * 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        locked(&words).add(buffer.get(..read).unwrap_or_default());
    }
}

/// Breaks off where a line is longer than a [`MESSAGE`].
pub(super) struct Bounded<R> {
    inner: R,
    message: usize,
    flooded: Arc<AtomicBool>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.message = match read.iter().rev().position(|byte| *byte == b'\n') {
            Some(behind) => behind,
            None => self.message + read.len(),
        };
        if self.message > MESSAGE {
            self.flooded.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::other("the message is too long")));
        }
        Poll::Ready(Ok(()))
    }
}
