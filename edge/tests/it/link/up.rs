//! Experience goes up, over a real NATS server: nothing is lost, nothing doubled.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use gpak_edge::link::{
    Registry,
    ingest::Ingest,
    outbox::{Outbox, OutboxError},
    publish::{Allowance, Manner, Publisher, keep_on},
    wire,
};
use gpak_kernel::{
    label::Label,
    memory::{Episode, Filter, Memory, Record, Vector},
};
use gpak_memory::{
    SqliteMemory,
    embed::{Alignment, Embedder, Pair, StaticEmbedder},
};
use jiff::Timestamp;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::bed::{Nats, id, node};

fn record(number: usize) -> Record {
    let at = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
    let text = format!(
        "At the {number}th door the lock turned {} times.",
        number % 7
    );
    let episode = Episode::new(text, Label::Tool("look".into()), at);
    Record {
        place: 0,
        id: episode.id(),
        episode,
        uses: 0,
        vector: None,
    }
}

/// A core and a node in processes of their own, which are killed: this binary, as [`act_as`] runs it.
struct Role {
    name: &'static str,
    dir: std::path::PathBuf,
    nats: String,
    child: Child,
}

impl Role {
    fn start(name: &'static str, dir: &Path, nats: &str) -> Self {
        let child = Self::spawn(name, dir, nats);
        Self {
            name,
            dir: dir.to_owned(),
            nats: nats.to_owned(),
            child,
        }
    }

    fn spawn(name: &str, dir: &Path, nats: &str) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "link::up::act_as", "--nocapture"]);
        command
            .env("GPAK_TEST_ROLE", name)
            .env("GPAK_TEST_DIR", dir)
            .env("GPAK_TEST_NATS", nats);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn kill(&mut self) {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "the {} ended",
            self.name
        );
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.name, &self.dir, &self.nats);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn manner() -> Manner {
    Manner {
        allowance: Allowance::FREE,
        look: Duration::from_millis(20),
        again: Duration::from_secs(5),
    }
}

#[tokio::test]
#[ignore = "a role that other tests start"]
async fn act_as() {
    let Ok(role) = env::var("GPAK_TEST_ROLE") else {
        return;
    };
    let dir = std::path::PathBuf::from(env::var("GPAK_TEST_DIR").unwrap());
    let nats = env::var("GPAK_TEST_NATS").unwrap();
    let forever = CancellationToken::new();
    if role == "core" {
        let memory = Arc::new(SqliteMemory::open(&dir).unwrap());
        let registry = Arc::new(Registry::open(&dir.join("nodes.json")).unwrap());
        let ingest = Ingest::new(memory, registry, Duration::from_secs(2));
        keep_on(&nats, &forever, async |nats| {
            ingest.run(nats, &forever).await
        })
        .await;
    } else {
        let outbox = Arc::new(Outbox::open(&dir).unwrap());
        let (_busy, is_busy) = watch::channel(false);
        let publisher = Publisher::new(outbox, id("scout-1"), manner(), is_busy).unwrap();
        keep_on(&nats, &forever, async |nats| {
            publisher.run(nats, &forever).await
        })
        .await;
    }
}

/// A line to NATS that can be cut.
struct Line {
    url: String,
    cut: watch::Sender<u64>,
}

