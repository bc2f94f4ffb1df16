//! What the loop costs: a step (reply, call, result) with a scripted mind and a tool that does nothing,
//! against a bare write and sync of as many bytes.
//!
//! `cargo bench -p gpak-memory --bench steps`. Durations are this machine's; the ratios are what to
//! compare.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId, RunSpec},
    journal::{Journal, MemoryJournal},
    model::{
        Delta,
        scripted::{Line, Scripted},
    },
    policy::{Budget, Permissions},
    run::{Driver, Nobody, Observer, Resumption, State, SystemClock},
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Toolbox},
};
use gpak_memory::SqliteJournal;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const STEPS: u32 = 300;

struct Nothing(ToolSpec);

#[async_trait]
impl Tool for Nothing {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text(format!(
            "result of {}: {}",
            call.id,
            "word ".repeat(100)
        )))
    }
}

fn driver(journal: Arc<dyn Journal>) -> Driver {
    let tool = Nothing(ToolSpec::new(
        "look",
        "Looks.",
        json!({"type": "object", "properties": {"at": {"type": "integer"}}}),
        Effect::Pure,
    ));
    let line = |at: u32| Line {
        thought: "I look at the next thing.".to_owned(),
        ..Line::call("look", json!({"at": at}))
    };
    let mut script: Vec<_> = (0..STEPS).map(line).collect();
    script.push(Line::text("done"));
    Driver {
        journal,
        // A window so large that nothing is left out: every step shows the whole run.
        model: Arc::new(Scripted::new(script).with_window(u32::MAX)),
        toolbox: Toolbox::new([Arc::new(tool) as Arc<dyn Tool>]).unwrap(),
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: String::new(),
        repository: Default::default(),
        remembering: None,
        introduced: None,
        stop: CancellationToken::new(),
    }
}

/// When each step was over.
struct Steps(Vec<Instant>);

impl Observer for Steps {
    fn entry(&mut self, entry: &Entry, _: &State) {
        if let Event::ToolFinished { .. } = entry.event {
            self.0.push(Instant::now());
        }
    }

    fn delta(&mut self, _: Delta<'_>) {}
}

/// The median of how long a step takes, of the first hundred and of the last.
async fn steps(journal: Arc<dyn Journal>) -> (Duration, Duration) {
    let driver = driver(journal);
    let spec = RunSpec {
        task: "look".to_owned(),
        workspace: std::env::temp_dir(),
        model: "scripted/script".to_owned(),
        budget: Budget {
            steps: u32::MAX,
            ..Budget::default()
        },
        permissions: Permissions::default(),
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    };
    let run = RunId::random();
    driver.create(run, spec).await.unwrap();
    let mut over = Steps(Vec::new());
    driver
        .drive(run, Resumption::default(), &mut over)
        .await
        .unwrap();
    let mut took: Vec<_> = over
        .0
        .iter()
        .zip(over.0.iter().skip(1))
        .map(|(a, b)| b.duration_since(*a))
        .collect();
    let mut last = took.split_off(took.len() - 100);
    took.truncate(100);
    (median(&mut took), median(&mut last))
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// The median of a bare write and sync of what an append writes.
fn sync(dir: &Path) -> Duration {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(dir.join("bare")).unwrap();
    let mut took: Vec<_> = (0..300)
        .map(|n: u64| {
            let start = Instant::now();
            file.write_all_at(&[7; 3 * 8_192], n % 16 * 3 * 8_192)
                .unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    median(&mut took)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sqlite = SqliteJournal::open(dir.path()).unwrap().journal;
    let memory = runtime.block_on(steps(Arc::new(MemoryJournal::default())));
    let durable = runtime.block_on(steps(Arc::new(sqlite)));
    let bare = sync(dir.path());
    let ratio = durable.0.as_secs_f64() / bare.as_secs_f64();
    println!("median of a step, of the first hundred and the last of {STEPS}:");
    println!("  in memory            {:?} {:?}", memory.0, memory.1);
    println!("  SQLite, fsync        {:?} {:?}", durable.0, durable.1);
    println!("  one bare write+sync  {bare:?}: a durable step takes {ratio:.2} times that");
}
