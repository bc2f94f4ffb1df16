//! How fast the service is, and how large: figures, not tests. Run each alone, with nothing else running:
//!
//! `cargo nextest run --workspace --run-ignored only --no-capture -E 'test(serve::bench)' -j 1`

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use gpak_kernel::{
    context::Repository,
    event::{RunId, RunSpec},
    journal::Journal,
    model::scripted::{Line, Scripted},
    policy::{Budget, Permissions},
    run::{Driver, Nobody, Remembering, Resumption, SystemClock},
    tool::Toolbox,
};
use gpak_memory::{SqliteJournal, SqliteMemory};
use gpak_tools::builtin::{self, Options};
use serde_json::{Value, json};

use super::{events::watching, house::Service};
use crate::place::{Place, call, finish};

const RUNS: usize = 200;

/// Ten steps: nine looks at folders, and the answer.
fn ten_steps() -> Vec<Value> {
    let look = |n: usize| call("list_files", json!({"path": format!("d{n}")}));
    (0..9).map(look).chain([finish("ok")]).collect()
}

fn place() -> Place {
    let place = Place::new();
    for n in 0..9 {
        place.write(&format!("d{n}/x.txt"), "x\n");
    }
    place
}

/// The same runs in this process, with nothing between the kernel, its journal and its memory.
fn in_process(place: &Place, script: &[Value]) -> Duration {
    let lines: Vec<Line> = serde_json::from_value(script.into()).unwrap();
    let journal = SqliteJournal::open(&place.home().join("in-process"))
        .unwrap()
        .journal;
    let tools = builtin::all(&Options::new(place.home().join("undo")));
    let driver = Arc::new(Driver {
        journal: Arc::new(journal),
        model: Arc::new(Scripted::new(lines)),
        toolbox: Toolbox::new(tools).unwrap(),
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: gpak_kernel::context::INSTRUCTIONS.to_owned(),
        repository: Repository::default(),
        remembering: Some(Remembering {
            memory: Arc::new(SqliteMemory::open(&place.home().join("in-process")).unwrap()),
            namespace: String::new(),
            tokens: 512,
        }),
        introduced: None,
        stop: Default::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..RUNS {
            let (driver, spec) = (driver.clone(), spec(&place.work()));
            tasks.push(tokio::spawn(async move {
                let run = RunId::random();
                driver.create(run, spec).await.unwrap();
                driver
                    .drive(run, Resumption::default(), &mut ())
                    .await
                    .unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    start.elapsed()
}

fn spec(workspace: &Path) -> RunSpec {
    RunSpec {
        task: "do it".into(),
        workspace: workspace.to_owned(),
        model: "scripted/script".into(),
        budget: Budget::default(),
        permissions: Permissions::default(),
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    }
}

/// How many runs the service says it brought to their end.
fn ended(service: &Service) -> usize {
    let metrics = service.get("/metrics").text;
    let line = "gpak_drives_ended_total{by=\"completed\"} ";
    let found = metrics.lines().find_map(|one| one.strip_prefix(line));
    found.map_or(0, |count| count.parse().unwrap())
}

#[test]
#[ignore = "a benchmark"]
fn two_hundred_runs_at_once() {
    let script = ten_steps();
    let more = ["--drivers", "200", "--rate", "1000000"];
    let service = Service::with(place(), &script, &more);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..RUNS / 8).for_each(|_| drop(service.run("do it"))));
        }
    });
    let started = start.elapsed();
    // Seldom: to be asked takes the service's time, too.
    while ended(&service) < RUNS {
        std::thread::sleep(Duration::from_millis(50));
    }
    let served = start.elapsed();
    let (peak, now) = (service.kilobytes("VmHWM"), service.kilobytes("VmRSS"));
    let alone = in_process(&place(), &script);
    println!(
        "{RUNS} runs of ten steps: served {served:.2?} (started in {started:.2?}), in process {alone:.2?}: \
         {:.0} % of its throughput; {} MB at most, {} MB now",
        100.0 * alone.as_secs_f64() / served.as_secs_f64(),
        peak / 1024,
        now / 1024
    );
}

fn percentile(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

#[test]
#[ignore = "a benchmark"]
fn a_run_is_started_fifty_times_a_second() {
    let service = Service::with(place(), &[finish("ok")], &["--rate", "1000000"]);
    let mut connection = service.connect();
    connection.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let body = json!({"task": "do it"}).to_string();
    let request = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\n\r\n{body}",
        service.host(),
        service.key,
        body.len()
    );
    let mut times = Vec::new();
    let start = Instant::now();
    for n in 0..500 {
        let due = start + Duration::from_millis(20) * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        connection.write_all(request.as_bytes()).unwrap();
        assert!(answered(&mut reader).starts_with("HTTP/1.1 201"));
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let place = place();
    let journal = SqliteJournal::open(&place.home().join("in-process"))
        .unwrap()
        .journal;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut alone = Vec::new();
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(20));
        let created = gpak_kernel::event::Event::RunCreated {
            spec: spec(&place.work()),
        };
        let head = gpak_kernel::entry::Head::EMPTY;
        let now = jiff::Timestamp::now();
        let asked = Instant::now();
        let entry = gpak_kernel::entry::Entry::seal(RunId::random(), head, now, created);
        runtime.block_on(journal.append(&[entry])).unwrap();
        alone.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "a run start over REST: {:.2} ms (median), {:.2} ms (p99); its append alone {:.2} ms, {:.2} ms",
        percentile(&mut times, 0.5),
        percentile(&mut times, 0.99),
        percentile(&mut alone, 0.5),
        percentile(&mut alone, 0.99)
    );
}

