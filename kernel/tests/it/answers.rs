//! What is said to a run that waits and that nobody drives, as a service passes it on.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gpak_kernel::{
    event::{Decision, Event, Outcome, PauseReason, Requested},
    label::Label,
    model::{CallId, scripted::Line},
    policy::Permissions,
    run::{
        Answer, DriveError, Ended, Human, Machine, Resumption, Status, Waiting, child::Delegate,
        replay, waiting,
    },
};
use serde_json::json;

use crate::world::{RUN, World, task};

const FIRST: CallId = CallId { reply: 1, index: 0 };
const SECOND: CallId = CallId { reply: 1, index: 1 };

fn call(tool: &str, what: &str) -> Line {
    Line::call(tool, json!({"what": what}))
}

fn finish(answer: &str) -> Line {
    Line::call("finish", json!({"answer": answer}))
}

fn completed(answer: &str) -> Ended {
    let answer = answer.into();
    Ended::Finished(Outcome::Completed { answer })
}

/// Two calls in one reply.
fn both(first: Line, second: Line) -> Line {
    let calls = first.calls.into_iter().chain(second.calls).collect();
    Line {
        calls,
        ..Line::default()
    }
}

fn decide(decision: Decision) -> Answer {
    Answer::Decision(decision, String::new())
}

async fn waits(world: &World) -> Vec<Waiting> {
    let waits = waiting::of(world.driver.journal.as_ref(), RUN).await;
    waits.unwrap().into_iter().map(|(_, it)| it).collect()
}

async fn answer(world: &World, call: CallId, answer: Answer) -> Result<(), DriveError> {
    let answers = vec![(call, answer, Label::User)];
    world.driver.answer(RUN, answers).await
}

const UNANSWERED: Ended = Ended::Paused(PauseReason::Unanswered);

#[tokio::test]
async fn a_decision_that_comes_later_is_written_down_and_holds() {
    let world = World::new(vec![call("send", "it"), finish("sent")]);
    world.create(task(Permissions::default(), true)).await;
    assert_eq!(world.drive(true).await, UNANSWERED);
    assert!(matches!(
        waits(&world).await.as_slice(),
        [Waiting::Approval { call, .. }] if call.id == FIRST
    ));
    answer(&world, FIRST, decide(Decision::Allow))
        .await
        .unwrap();
    assert!(waits(&world).await.is_empty(), "it can go on");
    assert!(world.done().is_empty(), "nobody drives it");
    assert_eq!(world.drive(true).await, completed("sent"));
    assert_eq!(world.done(), ["send it"]);
    let asked = |event: &&Event| matches!(event, Event::ApprovalRequested { .. });
    assert_eq!(world.events().await.iter().filter(asked).count(), 1);
}

#[tokio::test]
async fn what_a_run_does_not_wait_for_is_no_answer_to_it() {
    let world = World::new(vec![call("send", "it"), finish("not sent")]);
    world.create(task(Permissions::default(), true)).await;
    world.drive(true).await;
    for (call, said) in [
        (SECOND, decide(Decision::Allow)),
        (FIRST, Answer::Text("yes".into())),
        (FIRST, decide(Decision::WasDone)),
    ] {
        let wrong = answer(&world, call, said).await;
        assert!(matches!(wrong, Err(DriveError::Unable(_))), "{wrong:?}");
    }
    answer(&world, FIRST, decide(Decision::Deny)).await.unwrap();
    let twice = answer(&world, FIRST, decide(Decision::Allow)).await;
    assert!(twice.is_err(), "it was decided already");
    assert_eq!(world.drive(true).await, completed("not sent"));
    assert!(world.done().is_empty());
}

#[tokio::test]
async fn answers_to_several_calls_are_written_down_together_and_keep_their_label() {
    let ask = |what: &str| Line::call("ask_user", json!({"question": what}));
    let world = World::new(vec![both(ask("one?"), ask("two?")), finish("ok")]);
    world.create(task(Permissions::default(), true)).await;
    assert_eq!(world.drive(true).await, UNANSWERED);
    assert_eq!(waits(&world).await.len(), 2);
    let tool = Label::Tool("client".into());
    let said = |text: &str| Answer::Text(text.into());
    let answers = vec![
        (FIRST, said("1"), tool.clone()),
        (SECOND, said("2"), tool.clone()),
    ];
    world.driver.answer(RUN, answers).await.unwrap();
    assert_eq!(world.drive(true).await, completed("ok"));
    let from = |event: Event| match event {
        Event::ToolFinished { from, .. } => Some(from),
        _ => None,
    };
    let labels: Vec<_> = world.events().await.into_iter().filter_map(from).collect();
    assert_eq!(labels, [tool.clone(), tool, Label::Own]);
}

