//! `gpak robot`: the same kernel with a body.

mod aboard;
pub mod args;
mod body;
mod life;
pub mod living;
mod mission;
mod peers;
mod release;
mod view;

use gpak_edge::{
    body::record::{RecordError, replay_file},
    reflex::{arbiter::Replayed, clock, shm::Board, verdict::Causes},
};
use serde_json::json;

use self::{args::RobotCommand, body::Body, living::Living};
use crate::{
    commands::print_json,
    failure::{DONE, FAILED, Failure},
    home::Home,
};

/// `gpak robot`
pub async fn robot(home: &Home, command: RobotCommand, json: bool) -> Result<u8, Failure> {
    match command {
        RobotCommand::Run(args) => {
            let body = Body::of_robot(home, &args)?;
            mission::mission(home, &args.mission, body, json).await
        }
        RobotCommand::Sim(args) => {
            let body = Body::of_world(&args)?;
            mission::mission(home, &args.mission, body, json).await
        }
        RobotCommand::Status => status(home, json),
        RobotCommand::Stop => release::stop(home, json),
        RobotCommand::Release(args) => release::release(home, &args, json).await,
        RobotCommand::Peers { mesh, listen } => peers::peers(&mesh, listen, json).await,
        RobotCommand::Key { file } => peers::key(&file, json),
        RobotCommand::Replay { file } => replay(&file, json),
    }
}

fn nobody() -> Failure {
    Failure::new("no robot of this user lives now".to_owned())
        .help("start one: gpak robot sim --world examples/robots/rescue.toml \"TASK\"")
}

/// `gpak robot status`
fn status(home: &Home, json: bool) -> Result<u8, Failure> {
    let none = nobody;
    let living = Living::find(home).ok_or_else(none)?;
    let board = Board::open(&living.board).map_err(|_| none())?;
    let status = board.status().ok_or_else(none)?;
    let pose = board.odometry().map(|odometry| odometry.value.pose);
    let battery = board.battery().map(|battery| battery.value.charge);
    let age = status.at.age(clock::now());
    if json {
        print_json(&json!({
            "name": living.name, "pid": living.pid, "reflexd": status.pid,
            "age_ms": age.as_millis() as u64, "epoch": status.epoch,
            "latched": status.latched, "realtime": status.realtime, "severity": status.severity,
            "causes": names(status.causes), "twist": status.twist, "pose": pose,
            "battery": battery, "decisions": status.decisions, "missed": status.missed,
        }));
        return Ok(DONE);
    }
    say!(
        "robot     {} (process {}, reflexes {})",
        living.name,
        living.pid,
        status.pid
    );
    if let Some(pose) = pose {
        let degrees = pose.heading_rad.to_degrees();
        say!(
            "at        ({:.2}, {:.2}), heading {degrees:.0}°",
            pose.x_m,
            pose.y_m
        );
    }
    let twist = status.twist;
    say!(
        "moves     {:.2} m/s, {:.2} rad/s",
        twist.linear_mps,
        twist.angular_radps
    );
    if let Some(charge) = battery {
        say!("battery   {:.0} %", charge * 100.0);
    }
    let held = if status.causes.is_empty() {
        "nothing".to_owned()
    } else {
        status.causes.to_string()
    };
    say!(
        "held by   {held}{}",
        if status.latched {
            "; E-STOP, until `gpak robot release`"
        } else {
            ""
        }
    );
    let class = if status.realtime {
        "real-time class"
    } else {
        "DEGRADED: no real-time class"
    };
    say!(
        "reflexes  {} decisions, {} ticks missed, {class}, said {age:.0?} ago",
        status.decisions,
        status.missed
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
        say!("{messages:8}  {channel}");
    }
    match recording.replayed {
        Replayed::Same { decisions, hash } => {
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            say!("{decisions} decisions made again, each with the same hash; the last is {hash}");
        }
        Replayed::Differs {
            number,
            logged,
            made,
        } => say!(
            "decision {number} differs: logged {:.3} m/s, made {:.3} m/s; the recording was changed, or \
             this gpak decides otherwise",
            logged.linear_mps,
            made.linear_mps
        ),
    }
    Ok(code)
}
