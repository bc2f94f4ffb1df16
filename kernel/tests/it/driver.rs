use std::time::Duration;

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Decision, Event, Origin, Outcome, PauseReason, Refusal, RunId, Strategy},
    journal::JournalError,
    label::Label,
    model::{Message, ModelError, ToolCall, scripted::Line},
    policy::{Access, Budget, Permissions, Rule},
    run::{
        Answer, DriveError, Ended, Human, Introduced, Machine, Next, Resumption, Status, Waiting,
        replay,
    },
    tool::ToolSpec,
};
use serde_json::json;

use crate::world::{RUN, World, task, yes};

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

fn refused(events: &[Event]) -> Vec<(Refusal, String)> {
    let refused = events.iter().filter_map(|event| match event {
        Event::ToolFinished {
            outcome: CallOutcome::Refused { by, message },
            ..
        } => Some((*by, message.clone())),
        _ => None,
    });
    refused.collect()
}

#[tokio::test]
async fn a_task_goes_from_thought_to_call_to_answer() {
    let world = World::new(vec![call("look", "a"), call("send", "b"), finish("done")]);
    assert_eq!(world.run(task(yes(), false)).await, completed("done"));
    assert_eq!(world.done(), ["look a", "send b"]);
}

#[tokio::test]
async fn a_reply_of_text_is_the_answer() {
    let world = World::new(vec![Line::text("42")]);
    assert_eq!(world.run(task(yes(), false)).await, completed("42"));
}

#[tokio::test]
async fn an_empty_reply_is_sent_back() {
    let world = World::new(vec![Line::text("  "), finish("now")]);
    assert_eq!(world.run(task(yes(), false)).await, completed("now"));
}

#[tokio::test]
async fn pure_calls_run_together_and_others_alone_in_order() {
    let calls = ["look a", "look b", "save c", "look d", "send e"];
    let calls = calls.iter().map(|call| {
        let (name, what) = call.split_once(' ').unwrap();
        ToolCall {
            name: name.into(),
            args: json!({"what": what}),
        }
    });
    let line = Line {
        calls: calls.collect(),
        ..Line::default()
    };
    let world = World::new(vec![line, finish("ok")]);
    world.run(task(yes(), false)).await;
    assert_eq!(
        world.done(),
        ["look a", "look b", "save c", "look d", "send e"]
    );
    let shape: String = world
        .events()
        .await
        .iter()
        .filter_map(|event| match event {
            Event::ToolStarted { .. } => Some('('),
            Event::ToolFinished { tool, .. } if tool != "finish" => Some(')'),
            _ => None,
        })
        .collect();
    assert_eq!(shape, "(())()()()");
}

