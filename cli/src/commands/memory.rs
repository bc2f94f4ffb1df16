//! `gpak memory`.

mod facts;

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use gpak_kernel::{
    label::Label,
    memory::{
        Consolidated, Episode, EpisodeId, Filter, Hit, Kept, Memory, MemoryError, Query, Record,
    },
};
use gpak_memory::bench;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    args::{AddArgs, MemoryCommand, SearchArgs},
    commands::print_json,
    failure::{DONE, FAILED, Failure, file},
    home::Home,
    remembering,
    settings::Settings,
};

/// Records that are exported or imported at a time.
const BATCH: usize = 512;

/// Vectors that are made again at a time: what is lost if that is interrupted.
const AT_A_TIME: usize = 128;

/// `gpak memory`
pub async fn memory(home: &Home, command: MemoryCommand, json: bool) -> Result<u8, Failure> {
    match command {
        MemoryCommand::Add(args) => add(&*open(home).await?, args, json).await,
        MemoryCommand::Search(args) => search(&*open(home).await?, args, json).await,
        MemoryCommand::List {
            namespace,
            limit,
            past,
        } => {
            let filter = Filter {
                namespace,
                past,
                ..Filter::default()
            };
            list(&open(home).await?.list(&filter, limit).await?, json)
        }
        MemoryCommand::Show { id } => show(&*open(home).await?, id, json).await,
        MemoryCommand::Forget { ids, namespace } => {
            forget(&*open(home).await?, ids, namespace, json).await
        }
        MemoryCommand::Consolidate { model, runs } => {
            let memory = open(home).await?;
            if let Some(model) = model {
                facts::find(home, &*memory, &model, runs, json).await?;
            }
            consolidate(&*memory, json).await
        }
        MemoryCommand::Reembed => reembed(home, json).await,
        MemoryCommand::Stats => stats(&*open(home).await?, json).await,
        MemoryCommand::Export { namespace, output } => {
            export(&*open(home).await?, namespace, output.as_deref(), json).await
        }
        MemoryCommand::Import { file } => import(&*open(home).await?, &file, json).await,
        MemoryCommand::Bench {
            dataset,
            synthetic,
            seed,
            folder,
        } => measure(dataset, synthetic.unwrap_or(0), seed, folder, json).await,
    }
}

async fn open(home: &Home) -> Result<Arc<dyn Memory>, Failure> {
    remembering::open(home, &Settings::read(home, Path::new("."))?).await
}

/// Makes vectors again that are of another embedder than the settings name.
async fn reembed(home: &Home, json: bool) -> Result<u8, Failure> {
    let settings = Settings::read(home, Path::new("."))?;
    let memory = remembering::open_file(home, &settings).await?;
    let all = memory.foreign_vectors().await?;
    let mut done = 0;
    loop {
        let made = memory.reembed(AT_A_TIME).await?;
        done += made;
        if made < AT_A_TIME {
            break;
        }
        if !json {
            eprintln!("{done} of {all}");
        }
    }
    if json {
        print_json(&json!({"reembedded": done}));
    } else {
        say!("{done} vectors were made again");
    }
    Ok(DONE)
}

async fn add(memory: &dyn Memory, args: AddArgs, json: bool) -> Result<u8, Failure> {
    let mut text = args.text.join(" ");
    if text.is_empty() || text == "-" {
        text.clear();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|why| Failure::usage(format!("standard input cannot be read: {why}")))?;
    }
    let at = args.at.unwrap_or_else(Timestamp::now);
    let mut episode = Episode::new(text.trim(), Label::User, at);
    episode.kind = args.kind;
    episode.namespace = args.namespace;
    episode.tags = args.tag;
    episode.importance = args.importance;
    for kept in memory.remember(vec![episode]).await? {
        if json {
            print_json(&kept);
        } else if kept.new {
            say!("{}", kept.id);
        } else {
            say!("{} was remembered before", kept.id);
        }
    }
    Ok(DONE)
}

async fn consolidate(memory: &dyn Memory, json: bool) -> Result<u8, Failure> {
    let (now, mut all) = (Timestamp::now(), Consolidated::default());
    loop {
        let done = memory.consolidate(now).await?;
        all.looked_at += done.looked_at;
        all.merged.extend(done.merged);
        all.superseded.extend(done.superseded);
        all.decayed += done.decayed;
        if done.left == 0 {
            break;
        }
    }
    if json {
        print_json(&all);
        return Ok(DONE);
    }
    for (what, pairs) in [("merged into", &all.merged), ("ended by", &all.superseded)] {
        for (one, other) in pairs {
            say!("{one} is {what} {other}");
        }
    }
    say!(
        "{} looked at: {} merged, {} not true any more, {} matter less",
        all.looked_at,
        all.merged.len(),
        all.superseded.len(),
        all.decayed
    );
    Ok(DONE)
}

