//! One reader for all who watch a run.
//!
//! Whoever watches could read the journal themselves; a hundred of them would read each entry a hundred
//! times, and those of a run on which nothing happens would look for one in vain five times a second each.
//! So the first who watches a run starts one that reads it, and the others look over its shoulder. Who is
//! further behind than it remembers reads the journal until they have caught up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use futures::{Stream, StreamExt, stream};
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId},
    journal::{Journal, JournalError},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Entries that are remembered for those who are a little behind.
const REMEMBERED: usize = 256;

/// An entry, and how it is written.
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// It as JSON, on one line.
    pub text: String,
    is_last: bool,
}

impl Line {
    /// That of an entry.
    pub fn new(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            // Entries are made of text and JSON, which always serialise.
            text: serde_json::to_string(entry).unwrap_or_default(),
            is_last: matches!(entry.event, Event::RunFinished { .. }),
        }
    }
}

/// The runs that are watched. Clones share them.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<HashMap<RunId, Weak<Room>>>>);

/// A run that is watched.
struct Room {
    lines: Arc<Lines>,
    _reader: AbortOnDropHandle<()>,
}

/// What was read of it.
struct Lines {
    recent: Mutex<Recent>,
    /// Changes whenever there is something new.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Recent {
    lines: VecDeque<Arc<Line>>,
    /// The number of the line that comes next.
    next: u64,
    /// Why no line comes any more, if none does.
    failed: Option<String>,
}

/// What there is for somebody who watches.
enum Found {
    Lines(Vec<Arc<Line>>),
    /// They are further behind than is remembered.
    Behind,
    Nothing,
    Failed(String),
}

impl Hub {
    /// The entries of a run from that number on, as they come; it ends behind the run's last.
    pub fn watch(
        &self,
        journal: Arc<dyn Journal>,
        run: RunId,
        from: u64,
    ) -> impl Stream<Item = Result<Arc<Line>, String>> + Send + 'static {
        let room = self.enter(&journal, run, from);
        let changed = room.lines.changed.subscribe();
        let watcher = Watcher {
            journal,
            run,
            next: from.max(1),
            ready: VecDeque::new(),
            over: false,
            changed,
            room,
        };
        stream::unfold(watcher, Watcher::next)
    }

    fn enter(&self, journal: &Arc<dyn Journal>, run: RunId, from: u64) -> Arc<Room> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&run).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let recent = Recent {
            next: from.max(1),
            ..Recent::default()
        };
        let lines = Arc::new(Lines {
            recent: Mutex::new(recent),
            changed: watch::channel(()).0,
        });
        let reading = read(lines.clone(), journal.watch(run, from));
        let room = Arc::new(Room {
            lines,
            _reader: AbortOnDropHandle::new(tokio::spawn(reading)),
        });
        rooms.insert(run, Arc::downgrade(&room));
        room
    }
}

async fn read(lines: Arc<Lines>, mut entries: gpak_kernel::journal::EntryStream) {
    while let Some(entry) = entries.next().await {
        {
            let mut recent = lines.lock();
            match entry {
                Ok(entry) => {
                    let line = Arc::new(Line::new(&entry));
                    recent.next = line.seq + 1;
                    recent.lines.push_back(line);
                    if recent.lines.len() > REMEMBERED {
                        recent.lines.pop_front();
                    }
                }
                Err(why) => recent.failed = Some(why.to_string()),
            }
        }
        lines.changed.send_replace(());
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn from(&self, next: u64) -> Found {
        let recent = self.lock();
        let first = recent.lines.front().map_or(recent.next, |line| line.seq);
        if next < first {
            return Found::Behind;
        }
        let lines: Vec<_> = recent
            .lines
            .iter()
            .filter(|line| line.seq >= next)
            .cloned()
            .collect();
        match (&recent.failed, lines.is_empty()) {
            (_, false) => Found::Lines(lines),
            (Some(why), true) => Found::Failed(why.clone()),
            (None, true) => Found::Nothing,
        }
    }
}

/// Somebody who watches.
struct Watcher {
    journal: Arc<dyn Journal>,
    run: RunId,
    next: u64,
    ready: VecDeque<Arc<Line>>,
    over: bool,
    changed: watch::Receiver<()>,
    room: Arc<Room>,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Arc<Line>, String>, Self)> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.next = line.seq + 1;
                self.over = line.is_last;
                return Some((Ok(line), self));
            }
            if self.over {
                return None;
            }
            // Seen before the look, so that nothing falls between the two.
            self.changed.borrow_and_update();
            match self.room.lines.from(self.next) {
                Found::Lines(lines) => self.ready.extend(lines),
                Found::Behind => match self.caught_up().await {
                    Ok(lines) => self.ready.extend(lines),
                    Err(why) => return self.fail(why.to_string()),
                },
                Found::Failed(why) => return self.fail(why),
                Found::Nothing => {
                    if self.changed.changed().await.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    async fn caught_up(&self) -> Result<Vec<Arc<Line>>, JournalError> {
        let entries = self.journal.read(self.run, self.next).await?;
        Ok(entries
            .iter()
            .map(|entry| Arc::new(Line::new(entry)))
            .collect())
    }

    fn fail(mut self, why: String) -> Option<(Result<Arc<Line>, String>, Self)> {
        self.over = true;
        Some((Err(why), self))
    }
}