#[tokio::test]
async fn wrong_arguments_never_reach_a_tool_and_are_charged() {
    let world = World::new(vec![
        Line::call("send", json!({"what": 3})),
        Line::call("send", json!("{\"what\": ")),
        Line::call("sned", json!({"what": "x"})),
        finish("gave up"),
    ]);
    assert_eq!(world.run(task(yes(), false)).await, completed("gave up"));
    assert!(world.done().is_empty());
    let refused = refused(&world.events().await);
    let by: Vec<_> = refused.iter().map(|(by, _)| *by).collect();
    assert_eq!(by, [Refusal::Schema, Refusal::Schema, Refusal::UnknownTool]);
    assert!(
        refused[2]
            .1
            .contains("the tools are ask_user, finish, look"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_headless_run_never_waits_for_an_approval() {
    let world = World::new(vec![
        call("save", "x"),
        Line::call("ask_user", json!({"question": "may I?"})),
        finish("could not"),
    ]);
    assert_eq!(
        world.run(task(Permissions::default(), false)).await,
        completed("could not")
    );
    assert!(world.done().is_empty());
    let refused = refused(&world.events().await);
    assert!(
        refused.iter().all(|(by, _)| *by == Refusal::Permission),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_user_allows_denies_and_allows_for_the_run() {
    let decide = |decision, note: &str| Some(Answer::Decision(decision, note.into()));
    let world = World::new(vec![
        call("send", "a"),
        call("send", "b"),
        call("save", "c"),
        call("save", "d"),
        Line::call("ask_user", json!({"question": "name?"})),
        Line {
            when: Some("Ada".into()),
            ..finish("for Ada")
        },
    ])
    .answered_by(vec![
        decide(Decision::Deny, "not yet"),
        decide(Decision::Allow, ""),
        decide(Decision::AllowForRun, ""),
        Some(Answer::Text("Ada".into())),
    ]);
    assert_eq!(
        world.run(task(Permissions::default(), true)).await,
        completed("for Ada")
    );
    assert_eq!(world.done(), ["send b", "save c", "save d"]);
}

#[tokio::test]
async fn a_policy_that_denies_holds_against_yes() {
    let rule = Rule {
        access: Access::Deny,
        tool: Some("send".into()),
        effect: None,
        args: Default::default(),
    };
    let world = World::new(vec![call("send", "a"), finish("no")]);
    let permissions = Permissions {
        rules: vec![rule],
        yes: true,
    };
    world.run(task(permissions, false)).await;
    assert!(world.done().is_empty());
}

#[tokio::test]
async fn a_run_nobody_answers_waits_and_asks_again_when_resumed() {
    let world = World::new(vec![call("send", "a"), finish("sent")]).answered_by(vec![
        None,
        Some(Answer::Decision(Decision::Allow, String::new())),
    ]);
    world.create(task(Permissions::default(), true)).await;
    assert_eq!(
        world.drive(true).await,
        Ended::Paused(PauseReason::Unanswered)
    );
    assert_eq!(world.drive(true).await, completed("sent"));
    assert_eq!(world.done(), ["send a"]);
}

#[tokio::test]
async fn a_used_up_budget_pauses_and_more_of_it_goes_on() {
    let world = World::new(vec![call("look", "a"), call("look", "b"), finish("ok")]);
    let mut spec = task(yes(), false);
    spec.budget.steps = 2;
    world.create(spec).await;
    let paused = world.drive(false).await;
    assert!(
        matches!(paused, Ended::Paused(PauseReason::Budget { .. })),
        "{paused:?}"
    );
    assert!(
        matches!(world.drive(false).await, Ended::Paused(_)),
        "no more without more budget"
    );
    let more = Resumption {
        budget: Some(Budget {
            steps: 9,
            ..Budget::default()
        }),
        ..Resumption::default()
    };
    assert_eq!(world.drive_with(more).await, completed("ok"));
}

#[tokio::test]
async fn a_repeated_call_is_answered_then_changes_the_strategy_then_ends_the_run() {
    let world = World::new(vec![call("look", "a"); 7]);
    let ended = world.run(task(yes(), false)).await;
    assert!(
        matches!(&ended, Ended::Finished(Outcome::Failed { reason }) if reason.contains("no progress")),
        "{ended:?}"
    );
    assert_eq!(world.done(), ["look a"], "a repetition is not made");
    let events = world.events().await;
    assert!(refused(&events)[0].1.contains("its result was:\ndid a"));
    let explores = |event: &Event| {
        matches!(
            event,
            Event::StrategyChanged {
                strategy: Strategy::Explore,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(|event| explores(event)).count(), 1);
}

#[tokio::test]
async fn a_run_whose_last_change_failed_is_sent_back_once_before_it_ends() {
    let sent_back = |events: &[Event]| {
        let refused = refused(events);
        let back = refused.iter().filter(|(by, _)| *by == Refusal::Unfinished);
        back.map(|(_, message)| message.clone()).collect::<Vec<_>>()
    };
    let world = World::new(vec![
        call("save", "reject"),
        finish("saved"),
        call("save", "b"),
        finish("ok"),
    ]);
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    let messages = sent_back(&world.events().await);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("save did not work"), "{messages:?}");
    assert!(messages[0].contains("no such thing"), "{messages:?}");

    let insists = vec![call("save", "reject"), finish("no"), finish("it cannot be")];
    let world = World::new(insists);
    assert_eq!(
        world.run(task(yes(), false)).await,
        completed("it cannot be")
    );
    assert_eq!(sent_back(&world.events().await).len(), 1);

    for calls in [
        vec![call("look", "reject"), finish("ok")],
        vec![call("save", "reject"), call("set", "c"), finish("ok")],
    ] {
        let world = World::new(calls);
        assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    }
}

#[tokio::test]
async fn a_repetition_is_told_to_a_small_model_but_not_shown_as_a_reply_and_the_next_is_drawn_widely()
 {
    let world = World::new(vec![call("look", "a"), call("look", "a"), finish("ok")]);
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    let mut entries = world.entries().await;
    for entry in &mut entries {
        if let Event::RunStarted { setup } = &mut entry.event {
            setup.model.native_tools = false;
        }
    }
    let before_the_end = entries.iter().rposition(|entry| {
        matches!(
            entry.event,
            Event::ToolFinished {
                outcome: CallOutcome::Refused { .. },
                ..
            }
        )
    });
    let machine = Machine::fold(&entries[..=before_the_end.unwrap()]);
    let Next::Think { request, .. } = machine.next() else {
        panic!("the mind is asked next");
    };
    let replies = request
        .messages
        .iter()
        .filter(|message| matches!(message, Message::Assistant { .. }));
    assert_eq!(replies.count(), 1);
    let Some(Message::User { text, label }) = request.messages.last() else {
        panic!("the model is told: {:?}", request.messages.last());
    };
    assert!(text.starts_with("look {\"what\":\"a\"}: you already made this call"));
    assert_eq!(*label, Label::Own);
    assert!(request.sampling.temperature > 0.0);
}

/// What becomes of the second of two calls that are the same, by a model of that kind; `change` is made to the
/// tools before.
async fn made_twice(call_made: Line, native: bool, change: impl Fn(&mut ToolSpec)) -> Next {
    let world = World::new(vec![call_made.clone(), call_made, finish("ok")]);
    world.run(task(yes(), false)).await;
    let mut entries = world.entries().await;
    for entry in &mut entries {
        if let Event::RunStarted { setup } = &mut entry.event {
            setup.model.native_tools = native;
            setup.tools.iter_mut().for_each(&change);
        }
    }
    let replied = |entry: &Entry| matches!(entry.event, Event::ModelReplied { .. });
    let second = entries.iter().enumerate().filter(|(_, one)| replied(one));
    let (second, _) = second.take(2).last().unwrap();
    Machine::fold(&entries[..=second]).next()
}

#[tokio::test]
async fn a_small_model_does_not_make_an_idempotent_call_again_that_did_its_work() {
    let as_it_is = |_: &mut ToolSpec| {};
    match made_twice(call("set", "a"), false, as_it_is).await {
        Next::Record(events) => {
            assert_eq!(refused(&events)[0].0, Refusal::Repetition);
            assert!(refused(&events)[0].1.contains("its result was:\ndid a"));
        }
        other => panic!("{other:?}"),
    }
    // Others know what they do; nor is it so with what is not idempotent, did not work, or hangs on a world
    // that changes by itself.
    let observes = |tool: &mut ToolSpec| tool.observes = true;
    for next in [
        made_twice(call("set", "a"), true, as_it_is).await,
        made_twice(call("save", "a"), false, as_it_is).await,
        made_twice(call("send", "a"), false, as_it_is).await,
        made_twice(call("set", "a"), false, observes).await,
        made_twice(call("look", "a"), false, observes).await,
    ] {
        assert!(matches!(next, Next::Act(_)), "{next:?}");
    }
}

#[tokio::test]
async fn a_passing_failure_of_the_mind_is_tried_again_and_a_lasting_one_pauses() {
    let malformed = || ModelError::Malformed {
        message: "half a reply".into(),
    };
    let world = World::new(vec![Line::error(malformed()), finish("ok")]);
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));

    let unusable = ModelError::Unusable {
        message: "the file is corrupt".into(),
    };
    let world = World::new(vec![Line::error(unusable), finish("ok")]);
    world.create(task(yes(), false)).await;
    let paused = world.drive(false).await;
    assert!(
        matches!(paused, Ended::Paused(PauseReason::Model { .. })),
        "{paused:?}"
    );
    assert_eq!(
        world.drive(false).await,
        completed("ok"),
        "resumed once it was mended"
    );
}

#[tokio::test]
async fn a_wait_that_the_run_has_no_time_for_pauses_it_and_says_so() {
    let after_ms = Some(60_000);
    let world = World::new(vec![
        Line::error(ModelError::RateLimited { after_ms }),
        finish("ok"),
    ]);
    let mut spec = task(yes(), false);
    spec.budget.wall_ms = 50_000;
    world.create(spec).await;
    match world.drive(false).await {
        Ended::Paused(PauseReason::Model { message }) => {
            assert!(message.contains("asks to wait 60s, and only "), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.drive(false).await, completed("ok"), "once it is over");
}

#[tokio::test]
async fn a_tool_that_panics_or_fails_is_an_error_to_the_model_and_a_fatal_one_pauses() {
    let world = World::new(vec![
        call("send", "panic"),
        call("send", "reject"),
        call("send", "fatal"),
        finish("it is sent back once, for nothing was sent"),
        finish("ok"),
    ]);
    world.create(task(yes(), false)).await;
    let paused = world.drive(false).await;
    let message = "the disk is full; free some".to_owned();
    assert_eq!(paused, Ended::Paused(PauseReason::Tool { message }));
    assert_eq!(world.drive(false).await, completed("ok"));
}

#[tokio::test]
async fn a_stopped_driver_leaves_a_run_that_goes_on() {
    let hang = Line {
        delay_ms: 600_000,
        ..finish("late")
    };
    let world = World::new(vec![call("look", "hang"), hang]);
    world.create(task(yes(), false)).await;
    let stop = world.driver.stop.clone();
    let log = world.log.clone();
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
    let runs = world
        .driver
        .journal
        .runs(&Default::default())
        .await
        .unwrap();
    assert_eq!(runs[0].status, Status::Waiting);
}

/// The journal of `full`, cut after each entry in turn, driven on by another driver.
async fn after_every_crash(lines: &[Line], check: impl Fn(&World, u64)) {
    let full = World::new(lines.to_vec());
    full.run(task(yes(), false)).await;
    let entries = full.entries().await;
    for cut in 1..=entries.len() {
        let world = World::new(lines.to_vec());
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        assert_eq!(world.drive(false).await, completed("ok"), "cut after {cut}");
        check(&world, cut as u64);
    }
}

#[tokio::test]
async fn a_started_call_is_made_again_only_where_that_is_safe() {
    let lines = [
        call("look", "a"),
        call("set", "b"),
        call("save", "c"),
        call("send", "d"),
        finish("ok"),
    ];
    after_every_crash(&lines, |world, cut| {
        let done = world.done();
        let again = |what: &str| done.iter().filter(|one| *one == what).count();
        // created, started, then reply-started-finished for each call in turn
        let started_before = |call: u64| cut > 2 + 3 * call + 1;
        let finished_before = |call: u64| cut > 2 + 3 * call + 2;
        for (call, what) in (0..).zip(["look a", "set b", "save c"]) {
            assert_eq!(
                again(what),
                usize::from(!finished_before(call)),
                "{what}, cut after {cut}"
            );
        }
        assert_eq!(
            again("send d"),
            usize::from(!started_before(3)),
            "cut after {cut}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_call_in_doubt_is_put_to_the_user_who_is_there() {
    for (decision, again) in [
        (Decision::WasDone, 0),
        (Decision::Deny, 0),
        (Decision::Allow, 1),
    ] {
        let lines = vec![call("send", "d"), finish("ok")];
        let full = World::new(lines.clone());
        full.run(task(yes(), false)).await;
        let entries = full.entries().await;
        let started = |event: &Event| matches!(event, Event::ToolStarted { .. });
        let cut = entries
            .iter()
            .position(|entry| started(&entry.event))
            .unwrap()
            + 1;
        let world =
            World::new(lines).answered_by(vec![Some(Answer::Decision(decision, String::new()))]);
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        assert_eq!(world.drive(true).await, completed("ok"));
        assert_eq!(world.done().len(), again, "{decision:?}");
    }
}

#[tokio::test]
async fn two_drivers_of_one_run_cannot_both_go_on() {
    let world = World::new(vec![finish("ok")]);
    world.create(task(yes(), false)).await;
    let _claim = world.driver.journal.claim(RUN).await.unwrap();
    let busy = world
        .driver
        .drive(RUN, Resumption::default(), &mut ())
        .await;
    assert!(
        matches!(busy, Err(DriveError::Journal(JournalError::Busy { .. }))),
        "{busy:?}"
    );
}

#[tokio::test]
async fn a_fork_goes_its_own_way_from_the_entry_it_shares() {
    let world = World::new(vec![call("look", "a"), call("send", "b"), finish("ok")]);
    world.run(task(yes(), false)).await;
    let fork = RunId::from_u128(8);
    let origin = Origin { run: RUN, seq: 5 };
    world
        .driver
        .fork(origin, fork, &std::env::temp_dir())
        .await
        .unwrap();
    let ended = world
        .driver
        .drive(fork, Resumption::default(), &mut ())
        .await
        .unwrap();
    assert_eq!(ended, completed("ok"));
    let entries = world.driver.journal.read(fork, 1).await.unwrap();
    assert!(matches!(&entries[0].event, Event::RunCreated { spec } if spec.origin == Some(origin)));
    assert_eq!(world.done(), ["look a", "send b", "send b"]);
    let nowhere = Origin { run: RUN, seq: 99 };
    let none = world
        .driver
        .fork(nowhere, RunId::from_u128(9), &std::env::temp_dir())
        .await;
    assert!(
        matches!(none, Err(DriveError::NoEntry { seq: 99, .. })),
        "{none:?}"
    );
}

#[tokio::test]
async fn a_replay_finds_a_decision_that_was_not_the_machines() {
    let world = World::new(vec![call("send", "a"), finish("ok")]);
    world.run(task(yes(), false)).await;
    let mut entries = world.entries().await;
    replay::check(&entries).unwrap();
    let started = entries
        .iter_mut()
        .find(|entry| matches!(entry.event, Event::ToolStarted { .. }));
    let Event::ToolStarted { attempt, .. } = &mut started.unwrap().event else {
        unreachable!()
    };
    *attempt = 2;
    let divergence = replay::check(&entries).unwrap_err();
    assert_eq!(divergence.journaled, "tool_started");
}

#[tokio::test]
async fn a_recorded_mind_does_the_run_again() {
    let world = World::new(vec![call("look", "a"), call("send", "b"), finish("ok")]);
    world.run(task(yes(), false)).await;
    let recorded = replay::Recorded::of(&world.entries().await).unwrap();
    let mut again = World::new(vec![]);
    again.model(std::sync::Arc::new(recorded));
    assert_eq!(again.run(task(yes(), false)).await, completed("ok"));
    assert_eq!(again.done(), world.done());
}

#[tokio::test]
async fn undo_runs_backwards_and_stops_at_what_changed_since() {
    let world = World::new(vec![
        call("save", "first"),
        call("save", "changed"),
        call("send", "mail"),
        call("save", "last"),
        finish("ok"),
    ]);
    world.run(task(yes(), false)).await;
    let undone = world.driver.undo(RUN).await.unwrap();
    assert_eq!(undone.restored, ["last is back"]);
    assert_eq!(undone.refused, ["changed: changed since"]);
    assert_eq!(undone.irreversible, ["send {\"what\":\"mail\"}"]);
    let again = world.driver.undo(RUN).await.unwrap();
    assert!(
        again.restored.is_empty(),
        "what is undone is not undone twice"
    );
}

#[tokio::test]
async fn old_results_are_left_out_before_the_window_is_full() {
    let long = |n: usize| call("look", &format!("{n} {}", "word ".repeat(400)));
    let mut lines: Vec<_> = (0..12).map(long).collect();
    lines.push(finish("ok"));
    let mut world = World::new(vec![]);
    let script = gpak_kernel::model::scripted::Scripted::new(lines).with_window(4096);
    world.model(std::sync::Arc::new(script));
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    let compacted = |event: &&Event| matches!(event, Event::ContextCompacted { .. });
    assert!(world.events().await.iter().filter(compacted).count() > 1);
}

#[tokio::test]
async fn an_empty_task_and_a_missing_workspace_are_refused() {
    let world = World::new(vec![]);
    let mut spec = task(yes(), false);
    spec.task = " \n".into();
    let empty = world.driver.create(RUN, spec.clone()).await;
    assert!(matches!(empty, Err(DriveError::EmptyTask)));
    spec.task = "x".into();
    spec.workspace = "/nowhere/at/all".into();
    let missing = world
        .driver
        .create(RUN, spec)
        .await
        .unwrap_err()
        .to_string();
    assert!(missing.contains("--workspace"), "{missing}");
}

#[tokio::test]
async fn watching_a_run_shows_every_entry_once_and_ends_with_it() {
    let world = World::new(vec![call("look", "a"), finish("ok")]);
    world.create(task(yes(), false)).await;
    let stream = world.driver.journal.watch(RUN, 1);
    let watched = tokio::spawn(futures::StreamExt::collect::<Vec<_>>(stream));
    world.drive(false).await;
    let watched = tokio::time::timeout(Duration::from_secs(60), watched)
        .await
        .unwrap()
        .unwrap();
    let watched: Vec<_> = watched.into_iter().map(|entry| entry.unwrap()).collect();
    assert_eq!(watched, world.entries().await);
}

/// Says who the agent is from now on, at the second look between two steps.
struct Renamer {
    looks: std::sync::atomic::AtomicU32,
    says: tokio::sync::watch::Sender<Introduced>,
}

#[async_trait::async_trait]
impl Human for Renamer {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        None
    }

    fn noticed(&self) -> Vec<(String, Label)> {
        if self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            self.says.send_replace(Introduced {
                version: 2,
                instructions: "You are Ada.".into(),
            });
        }
        Vec::new()
    }
}

#[tokio::test]
async fn an_identity_that_changes_in_mid_run_holds_from_the_next_step_on_and_is_an_event() {
    let mut world = World::new(vec![call("look", "a"), finish("done")]);
    let (says, hears) = tokio::sync::watch::channel(Introduced {
        version: 1,
        instructions: "Be brief.".into(),
    });
    world.driver.introduced = Some(hears);
    world.driver.human = std::sync::Arc::new(Renamer {
        looks: Default::default(),
        says,
    });
    assert_eq!(world.run(task(yes(), false)).await, completed("done"));
    let entries = world.entries().await;
    let is_change = |event: &Event| matches!(event, Event::IdentityChanged { version: 2, .. });
    let changes: Vec<usize> = (0..entries.len())
        .filter(|at| is_change(&entries[*at].event))
        .collect();
    let [at] = changes[..] else {
        panic!("{entries:?}");
    };
    let is_reply = |event: &Event| matches!(event, Event::ModelReplied { .. });
    let replies = |entries: &[gpak_kernel::entry::Entry]| {
        let replies = entries.iter().filter(|entry| is_reply(&entry.event));
        replies.count()
    };
    assert_eq!((replies(&entries[..at]), replies(&entries[at..])), (1, 1));
    // What the model was asked next, it was asked as the new one.
    let second = entries.iter().rposition(|entry| is_reply(&entry.event));
    let Next::Think { request, .. } = Machine::fold(&entries[..second.unwrap()]).next() else {
        panic!("it does not think");
    };
    let Message::System { text } = &request.messages[0] else {
        panic!("{:?}", request.messages);
    };
    assert!(text.starts_with("You are Ada."), "{text}");
}

/// A body that notices something between any two steps.
struct Ear;

#[async_trait::async_trait]
impl Human for Ear {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        None
    }

    fn noticed(&self) -> Vec<(String, Label)> {
        let from = Label::Tool("microphone".into());
        vec![("heard: \"help me\"".into(), from)]
    }
}

#[tokio::test]
async fn what_is_noticed_behind_an_answer_does_not_open_the_run_again() {
    for last in [finish("done"), Line::text("done")] {
        let mut world = World::new(vec![call("look", "a"), last]);
        world.driver.human = std::sync::Arc::new(Ear);
        assert_eq!(world.run(task(yes(), false)).await, completed("done"));
    }
    // A call that it was sent back for is still one to be made in another way.
    let lines = vec![
        call("save", "reject"),
        finish("saved"),
        finish("it cannot be"),
    ];
    let mut world = World::new(lines);
    world.driver.human = std::sync::Arc::new(Ear);
    assert_eq!(
        world.run(task(yes(), false)).await,
        completed("it cannot be")
    );
}
