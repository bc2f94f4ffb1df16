//! `gpak robot stop` and `gpak robot release`: the e-stop.

use std::io::Write as _;

use gpak_edge::{
    body::control::{self, Ask, ControlError, note_release},
    reflex::{latch::Latch, shm::Board},
};
use serde_json::json;

use super::{args::ReleaseArgs, body, living::Living, nobody};
use crate::{
    commands::print_json,
    failure::{DONE, Failure, file},
    home::Home,
    human,
};

impl From<ControlError> for Failure {
    fn from(why: ControlError) -> Self {
        Self::new(why.to_string())
    }
}

/// `gpak robot stop`: the board is enough for it, whatever the robot's process does.
pub fn stop(home: &Home, json: bool) -> Result<u8, Failure> {
    let living = Living::find(home).ok_or_else(nobody)?;
    let board = Board::open(&living.board).map_err(|_| nobody())?;
    board.press();
    match json {
        true => print_json(&json!({"name": living.name, "pressed": true})),
        false => say!(
            "the e-stop of {} is pressed; `gpak robot release --reason TEXT` releases it",
            living.name
        ),
    }
    Ok(DONE)
}

/// `gpak robot release`
pub async fn release(home: &Home, args: &ReleaseArgs, json: bool) -> Result<u8, Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("say with --reason why it may move again"));
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "a user of this machine".to_owned());
    let name = match (&args.robot, Living::find(home)) {
        (None, Some(living)) => {
            confirm(args, &living.name)?;
            let ask = Ask::Release {
                by,
                reason: args.reason.clone(),
            };
            control::ask(&living.control, &ask).await?;
            living.name
        }
        (None, None) => {
            return Err(nobody().help(
                "for the e-stop of a robot that is to be started: gpak robot release --robot FILE --reason TEXT",
            ));
        }
        (Some(path), living) => {
            let robot = body::read(path)?;
            if living.is_some_and(|living| living.name == robot.name) {
                return Err(Failure::usage(format!(
                    "{} lives now; leave out --robot",
                    robot.name
                )));
            }
            let latch = Latch::at(&body::latch(home, &robot.name));
            if !latch.holds() {
                return Err(Failure::new(format!("no e-stop of {} holds", robot.name)));
            }
            confirm(args, &robot.name)?;
            let releases = Living::releases(home);
            note_release(&releases, &by, &args.reason).map_err(file(&releases))?;
            latch.clear().map_err(file(latch.path()))?;
            robot.name
        }
    };
    match json {
        true => print_json(&json!({"name": name, "released": true, "reason": args.reason})),
        false => {
            say!("the e-stop of {name} is released; its mission stands until it is let go on")
        }
    }
    Ok(DONE)
}

/// A person says that they have looked.
fn confirm(args: &ReleaseArgs, name: &str) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let refused = || {
        Failure::usage(format!("the e-stop of {name} holds still")).help(
            "look at the robot and its surroundings, then say so: `y` at a terminal, or --yes",
        )
    };
    if !human::is_there() {
        return Err(refused());
    }
    eprint!("Have you looked at {name}, and is nobody in its way? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    match read.is_ok() && matches!(line.trim(), "y" | "yes") {
        true => Ok(()),
        false => Err(refused()),
    }
}