#[tokio::test]
async fn a_childs_question_is_found_and_answered_in_the_child() {
    let world = World::new(vec![
        Line {
            when: Some("do it".into()),
            ..Line::call("delegate", json!({"task": "the part"}))
        },
        Line {
            when: Some("the part".into()),
            ..call("send", "part")
        },
        finish("child"),
        finish("parent"),
    ])
    .with([Arc::new(Delegate::default()) as _]);
    let mut spec = task(Permissions::default(), true);
    spec.permissions.rules =
        vec![serde_json::from_value(json!({"access": "allow", "tool": "delegate"})).unwrap()];
    world.create(spec).await;
    assert_eq!(world.drive(true).await, UNANSWERED);
    let child = RUN.child(FIRST);
    let found = waiting::of(world.driver.journal.as_ref(), RUN)
        .await
        .unwrap();
    assert!(matches!(found.as_slice(), [(run, Waiting::Approval { .. })] if *run == child));
    let answers = vec![(FIRST, decide(Decision::Allow), Label::User)];
    world.driver.answer(child, answers).await.unwrap();
    assert!(waits(&world).await.is_empty());
    assert!(matches!(world.drive(true).await, Ended::Finished(_)));
    assert_eq!(world.done(), ["send part"]);
}

#[tokio::test]
async fn a_run_that_is_cancelled_is_over_with_those_it_started() {
    let world = World::new(vec![
        Line {
            when: Some("do it".into()),
            ..Line::call("delegate", json!({"task": "the part"}))
        },
        call("send", "part"),
    ])
    .with([Arc::new(Delegate::default()) as _]);
    let mut spec = task(Permissions::default(), true);
    spec.permissions.rules =
        vec![serde_json::from_value(json!({"access": "allow", "tool": "delegate"})).unwrap()];
    world.create(spec).await;
    assert_eq!(world.drive(true).await, UNANSWERED);
    assert!(world.driver.cancel(RUN).await.unwrap());
    assert!(!world.driver.cancel(RUN).await.unwrap(), "it was over");
    for run in [RUN, RUN.child(FIRST)] {
        let entries = world.driver.journal.read(run, 1).await.unwrap();
        replay::check(&entries).unwrap();
        assert_eq!(Machine::fold(&entries).state().status, Status::Cancelled);
    }
    assert!(!world.driver.say(RUN, "too late".into()).await.unwrap());
    assert!(waits(&world).await.is_empty());
}

#[tokio::test]
async fn a_run_that_never_began_can_be_cancelled() {
    let world = World::new(vec![]);
    world.create(task(Permissions::default(), true)).await;
    assert!(world.driver.cancel(RUN).await.unwrap());
    replay::check(&world.entries().await).unwrap();
    assert_eq!(world.drive(true).await, Ended::Finished(Outcome::Cancelled));
}

#[tokio::test]
async fn a_run_that_nobody_can_drive_waits_or_has_failed_and_says_why() {
    let world = World::new(vec![call("send", "it"), finish("ok")]);
    world.create(task(Permissions::default(), true)).await;
    world.drive(true).await;
    let why = || "the model is gone".to_owned();
    world.driver.give_up(RUN, why()).await.unwrap();
    let paused = Machine::fold(&world.entries().await).state().paused.clone();
    assert_eq!(paused, Some(PauseReason::Model { message: why() }));
    let change = || Resumption {
        attended: true,
        ..Resumption::default()
    };
    assert!(world.driver.release(RUN, change()).await.unwrap());
    assert!(!world.driver.release(RUN, change()).await.unwrap());
    answer(&world, FIRST, decide(Decision::Allow))
        .await
        .unwrap();
    assert_eq!(world.drive(true).await, completed("ok"));

    let world = World::new(vec![]);
    world.create(task(Permissions::default(), true)).await;
    world.driver.give_up(RUN, why()).await.unwrap();
    let failed = Outcome::Failed { reason: why() };
    assert_eq!(world.drive(true).await, Ended::Finished(failed));
}

#[tokio::test]
async fn what_was_asked_for_is_kept_with_the_task() {
    let world = World::new(vec![finish("ok")]);
    let request = Requested {
        by: "ann".into(),
        ..Requested::default()
    };
    let spec = task(Permissions::default(), true);
    let created = world
        .driver
        .create_requested(RUN, spec, Some(request.clone()));
    created.await.unwrap();
    assert_eq!(world.drive(true).await, completed("ok"));
    let events = world.events().await;
    assert_eq!(events[1], Event::RunRequested { request });
}

/// Says something once it is looked for the n-th time.
struct Interrupts(Mutex<(usize, Vec<String>)>);

#[async_trait]
impl Human for Interrupts {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        None
    }

    fn said(&self) -> Vec<String> {
        let mut state = self.0.lock().unwrap();
        state.0 = state.0.saturating_sub(1);
        match state.0 {
            0 => std::mem::take(&mut state.1),
            _ => Vec::new(),
        }
    }
}

#[tokio::test]
async fn what_is_said_meanwhile_is_heard_between_two_steps() {
    for step in 1..6 {
        let heard = Line {
            when: Some("look twice".into()),
            ..call("look", "twice")
        };
        let mut world = World::new(vec![call("look", "once"), heard.clone(), finish("ok")]);
        let said = Interrupts(Mutex::new((step, vec!["look twice".into()])));
        world.driver.human = Arc::new(said);
        world.create(task(Permissions::default(), true)).await;
        let ended = world.drive(true).await;
        let messages = world
            .events()
            .await
            .into_iter()
            .filter_map(|event| match event {
                Event::MessageReceived {
                    text,
                    from: Label::User,
                } => Some(text),
                _ => None,
            });
        assert_eq!(
            messages.collect::<Vec<_>>(),
            ["look twice"],
            "{step}: {ended:?}"
        );
    }
}
