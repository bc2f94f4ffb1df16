//! `gpak reflexd`: a robot's reflexes, in a process of their own. It runs before any async runtime is
//! built, and builds none.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use gpak_edge::reflex::{
    arbiter::{Record, Replayed, replay},
    bench::{self, Bench, Finding},
    config::ReflexConfig,
    process::{self, Ended, Options},
};

use super::print_json;
use crate::failure::{DONE, FAILED, Failure, file};

/// The reflexes of a robot: started by `gpak robot run`, which gives them their board and their key.
#[derive(Debug, Args)]
pub struct ReflexdArgs {
    /// The shared memory that the parent made
    #[arg(long, value_name = "PATH", requires = "config", requires = "latch")]
    board: Option<PathBuf>,
    /// The robot.toml with a table called reflex
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file that is there as long as the e-stop holds
    #[arg(long, value_name = "FILE")]
    latch: Option<PathBuf>,
    /// Write every decision there, for --replay
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Make the decisions of a log again, and compare them hash for hash (with --config)
    #[arg(
        long,
        value_name = "LOG",
        requires = "config",
        conflicts_with = "board"
    )]
    replay: Option<PathBuf>,
    /// Print a configuration to start from
    #[arg(long, conflicts_with_all = ["board", "replay", "bench"])]
    print_config: bool,
    /// Measure: the rules, the loop, a stop across processes, a peer's warning over Zenoh, a parent that is killed or
    /// stopped
    #[arg(long, conflicts_with_all = ["board", "replay"])]
    bench: bool,
    /// How long each loop is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "bench")]
    duration: u64,
    /// How many busy threads to have beside the measured
    #[arg(long, value_name = "THREADS", default_value_t = 0, requires = "bench")]
    load: usize,
    /// A part in the measurements: started by --bench itself
    #[arg(long, hide = true, value_name = "PATH")]
    bench_parent: Option<PathBuf>,
}

/// `gpak reflexd`.
pub fn reflexd(args: ReflexdArgs, json: bool) -> Result<u8, Failure> {
    if args.print_config {
        let example = ReflexConfig::example().to_robot();
        say_text!("{}", example.map_err(|why| Failure::new(why.to_string()))?);
        return Ok(DONE);
    }
    if let Some(log) = &args.replay {
        let config = args.config.as_deref().ok_or_else(no_config)?;
        return replay_log(log, config, json);
    }
    if let Some(folder) = &args.bench_parent {
        let program = std::env::current_exe().map_err(|why| Failure::new(why.to_string()))?;
        bench::parent(&program, folder).map_err(|why| Failure::new(why.to_string()))?;
        return Ok(DONE);
    }
    if args.bench {
        return measure(&args, json);
    }
    let (Some(board), Some(config), Some(latch)) = (args.board, args.config, args.latch) else {
        return Err(Failure::usage(
            "the reflexes need a board, a configuration and a place for the e-stop",
        )
        .help(
            "`gpak robot run` starts them; `gpak reflexd --print-config` prints a configuration",
        ));
    };
    let options = Options {
        board,
        config,
        latch,
        log: args.log,
    };
    let started =
        process::session_from_stdin().and_then(|session| process::run(&options, &session, |_| {}));
    match started.map_err(|why| Failure::new(why.to_string()))? {
        Ended::Told => Ok(DONE),
        Ended::Orphaned => {
            eprintln!("gpak reflexd: the parent is dead; the drive is safe");
            Ok(FAILED)
        }
    }
}

fn no_config() -> Failure {
    Failure::usage("--config names the robot.toml with which the log was made")
}

/// Each start of the reflexes begins a chain of its own: a log may hold several.
fn replay_log(log: &std::path::Path, config: &std::path::Path, json: bool) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(config).map_err(file(config))?;
    let config = ReflexConfig::from_robot(&text).map_err(|why| Failure::usage(why.to_string()))?;
    let bytes = std::fs::read(log).map_err(file(log))?;
    let (records, rest) = bytes.as_chunks::<{ Record::BYTES }>();
    let mut chains: Vec<Vec<Record>> = Vec::new();
    for bytes in records {
        let record = Record::from_bytes(bytes)
            .ok_or_else(|| Failure::new(format!("{} is no log of decisions", log.display())))?;
        match chains.last_mut() {
            Some(chain) if record.number != 1 => chain.push(record),
            _ => chains.push(vec![record]),
        }
    }
    let mut code = DONE;
    for chain in chains {
        let count = chain.len();
        match replay(&config.envelopes(), chain) {
            Replayed::Same { decisions, hash } => {
                let hash = blake3::Hash::from_bytes(hash).to_hex();
                if json {
                    print_json(&serde_json::json!({"decisions": decisions, "hash": hash.as_str()}));
                } else {
                    say!("{decisions} decisions, made again hash for hash; the last is {hash}");
                }
            }
            Replayed::Differs {
                number,
                logged,
                made,
            } => {
                code = FAILED;
                if json {
                    print_json(
                        &serde_json::json!({"differs": number, "of": count, "logged": logged, "made": made}),
                    );
                } else {
                    say!(
                        "decision {number} of {count} is not the one that its input gives: logged {logged:?}, \
                         made {made:?}"
                    );
                }
            }
        }
    }
    if !rest.is_empty() {
        eprintln!("gpak reflexd: the last decision was not written whole");
    }
    Ok(code)
}

fn measure(args: &ReflexdArgs, json: bool) -> Result<u8, Failure> {
    let program = std::env::current_exe().map_err(|why| Failure::new(why.to_string()))?;
    let folder = tempfile::tempdir().map_err(|why| Failure::new(why.to_string()))?;
    let bench = Bench {
        program,
        folder: folder.path().to_path_buf(),
        duration: Duration::from_secs(args.duration),
        load: args.load,
    };
    let print = |finding: &Finding| {
        if json {
            print_json(&serde_json::json!(finding));
        } else {
            say!("{finding}");
        }
    };
    bench::run(&bench, print).map_err(|why| {
        let said = std::fs::read_to_string(folder.path().join(bench::SAID)).unwrap_or_default();
        let failed = Failure::new(why.to_string());
        match said.trim().lines().next_back() {
            Some(last) => failed.help(format!("the measured processes said last: {last}")),
            None => failed,
        }
    })?;
    Ok(DONE)
}
