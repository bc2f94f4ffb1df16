//! Runs to write, and journals to write them to.

use std::{path::Path, process::Command};

use gpak_kernel::{
    entry::{Entry, Head},
    event::{CallOutcome, Event, Outcome, RunId, RunSpec},
    journal::{Journal, JournalError},
    label::Label,
    model::{CallId, Reply, ToolCall, Usage},
    policy::{Budget, Permissions},
    tool::ToolOutput,
};
use gpak_memory::SqliteJournal;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

pub const RUN: RunId = RunId::from_u128(0xabcd_0000_0000_0000_0000_0000_0000_0001);

/// Writes entries of one run, one second apart.
pub struct Writer {
    pub run: RunId,
    pub head: Head,
    pub time: Timestamp,
}

impl Writer {
    pub fn of(run: RunId) -> Self {
        Self {
            run,
            head: Head::EMPTY,
            time: "2026-11-22T10:00:00Z".parse().unwrap(),
        }
    }

    pub fn seal(&mut self, event: Event) -> Entry {
        self.time += SignedDuration::from_secs(1);
        let entry = Entry::seal(self.run, self.head, self.time, event);
        self.head = entry.head();
        entry
    }

    pub fn created(&mut self) -> Entry {
        self.seal(created("count the lines"))
    }

    /// The creation and so many messages.
    pub fn begun(&mut self, messages: usize) -> Vec<Entry> {
        let mut entries = vec![self.created()];
        entries.extend((0..messages).map(|n| self.seal(message(&format!("message {n}")))));
        entries
    }
}

pub fn created(task: &str) -> Event {
    Event::RunCreated {
        spec: RunSpec {
            task: task.to_owned(),
            workspace: "/home/somebody/project".into(),
            model: "scripted/test".to_owned(),
            budget: Budget::default(),
            permissions: Permissions::default(),
            attended: false,
            conversation: false,
            origin: None,
            check: Vec::new(),
            strategy: None,
            parent: None,
        },
    }
}

pub fn message(text: &str) -> Event {
    Event::MessageReceived {
        text: text.to_owned(),
        from: Label::User,
    }
}

pub fn paused() -> Event {
    Event::RunPaused {
        reason: gpak_kernel::event::PauseReason::Interrupted,
    }
}

pub fn finished() -> Event {
    let answer = "42".to_owned();
    Event::RunFinished {
        outcome: Outcome::Completed { answer },
    }
}

pub fn replied(n: u32, thought: &str) -> Event {
    Event::ModelReplied {
        reply: Reply {
            thought: thought.to_owned(),
            calls: vec![ToolCall {
                name: "read_file".to_owned(),
                args: serde_json::json!({"path": format!("src/module_{n}.rs"), "from": 1, "to": 40}),
            }],
            usage: Usage {
                input: 8_000 + u64::from(n),
                cached: 7_900,
                output: 60,
                cost: 0.1 + 0.2,
                first_token_ms: 240,
                total_ms: 1_900,
            },
            model: "embedded/qwen2.5-coder-1.5b-instruct".to_owned(),
            ..Reply::default()
        },
    }
}

pub fn started(n: u32) -> Event {
    Event::ToolStarted {
        call: CallId { reply: n, index: 0 },
        tool: "read_file".to_owned(),
        attempt: 1,
    }
}

pub fn tool_finished(n: u32, text: impl Into<String>) -> Event {
    Event::ToolFinished {
        call: CallId { reply: n, index: 0 },
        tool: "read_file".to_owned(),
        outcome: CallOutcome::Done {
            output: ToolOutput::text(text),
        },
        from: Label::Tool("read_file".to_owned()),
        ms: 3,
    }
}

pub fn open(dir: &Path) -> SqliteJournal {
    let opened = SqliteJournal::open(dir).unwrap();
    assert_eq!(opened.notice, None);
    opened.journal
}

pub fn refused(dir: &Path) -> String {
    match SqliteJournal::open(dir) {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(JournalError::Store(message)) => message,
        Err(error) => panic!("{error:?}"),
    }
}

/// The file, as the `sqlite3` tool opens it.
pub fn database(dir: &Path) -> Connection {
    let connection = Connection::open(dir.join("journal.db")).unwrap();
    connection
        .pragma_update(None, "foreign_keys", false)
        .unwrap();
    connection
}

/// A folder with a journal of one run of six entries, one of them with a payload, all closed again.
pub async fn closed_journal() -> (tempfile::TempDir, Vec<Entry>) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(3);
    entries.push(writer.seal(tool_finished(1, "long ".repeat(10_000))));
    entries.push(writer.seal(paused()));
    let journal = open(dir.path());
    journal.append(&entries).await.unwrap();
    (dir, entries)
}

/// Runs the test `name` of this binary in a process of its own.
pub fn in_a_process(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command.env("GPAK_TEST_DIR", dir);
    command
}

/// The folder that a test run by [`in_a_process`] works in.
pub fn given_dir() -> std::path::PathBuf {
    std::env::var_os("GPAK_TEST_DIR")
        .expect("run by another test only")
        .into()
}
