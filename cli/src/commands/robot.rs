//! `gpak robot`: the same kernel with a body.

mod aboard;
pub mod args;
mod peers;
mod sim;
mod view;

use gpak_edge::{
    body::record::{RecordError, replay_file},
    reflex::{arbiter::Replayed, clock, shm::Board, verdict::Causes},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::args::RobotCommand;
use crate::{
    commands::print_json,
    failure::{DONE, FAILED, Failure},
    home::Home,
};

/// `gpak robot`
pub async fn robot(home: &Home, command: RobotCommand, json: bool) -> Result<u8, Failure> {
    match command {
        RobotCommand::Sim(args) => sim::sim(home, *args, json).await,
        RobotCommand::Status => status(home, json),
        RobotCommand::Peers { mesh, listen } => peers::peers(&mesh, listen, json).await,
        RobotCommand::Key { file } => peers::key(&file, json),
        RobotCommand::Replay { file } => replay(&file, json),
    }
}

/// Where the body of this user's robot is found while it lives.
#[derive(Serialize, Deserialize)]
struct Living {
    board: std::path::PathBuf,
    pid: u32,
    world: String,
}

fn living_file(home: &Home) -> std::path::PathBuf {
    home.data.join("robot").join("body.json")
}

/// `gpak robot status`
fn status(home: &Home, json: bool) -> Result<u8, Failure> {
    let none = || {
        Failure::new("no robot of this user lives now".to_owned())
            .help("start one: gpak robot sim --world examples/robots/rescue.toml \"TASK\"")
    };
    let text = std::fs::read_to_string(living_file(home)).map_err(|_| none())?;
    let living: Living = serde_json::from_str(&text).map_err(|_| none())?;
    let board = Board::open(&living.board).map_err(|_| none())?;
    let status = board.status().ok_or_else(none)?;
    let pose = board.odometry().map(|odometry| odometry.value.pose);
    let battery = board.battery().map(|battery| battery.value.charge);
    let age = status.at.age(clock::now());
    if json {
        print_json(&json!({
            "world": living.world, "pid": living.pid, "reflexd": status.pid,
            "age_ms": age.as_millis() as u64, "epoch": status.epoch,
            "latched": status.latched, "realtime": status.realtime, "severity": status.severity,
            "causes": names(status.causes), "twist": status.twist, "pose": pose,
            "battery": battery, "decisions": status.decisions, "missed": status.missed,
        }));
        return Ok(DONE);
    }
    println!(
        "world     {} (process {}, reflexes {})",
        living.world, living.pid, status.pid
    );
    if let Some(pose) = pose {
        let degrees = pose.heading_rad.to_degrees();
        println!(
            "at        ({:.2}, {:.2}), heading {degrees:.0}°",
            pose.x_m, pose.y_m
        );
    }
    let twist = status.twist;
    println!(
        "moves     {:.2} m/s, {:.2} rad/s",
        twist.linear_mps, twist.angular_radps
    );
    if let Some(charge) = battery {
        println!("battery   {:.0} %", charge * 100.0);
    }
    let held = if status.causes.is_empty() {
        "nothing".to_owned()
    } else {
        status.causes.to_string()
    };
    println!(
        "held by   {held}{}",
        if status.latched { "; E-STOP" } else { "" }
    );
    let class = if status.realtime {
        "real-time class"
    } else {
        "DEGRADED: no real-time class"
    };
    println!(
        "reflexes  {} decisions, {} ticks missed, {class}, said {age:.0?} ago",
        status.decisions, status.missed
    );
    Ok(DONE)
}

fn names(causes: Causes) -> Vec<&'static str> {
    causes.iter().map(|cause| cause.name()).collect()
}

/// `gpak robot replay`
fn replay(file: &std::path::Path, json: bool) -> Result<u8, Failure> {
    let recording = replay_file(file).map_err(|why: RecordError| {
        Failure::new(why.to_string()).help("give the .mcap file that `gpak robot sim` wrote")
    })?;
    let code = match &recording.replayed {
        Replayed::Same { .. } => DONE,
        Replayed::Differs { .. } => FAILED,
    };
    if json {
        let replayed = match &recording.replayed {
            Replayed::Same { decisions, hash } => {
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({"same": true, "decisions": decisions, "hash": hash})
            }
            Replayed::Differs {
                number,
                logged,
                made,
            } => {
                json!({"same": false, "number": number, "logged": logged, "made": made})
            }
        };
        print_json(&json!({"channels": recording.channels, "replay": replayed}));
        return Ok(code);
    }
    for (channel, messages) in &recording.channels {
        println!("{messages:8}  {channel}");
    }
    match recording.replayed {
        Replayed::Same { decisions, hash } => {
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            println!(
                "{decisions} decisions made again, each with the same hash; the last is {hash}"
            );
        }
        Replayed::Differs {
            number,
            logged,
            made,
        } => println!(
            "decision {number} differs: logged {:.3} m/s, made {:.3} m/s; the recording was changed, or \
             this gpak decides otherwise",
            logged.linear_mps, made.linear_mps
        ),
    }
    Ok(code)
}