async fn search(memory: &dyn Memory, args: SearchArgs, json: bool) -> Result<u8, Failure> {
    let mut query = Query::new(args.text.join(" "), args.namespace, Timestamp::now());
    query.limit = args.limit;
    query.tokens = args.tokens;
    query.neighbours = args.neighbours;
    query.filter.kinds = args.kind;
    query.filter.tags = args.tag;
    let hits = memory.recall(&query).await?;
    if let Some(notice) = memory.notice().await {
        eprintln!("gpak: {notice}");
    }
    for hit in &hits {
        if json {
            print_json(hit);
        } else {
            tell(hit);
        }
    }
    if hits.is_empty() && !json {
        say!("nothing was found");
    }
    Ok(DONE)
}

fn tell(hit: &Hit) {
    say!("{}", line(&hit.episode));
    let why = hit.why.iter().map(|reason| {
        let rank = reason.rank.map(|rank| format!(" (rank {rank})"));
        format!(
            "{} {:.2}{}",
            reason.by,
            reason.score,
            rank.unwrap_or_default()
        )
    });
    let why: Vec<String> = why.collect();
    say!("    {:.2}: {}", hit.score, why.join(", "));
    if let Some(origin) = hit.episode.origin {
        say!("    from entry {} of run {}", origin.entry, origin.run);
    }
    for turn in &hit.around {
        say!("    | {}", first_line(&turn.text));
    }
}

fn list(episodes: &[Episode], json: bool) -> Result<u8, Failure> {
    for episode in episodes {
        if json {
            print_json(&named(episode));
        } else {
            say!("{}", line(episode));
        }
    }
    Ok(DONE)
}

/// An episode as JSON, with its id.
fn named(episode: &Episode) -> serde_json::Value {
    let mut value = json!(episode);
    if let Some(object) = value.as_object_mut() {
        object.insert("id".to_owned(), json!(episode.id()));
    }
    value
}

fn line(episode: &Episode) -> String {
    let speaker = episode.speaker.as_ref().map(|name| format!("{name}: "));
    format!(
        "{}  {}  {}  {}{}",
        episode.id(),
        episode.at.strftime("%F"),
        episode.kind,
        speaker.unwrap_or_default(),
        first_line(&episode.text)
    )
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

async fn show(memory: &dyn Memory, id: EpisodeId, json: bool) -> Result<u8, Failure> {
    let found = memory.get(id).await?;
    let episode = found.ok_or_else(|| {
        Failure::usage(format!("nothing is remembered as {id}"))
            .help("`gpak memory list` shows the ids")
    })?;
    if json {
        print_json(&named(&episode));
    } else {
        let pretty = serde_json::to_string_pretty(&named(&episode));
        say!("{}", pretty.unwrap_or_default());
    }
    Ok(DONE)
}

async fn forget(
    memory: &dyn Memory,
    ids: Vec<EpisodeId>,
    namespace: Option<String>,
    json: bool,
) -> Result<u8, Failure> {
    let mut ids = ids;
    if let Some(namespace) = namespace {
        let mut filter = Filter::namespace(namespace);
        filter.past = true;
        let all = memory.list(&filter, usize::MAX).await?;
        ids.extend(all.iter().map(Episode::id));
    }
    let gone = memory.forget(&ids).await?;
    if json {
        print_json(&json!({"forgotten": gone}));
    } else {
        say!("{gone} forgotten");
    }
    Ok(if gone == 0 && !ids.is_empty() {
        FAILED
    } else {
        DONE
    })
}

async fn stats(memory: &dyn Memory, json: bool) -> Result<u8, Failure> {
    let stats = memory.stats().await?;
    if json {
        print_json(&stats);
        return Ok(DONE);
    }
    for (title, counts) in [
        ("namespace", &stats.namespaces),
        ("kind", &stats.kinds),
        ("embedder", &stats.vectors),
    ] {
        for (name, count) in counts {
            let name = if name.is_empty() { "(unnamed)" } else { name };
            say!("{title:<10} {name:<30} {count:>9}");
        }
    }
    say!("{} bytes on disk", stats.bytes);
    Ok(DONE)
}

async fn export(
    memory: &dyn Memory,
    namespace: Option<String>,
    output: Option<&Path>,
    json: bool,
) -> Result<u8, Failure> {
    let filter = Filter {
        namespace,
        past: true,
        ..Filter::default()
    };
    let mut sink: Box<dyn Write + Send> = match output {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(file(path))?)),
        None => Box::new(std::io::stdout()),
    };
    let (mut after, mut count) = (None, 0);
    loop {
        let records = memory.export(&filter, after, BATCH).await?;
        let Some(last) = records.last() else { break };
        after = Some(last.place);
        count += records.len();
        for record in &records {
            let line = serde_json::to_string(record)
                .map_err(|why| Failure::new(format!("{}: {why}", record.id)))?;
            writeln!(sink, "{line}").map_err(file(output.unwrap_or(Path::new("-"))))?;
        }
    }
    sink.flush()
        .map_err(file(output.unwrap_or(Path::new("-"))))?;
    if output.is_some() {
        if json {
            print_json(&json!({"exported": count}));
        } else {
            say!("{count} exported");
        }
    }
    Ok(DONE)
}

