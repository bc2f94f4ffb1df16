//! Verification: nothing ends before the task's check succeeds.

use gpak_kernel::{
    event::{CallOutcome, Event, Outcome, PauseReason, Purpose, Refusal, RunSpec},
    model::scripted::Line,
    policy::{Access, Permissions, Rule},
    run::{DriveError, Ended},
};
use serde_json::json;

use crate::world::{Commands, RUN, World, task, yes};

fn checked(check: &[&str]) -> RunSpec {
    RunSpec {
        check: check.iter().map(|one| (*one).to_owned()).collect(),
        ..task(yes(), false)
    }
}

fn world(lines: Vec<Line>, codes: &[i32]) -> World {
    let world = World::new(lines);
    let commands = Commands::ending(codes, &world.log);
    world.with([commands])
}

fn finish(answer: &str) -> Line {
    Line::call("finish", json!({"answer": answer}))
}

fn look(what: &str) -> Line {
    Line::call("look", json!({"what": what}))
}

fn completed(answer: &str) -> Ended {
    let answer = answer.into();
    Ended::Finished(Outcome::Completed { answer })
}

fn refusals(events: &[Event]) -> Vec<String> {
    let refused = events.iter().filter_map(|event| match event {
        Event::ToolFinished {
            outcome:
                CallOutcome::Refused {
                    by: Refusal::Check,
                    message,
                },
            ..
        } => Some(message.clone()),
        _ => None,
    });
    refused.collect()
}

#[tokio::test]
async fn every_check_runs_before_an_answer_counts() {
    let world = world(vec![finish("ok")], &[0, 0]);
    assert_eq!(world.run(checked(&["one", "two"])).await, completed("ok"));
    assert_eq!(world.done(), ["run one", "run two"]);
    let decided = |event: &&Event| {
        matches!(
            event,
            Event::CallsDecided {
                purpose: Purpose::Check,
                ..
            }
        )
    };
    assert_eq!(world.events().await.iter().filter(decided).count(), 2);
}

#[tokio::test]
async fn a_failed_check_goes_back_to_the_model_and_the_next_is_not_run() {
    let lines = vec![
        finish("too early"),
        Line {
            when: Some("it says 7".into()),
            ..look("a")
        },
        finish("now"),
    ];
    let world = world(lines, &[7, 0, 0]);
    assert_eq!(world.run(checked(&["one", "two"])).await, completed("now"));
    assert_eq!(world.done(), ["run one", "look a", "run one", "run two"]);
    let refused = refusals(&world.events().await);
    assert!(
        refused[0].contains("`one` failed") && refused[0].contains("exit code 7"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_answer_in_text_is_checked_as_well() {
    let again = Line {
        when: Some("exit code 1".into()),
        ..Line::text("second")
    };
    let world = world(vec![Line::text("first"), again], &[1, 0]);
    assert_eq!(world.run(checked(&["one"])).await, completed("second"));
}

#[tokio::test]
async fn checks_that_fail_again_and_again_end_the_run_with_the_reason() {
    let world = world(
        vec![finish("1"), look("a"), finish("2"), finish("3")],
        &[1, 2, 3],
    );
    let ended = world.run(checked(&["one"])).await;
    let Ended::Finished(Outcome::Failed { reason }) = ended else {
        panic!("{ended:?}");
    };
    assert!(
        reason.contains("failed 3 times") && reason.contains("exit code 3"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_model_is_told_with_its_task_what_will_be_checked() {
    let told = Line {
        when: Some("When you finish, `one` is run and must succeed.".into()),
        ..finish("ok")
    };
    let world = world(vec![told], &[0]);
    assert_eq!(world.run(checked(&["one"])).await, completed("ok"));
}

#[tokio::test]
async fn a_check_is_stopped_like_any_act() {
    let world = world(vec![finish("ok")], &[]);
    world.create(checked(&["hang"])).await;
    let (stop, log) = (world.driver.stop.clone(), world.log.clone());
    let stopper = tokio::spawn(async move {
        while log.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    assert_eq!(
        world.drive(false).await,
        Ended::Paused(PauseReason::Interrupted)
    );
    stopper.await.unwrap();
    let attempts = |events: &[Event]| {
        let starts = events.iter().filter_map(|event| match event {
            Event::ToolStarted { attempt, .. } => Some(*attempt),
            _ => None,
        });
        starts.collect::<Vec<_>>()
    };
    assert_eq!(attempts(&world.events().await), [1]);
}

#[tokio::test]
async fn after_a_crash_at_any_entry_a_checked_run_ends_the_same() {
    let lines = vec![finish("early"), look("a"), finish("ok")];
    let full = world(lines.clone(), &[1, 0, 0]);
    assert_eq!(full.run(checked(&["one", "two"])).await, completed("ok"));
    let entries = full.entries().await;
    let codes = |cut: usize| {
        let finished = entries[..cut].iter().filter(|entry| {
            matches!(&entry.event, Event::ToolFinished { tool, .. } if tool == "run_command")
        });
        [1, 0, 0][finished.count()..].to_vec()
    };
    for cut in 1..=entries.len() {
        let world = world(lines.clone(), &codes(cut));
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        assert_eq!(world.drive(false).await, completed("ok"), "cut after {cut}");
    }
}

#[tokio::test]
async fn a_check_that_the_policy_denies_or_nothing_can_run_is_said_at_once() {
    let deny = Rule {
        access: Access::Deny,
        tool: Some("run_command".into()),
        effect: None,
        args: Default::default(),
    };
    let world = world(vec![], &[]);
    let mut spec = checked(&["one"]);
    spec.permissions = Permissions {
        rules: vec![deny],
        yes: true,
    };
    let denied = world.driver.create(RUN, spec).await;
    assert!(
        matches!(&denied, Err(DriveError::Unable(why)) if why.contains("denies its own check `one`")),
        "{denied:?}"
    );
    let bare = World::new(vec![]);
    let unable = bare.driver.create(RUN, checked(&["one"])).await;
    assert!(matches!(unable, Err(DriveError::Unable(_))), "{unable:?}");
}
