//! What the journal costs: an append against the same in memory, and reading and folding a long run.
//!
//! `cargo bench -p gpak-memory`. Durations are this machine's; the ratios are what to compare.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use gpak_kernel::{
    entry::{Entry, Head},
    event::{CallOutcome, Event, RunId, RunSpec, Setup},
    journal::{Journal, MemoryJournal},
    label::Label,
    model::{CallId, ModelProfile, Reply, ToolCall, Usage},
    policy::{Budget, Permissions},
    run::Machine,
    tool::{Effect, ToolOutput, ToolSpec},
};
use gpak_memory::SqliteJournal;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Runtime;

const LONG: u32 = 10_000;

struct Writer {
    run: RunId,
    head: Head,
    time: Timestamp,
}

impl Writer {
    fn new() -> Self {
        Self {
            run: RunId::random(),
            head: Head::EMPTY,
            time: Timestamp::now(),
        }
    }

    fn seal(&mut self, event: Event) -> Entry {
        self.time += SignedDuration::from_millis(20);
        let entry = Entry::seal(self.run, self.head, self.time, event);
        self.head = entry.head();
        entry
    }
}

fn created() -> Event {
    Event::RunCreated {
        spec: RunSpec {
            task: "count the lines of each file".to_owned(),
            workspace: "/home/somebody/project".into(),
            model: "embedded/qwen2.5-coder-1.5b-instruct".to_owned(),
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

fn started() -> Event {
    let tool = ToolSpec::new(
        "read_file",
        "Reads lines of a file.",
        serde_json::json!({
            "type": "object",
            "properties": {"path": {"type": "string"}, "from": {"type": "integer"}},
            "required": ["path"],
        }),
        Effect::Pure,
    );
    Event::RunStarted {
        setup: Setup {
            instructions: "You work in a folder. ".repeat(50),
            tools: vec![tool],
            model: ModelProfile {
                provider: "embedded".to_owned(),
                name: "qwen2.5-coder-1.5b-instruct".to_owned(),
                window: 32_768,
                native_tools: false,
                local: true,
                price: None,
            },
            repository: Default::default(),
        },
    }
}

/// The three events of step `n`, with 800 bytes of content.
fn step(n: u32) -> [Event; 3] {
    let call = CallId { reply: n, index: 0 };
    let tool = "read_file".to_owned();
    let replied = Event::ModelReplied {
        reply: Reply {
            thought: format!("In step {n} I look at the next file. ").repeat(4),
            calls: vec![ToolCall {
                name: tool.clone(),
                args: serde_json::json!({"path": format!("src/module_{n}.rs"), "from": 1}),
            }],
            usage: Usage {
                input: 8_000,
                cached: 7_900,
                output: 60,
                ..Usage::default()
            },
            model: "embedded/qwen2.5-coder-1.5b-instruct".to_owned(),
            ..Reply::default()
        },
    };
    let started = Event::ToolStarted {
        call,
        tool: tool.clone(),
        attempt: 1,
    };
    let text = format!("    let value_{n} = compute(); // and so on\n").repeat(15);
    let finished = Event::ToolFinished {
        call,
        tool,
        outcome: CallOutcome::Done {
            output: ToolOutput::text(text),
        },
        from: Label::Tool("read_file".to_owned()),
        ms: 3,
    };
    [replied, started, finished]
}

fn finished(n: u32) -> Event {
    let [.., finished] = step(n);
    finished
}

/// Entries of a run, `LONG` of them.
fn long_run(writer: &mut Writer) -> Vec<Entry> {
    let mut entries = vec![writer.seal(created()), writer.seal(started())];
    entries.extend(
        (1..=LONG / 3)
            .flat_map(step)
            .map(|event| writer.seal(event)),
    );
    entries.truncate(LONG as usize);
    entries
}

/// How long each of so many appends of one `tool_finished` takes, the entry being sealed before.
async fn appends(journal: &impl Journal, writer: &mut Writer, times: u64) -> Vec<Duration> {
    let mut took = Vec::new();
    for n in 0..times {
        let entry = writer.seal(finished(u32::try_from(n).unwrap_or(0)));
        let start = Instant::now();
        journal.append(&[entry]).await.unwrap();
        took.push(start.elapsed());
    }
    took
}

fn append(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sqlite = SqliteJournal::open(dir.path()).unwrap().journal;
    let memory = MemoryJournal::default();
    let (mut to_sqlite, mut to_memory) = (Writer::new(), Writer::new());
    let first = |writer: &mut Writer| [writer.seal(created())];
    runtime
        .block_on(sqlite.append(&first(&mut to_sqlite)))
        .unwrap();
    runtime
        .block_on(memory.append(&first(&mut to_memory)))
        .unwrap();

    let mut group = c.benchmark_group("append a tool_finished of 800 bytes");
    group
        .sample_size(50)
        .measurement_time(Duration::from_secs(4));
    group.bench_function("sqlite, fsync included", |b| {
        b.iter_custom(|times| {
            let took = runtime.block_on(appends(&sqlite, &mut to_sqlite, times));
            took.iter().sum()
        });
    });
    group.bench_function("in memory", |b| {
        b.iter_custom(|times| {
            let took = runtime.block_on(appends(&memory, &mut to_memory, times));
            took.iter().sum()
        });
    });
    group.finish();

    let mut with = runtime.block_on(appends(&sqlite, &mut to_sqlite, 1_000));
    let mut bare = syncs(dir.path(), 1_000);
    let mut memory = runtime.block_on(appends(&memory, &mut to_memory, 1_000));
    drop(sqlite);
    let mut opened = (0..20).map(|_| opening(dir.path())).collect::<Vec<_>>();
    let (with, bare, memory) = (median(&mut with), median(&mut bare), median(&mut memory));
    let ratio = with.as_secs_f64() / bare.as_secs_f64();
    println!("medians of 1000: append {with:?}, in memory {memory:?}");
    println!(
        "bare write and fdatasync of as much {bare:?}: the append takes {ratio:.2} times that"
    );
    println!(
        "opening a journal of 1 MB and closing it: {:?}\n",
        median(&mut opened)
    );
}

/// How long it takes to write and sync, in place, what an append writes: three pages.
fn syncs(dir: &Path, times: u32) -> Vec<Duration> {
    let file = File::create(dir.join("bare")).unwrap();
    let write = |n: u32| {
        let start = Instant::now();
        let at = u64::from(n % 16) * 3 * 8_192;
        file.write_all_at(&[7; 3 * 8_192], at).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    (0..times).map(write).collect()
}

fn opening(dir: &Path) -> Duration {
    let start = Instant::now();
    drop(SqliteJournal::open(dir).unwrap());
    start.elapsed()
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

fn long(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = SqliteJournal::open(dir.path()).unwrap().journal;
    let mut writer = Writer::new();
    let entries = long_run(&mut writer);
    runtime.block_on(journal.append(&entries)).unwrap();

    let mut group = c.benchmark_group(format!("{LONG} entries"));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    group.bench_function("read and checked", |b| {
        b.iter(|| runtime.block_on(journal.read(writer.run, 1)).unwrap());
    });
    group.bench_function("folded", |b| b.iter(|| black_box(Machine::fold(&entries))));
    group.finish();
}

criterion_group!(benches, append, long);
criterion_main!(benches);