async fn import(memory: &dyn Memory, path: &Path, json: bool) -> Result<u8, Failure> {
    let lines = BufReader::new(File::open(path).map_err(file(path))?).lines();
    let mut batch = Vec::with_capacity(BATCH);
    let mut kept: Vec<Kept> = Vec::new();
    for (line, number) in lines.zip(1..) {
        let line = line.map_err(file(path))?;
        let record: Record = serde_json::from_str(&line).map_err(|why| {
            Failure::usage(format!(
                "line {number} of {} is no record: {why}",
                path.display()
            ))
            .help("give a file that `gpak memory export` wrote; what came before the line is kept")
        })?;
        batch.push(record);
        if batch.len() == BATCH {
            kept.extend(memory.import(std::mem::take(&mut batch)).await?);
        }
    }
    kept.extend(memory.import(batch).await?);
    let new = kept.iter().filter(|kept| kept.new).count();
    if json {
        print_json(&json!({"imported": new, "there_already": kept.len() - new}));
    } else {
        say!("{new} imported, {} were there already", kept.len() - new);
    }
    Ok(DONE)
}

async fn measure(
    dataset: Option<PathBuf>,
    episodes: usize,
    seed: u64,
    folder: Option<PathBuf>,
    json: bool,
) -> Result<u8, Failure> {
    let temporary = tempfile::tempdir()
        .map_err(|why| Failure::new(format!("no folder can be made for the bench: {why}")))?;
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    if std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) {
        return Err(Failure::usage(format!(
            "{} is not empty; the bench needs a folder of its own",
            folder.display()
        )));
    }
    match dataset {
        Some(dataset) => measure_finding(&dataset, &folder, json).await,
        None => measure_speed(&folder, episodes, seed, json).await,
    }
}

async fn measure_speed(
    folder: &Path,
    episodes: usize,
    seed: u64,
    json: bool,
) -> Result<u8, Failure> {
    let speed = bench::synthetic::run(folder, episodes, seed).await?;
    if json {
        print_json(&speed);
        return Ok(DONE);
    }
    let (cold, warm) = speed.first_recall_ms;
    let (median, high, longest) = speed.latency_ms;
    say!(
        "remembered    {} episodes, {:.0} a second",
        speed.episodes,
        speed.episodes_per_second
    );
    say!(
        "first recall  {cold:.0} ms from the store alone, {warm:.0} ms with the index in its file"
    );
    say!(
        "recall        {median:.1} ms (median), {high:.1} ms (95th percentile), {longest:.1} ms (longest)"
    );
    say!(
        "found         {:.3} of the turns asked for, {:.4} of the exact nearest ten, by vectors",
        speed.found_10,
        speed.vector_recall_10
    );
    say!("on disk       {} bytes", speed.bytes);
    Ok(DONE)
}

async fn measure_finding(dataset: &Path, folder: &Path, json: bool) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(dataset).map_err(file(dataset))?;
    let failed = |error: bench::BenchError| match error {
        bench::BenchError::Format(_) => Failure::usage(error.to_string()),
        bench::BenchError::Memory(error) => error.into(),
    };
    let conversations = bench::read(&text).map_err(failed)?;
    let report = bench::run(folder, &conversations).await.map_err(failed)?;
    if json {
        print_json(&report);
        return Ok(DONE);
    }
    say!(
        "{:<8} {:<12} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>9}",
        "way",
        "questions",
        "n",
        "r@5",
        "r@10",
        "r@20",
        "MRR",
        "sess@10",
        "hitsess"
    );
    for f in &report.figures {
        say!(
            "{:<8} {:<12} {:>6} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>8.3} {:>9.3}",
            f.way,
            f.group,
            f.questions,
            f.recall_5,
            f.recall_10,
            f.recall_20,
            f.mrr,
            f.sessions_10,
            f.hit_sessions_10
        );
    }
    say!(
        "{} episodes remembered, {:.0} a second; full recall {:.1} ms (median), {:.1} ms (95th percentile)",
        report.episodes,
        report.episodes_per_second,
        report.latency_ms.0,
        report.latency_ms.1
    );
    Ok(DONE)
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Invalid(_) => Self::usage(error.to_string()),
            MemoryError::Store(_) | MemoryError::Embedder(_) => Self::new(error.to_string()),
        }
    }
}