impl Line {
    async fn to(nats: &Nats) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let target = nats.url().replace("nats://", "");
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, mut cuts) = (target.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { url, cut }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let reached = tokio::time::timeout(Duration::from_secs(300), async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    reached
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in 5 minutes"));
}

/// Sends `all` experiences in as many rounds as there are cuts; in each the line is cut, and in some of them a side
/// is killed.
async fn storm(all: usize, cuts: usize, kills: usize) {
    let (core, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nats = Nats::start();
    let lines = (Line::to(&nats).await, Line::to(&nats).await);
    let outbox = Outbox::open(node.path()).unwrap();
    let memory = SqliteMemory::open(core.path()).unwrap();
    let mut roles = (
        Role::start("core", core.path(), &lines.0.url),
        Role::start("node", node.path(), &lines.1.url),
    );
    let mut sent = 0;
    for round in 0..cuts {
        let upto = all * (round + 1) / cuts;
        let records: Vec<Record> = (sent..upto).map(record).collect();
        outbox.add(&records, Timestamp::now()).unwrap();
        sent = upto;
        // Somewhere on its way, another place each time.
        let goal = outbox.waiting().unwrap().experiences * (round as u64 % 4) / 4;
        until("progress", async || {
            outbox.waiting().unwrap().experiences <= goal
        })
        .await;
        match round % 3 {
            0 => lines.1.cut(),
            1 => lines.0.cut(),
            _ => (lines.0.cut(), lines.1.cut()).1,
        }
        if round * kills / cuts != (round + 1) * kills / cuts {
            roles.0.kill();
            roles.1.kill();
        }
    }
    until("the outbox is empty", async || {
        outbox.waiting().unwrap().experiences == 0
    })
    .await;
    assert_eq!(outbox.waiting().unwrap().refused, 0);
    let kept = memory.list(&Filter::default(), all + 1).await.unwrap();
    assert_eq!(kept.len(), all);
    for number in 0..all {
        assert!(
            memory.get(record(number).id).await.unwrap().is_some(),
            "{number} is lost"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_where_the_line_is_cut_and_both_sides_are_killed() {
    storm(300, 6, 2).await;
}

/// `cargo nextest run --workspace --run-ignored only -E 'test(ten_thousand)'`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn of_ten_thousand_experiences_none_is_lost_or_doubled_in_fifty_cuts_and_twenty_kills_of_each_side()
 {
    storm(10_000, 50, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_while_nats_was_down_goes_up_when_it_is_back() {
    let (core, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut nats = Nats::start();
    nats.kill();
    let outbox = Outbox::open(node.path()).unwrap();
    let memory = SqliteMemory::open(core.path()).unwrap();
    let _roles = (
        Role::start("core", core.path(), &nats.url()),
        Role::start("node", node.path(), &nats.url()),
    );
    outbox
        .add(&(0..20).map(record).collect::<Vec<_>>(), Timestamp::now())
        .unwrap();
    assert_eq!(outbox.waiting().unwrap().experiences, 20);
    nats.again();
    until("the outbox is empty", async || {
        outbox.waiting().unwrap().experiences == 0
    })
    .await;
    let kept = memory.list(&Filter::default(), 100).await.unwrap();
    assert_eq!(kept.len(), 20);
    for episode in &kept {
        assert_eq!(episode.label, Label::Tool("look".into()));
        assert!(
            episode.tags.contains(&"node:scout-1".to_owned()),
            "{:?}",
            episode.tags
        );
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    outbox.limit(256 << 10).unwrap();
    let mut kept = 0;
    let why = loop {
        match outbox.add(
            &(kept..kept + 50).map(record).collect::<Vec<_>>(),
            Timestamp::now(),
        ) {
            Ok(new) => kept += new,
            Err(why) => break why,
        }
        assert!(kept < 100_000);
    };
    assert!(matches!(why, OutboxError::Full(_)), "{why}");
    assert!(
        why.to_string().contains("what is in the outbox stays"),
        "{why}"
    );
    drop(outbox);
    let outbox = Outbox::open(dir.path()).unwrap();
    assert_eq!(outbox.waiting().unwrap().experiences, kept as u64);
    let one = outbox.add(&[record(kept)], Timestamp::now()).unwrap();
    assert_eq!(one, 1);
}

/// A core that is asked without a network in between.
async fn core(dir: &Path) -> (SqliteMemory, Ingest) {
    let memory = SqliteMemory::open(dir).unwrap();
    let registry = Arc::new(Registry::open(&dir.join("nodes.json")).unwrap());
    let ingest = Ingest::new(Arc::new(memory.clone()), registry, Duration::from_secs(2));
    (memory, ingest)
}

fn packed(of: gpak_proto::v1::Node, records: &[Record]) -> Vec<u8> {
    let said = records.iter().map(wire::experience).collect();
    wire::pack(&wire::batch(of, said, Timestamp::now())).unwrap()
}

#[tokio::test]
async fn a_batch_that_comes_twice_or_was_changed_or_is_of_a_second_node_of_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, ingest) = core(dir.path()).await;
    let batch = packed(node("scout-1", 1), &[record(1), record(2)]);
    let (_, first) = ingest.take(&batch).await.unwrap();
    let (_, second) = ingest.take(&batch).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(memory.list(&Filter::default(), 10).await.unwrap().len(), 2);

    let (_, refused) = ingest
        .take(&packed(node("scout-1", 2), &[record(3)]))
        .await
        .unwrap();
    assert_eq!(refused.committed.len(), 0);
    assert!(
        refused.refused[0]
            .reason
            .contains("another node is called scout-1")
    );

    let mut lie = record(4);
    lie.episode.text = "another".into();
    let (_, mixed) = ingest
        .take(&packed(node("scout-1", 1), &[lie, record(5)]))
        .await
        .unwrap();
    assert_eq!((mixed.committed.len(), mixed.refused.len()), (1, 1));
    assert!(ingest.take(b"garbage").await.is_err());
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(ingest.take(&bomb).await.is_err());
    assert_eq!(memory.list(&Filter::default(), 10).await.unwrap().len(), 3);
}

#[test]
fn what_was_refused_is_kept_for_a_person_and_a_foreign_receipt_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path()).unwrap();
    let of = outbox.node(&id("scout-1")).unwrap();
    let now = Timestamp::now();
    outbox.add(&[record(1), record(2)], now).unwrap();
    assert_eq!(outbox.add(&[record(1)], now).unwrap(), 0);
    let batch = outbox.next(&of, now, now).unwrap().unwrap();
    let same = outbox.next(&of, now, now).unwrap().unwrap();
    assert_eq!(batch.id, same.id);
    let names: Vec<Vec<u8>> = batch
        .experiences
        .iter()
        .map(|said| said.id.clone())
        .collect();
    let mut receipt = gpak_proto::v1::Receipt {
        batch: "another".into(),
        committed: names.clone(),
        refused: vec![],
    };
    assert_eq!(outbox.receive(&receipt).unwrap(), 0);
    receipt.batch = batch.id;
    receipt.committed.truncate(1);
    receipt.refused = vec![gpak_proto::v1::RefusedExperience {
        id: names[1].clone(),
        reason: "no".into(),
    }];
    assert_eq!(outbox.receive(&receipt).unwrap(), 1);
    assert!(outbox.next(&of, now, now).unwrap().is_none());
    assert_eq!(outbox.refused().unwrap()[0].1, "no");
    assert_eq!(outbox.retry_refused().unwrap(), 1);
    assert_eq!(
        outbox
            .next(&of, now, now)
            .unwrap()
            .unwrap()
            .experiences
            .len(),
        1
    );
}

#[test]
fn a_budget_of_bytes_and_hours_is_kept() {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
    let night = Allowance {
        bytes_per_hour: Some(1000),
        hours: Some((22, 6)),
    };
    assert!(night.lets(at(23), 0, 900) && night.lets(at(5), 100, 900));
    assert!(!night.lets(at(6), 0, 1) && !night.lets(at(21), 0, 1));
    assert!(!night.lets(at(23), 101, 900));
    assert!(
        night.lets(at(23), 0, 5000),
        "what is too large for any hour goes alone"
    );
    let none = Allowance {
        bytes_per_hour: Some(0),
        hours: None,
    };
    assert!(!none.lets(at(1), 0, 1));
    assert!(Allowance::FREE.lets(at(1), u64::MAX, u64::MAX));
}

#[tokio::test]
async fn a_vector_of_another_embedder_is_mapped_or_made_anew_and_never_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, ingest) = core(dir.path()).await;
    let embedder = StaticEmbedder::load().unwrap();
    let texts: Vec<String> = (0..200).map(|n| record(n).episode.text).collect();
    let ours = embedder.embed(&texts).await.unwrap();
    // The other embedder says the same backwards.
    let backwards = |vector: &Vec<f32>| vector.iter().rev().copied().collect::<Vec<f32>>();
    let pairs: Vec<Pair> = ours
        .iter()
        .map(|to| Pair {
            from: backwards(to),
            to: to.clone(),
        })
        .collect();
    let alignment = Alignment::fit("backwards", embedder.id(), &pairs).unwrap();
    let ingest = ingest.with(alignment);
    let said = |number: usize, embedder: &str| Record {
        vector: Some(Vector {
            embedder: embedder.to_owned(),
            values: gpak_memory::embed::quantise(&backwards(&ours[number])),
        }),
        ..record(number)
    };
    let batch = packed(
        node("scout-1", 1),
        &[said(1, "backwards"), said(2, "unknown")],
    );
    ingest.take(&batch).await.unwrap();
    let kept = memory.export(&Filter::default(), None, 10).await.unwrap();
    for (number, record) in (1..).zip(&kept) {
        let vector = record.vector.as_ref().unwrap();
        assert_eq!(vector.embedder, embedder.id());
        let (mut dot, mut length) = (0.0, 0.0f32);
        for (x, y) in vector.values.iter().zip(&ours[number]) {
            dot += f32::from(*x) * y;
            length += f32::from(*x).powi(2);
        }
        let like = dot / length.sqrt();
        assert!(like > 0.9, "experience {number}: {like}");
    }
}