/// Reads one answer whole, and gives its first line.
fn answered(reader: &mut impl BufRead) -> String {
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(said) = line.to_lowercase().strip_prefix("content-length:") {
            length = said.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    first
}

#[test]
#[ignore = "a benchmark"]
fn an_entry_reaches_a_hundred_watchers() {
    let mut lines: Vec<_> = (0..30)
        .map(|n| call("list_files", json!({"path": format!("d{n}")})))
        .collect();
    lines.push(finish("ok"));
    for line in &mut lines {
        line["delay_ms"] = 100.into();
    }
    let place = place();
    (0..30).for_each(|n| place.write(&format!("d{n}/x.txt"), "x"));
    let service = Service::with(place, &lines, &["--rate", "1000000"]);
    let run = service.run("do it");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..100 {
            let (connection, tell) = (watching(&service, &run), tell.clone());
            scope.spawn(move || {
                for line in BufReader::new(connection).lines() {
                    let Ok(line) = line else { break };
                    let Some(data) = line.strip_prefix("data: ") else {
                        continue;
                    };
                    let now = jiff::Timestamp::now();
                    let entry: Value = serde_json::from_str(data).unwrap();
                    let sealed: jiff::Timestamp = entry["time"].as_str().unwrap().parse().unwrap();
                    let took = now.duration_since(sealed).as_secs_f64() * 1e3;
                    let number = entry["seq"].as_u64().unwrap();
                    // The first were there before all had come.
                    if number > 20 {
                        tell.send(took).unwrap();
                    }
                    if entry["event"]["type"] == "run_finished" {
                        break;
                    }
                }
            });
        }
        drop(tell);
    });
    let mut times: Vec<f64> = told.into_iter().collect();
    println!(
        "an entry to a hundred watchers, from its sealing, the append included: {:.2} ms (median), \
         {:.2} ms (p99), {} deliveries",
        percentile(&mut times, 0.5),
        percentile(&mut times, 0.99),
        times.len()
    );
}

#[test]
#[ignore = "a benchmark"]
fn a_thousand_watchers_that_wait() {
    let slow = json!({"delay_ms": 600_000, "text": "never"});
    let service = Service::with(place(), &[slow], &["--rate", "1000000"]);
    let run = service.run("do it");
    service.until_status(&run, "running");
    let before = service.kilobytes("VmRSS");
    let watchers: Vec<_> = (0..1000).map(|_| watching(&service, &run)).collect();
    std::thread::sleep(Duration::from_secs(3));
    let busy = cpu(&service);
    std::thread::sleep(Duration::from_secs(5));
    let busy = cpu(&service) - busy;
    let after = service.kilobytes("VmRSS");
    println!(
        "a thousand watchers that wait: {} MB more, {:.1} % of a core",
        (after - before) / 1024,
        busy / 5.0 * 100.0
    );
    drop(watchers);
}

/// Seconds of processor time.
fn cpu(service: &Service) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
