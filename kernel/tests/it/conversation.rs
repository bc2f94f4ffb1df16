//! Runs that are conversations: an answer waits for the next message.

use gpak_kernel::{
    event::{
        CallOutcome, Choice, Decision, Event, Origin, PauseReason, Refusal, RunId, RunSpec,
        Strategy,
    },
    label::Label,
    model::scripted::Line,
    policy::Permissions,
    run::{Answer, Ended, Machine, Next, Resumption, State, Waiting},
    tool::{Control, Effect},
};
use jiff::Timestamp;
use serde_json::json;

use crate::world::{Commands, RUN, World, noted, spec, task, yes};

fn talk(permissions: Permissions, attended: bool) -> RunSpec {
    RunSpec {
        conversation: true,
        ..task(permissions, attended)
    }
}

fn says(text: &str) -> Option<Answer> {
    Some(Answer::Text(text.into()))
}

fn call(tool: &str, what: &str) -> Line {
    Line::call(tool, json!({"what": what}))
}

fn finish(answer: &str) -> Line {
    Line::call("finish", json!({"answer": answer}))
}

/// Said only in answer to this.
fn to(when: &str, line: Line) -> Line {
    Line {
        when: Some(when.into()),
        ..line
    }
}

async fn state(world: &World) -> State {
    State::fold(&world.entries().await)
}

const UNANSWERED: Ended = Ended::Paused(PauseReason::Unanswered);

#[tokio::test]
async fn an_answer_waits_for_the_next_message_and_the_run_goes_on_with_it() {
    let lines = vec![
        call("look", "a"),
        finish("first"),
        to("and then?", Line::text("second")),
        to("thanks", finish("third")),
    ];
    let world = World::new(lines).answered_by(vec![says("and then?"), says("thanks"), None]);
    assert_eq!(world.run(talk(yes(), false)).await, UNANSWERED);
    let events = world.events().await;
    let finished = |event: &Event| matches!(event, Event::RunFinished { .. });
    assert!(!events.iter().any(finished));
    let said = events.iter().filter_map(|event| match event {
        Event::MessageReceived { text, from } => Some((text.as_str(), from)),
        _ => None,
    });
    assert_eq!(
        said.collect::<Vec<_>>(),
        [("and then?", &Label::User), ("thanks", &Label::User)]
    );
    assert_eq!(state(&world).await.answer(), Some("third"));
}

#[tokio::test]
async fn a_conversation_that_nobody_goes_on_with_waits_and_is_resumed_with_a_message() {
    let lines = vec![finish("first"), to("more", finish("second"))];
    let world = World::new(lines).answered_by(vec![None, None]);
    world.create(talk(yes(), false)).await;
    assert_eq!(world.drive(false).await, UNANSWERED);
    let more = Resumption {
        message: Some("more".into()),
        ..Resumption::default()
    };
    assert_eq!(world.drive_with(more).await, UNANSWERED);
    assert_eq!(state(&world).await.answer(), Some("second"));
}

#[tokio::test]
async fn bounds_but_for_money_count_from_each_message() {
    let mut lines = Vec::new();
    for message in ["one", "two", "three"] {
        lines.extend([
            call("look", message),
            call("look", &format!("{message}!")),
            finish(message),
        ]);
    }
    let world = World::new(lines).answered_by(vec![says("two"), says("three"), None]);
    let mut spec = talk(yes(), false);
    spec.budget.steps = 4;
    assert_eq!(world.run(spec).await, UNANSWERED, "9 steps in all");

    let world = World::new(vec![call("look", "a"), call("look", "b"), finish("ok")]);
    let mut spec = talk(yes(), false);
    spec.budget.steps = 2;
    world.create(spec).await;
    let paused = world.drive(false).await;
    assert!(
        matches!(paused, Ended::Paused(PauseReason::Budget { .. })),
        "{paused:?}"
    );

    let dear = gpak_kernel::model::Usage {
        cost: 0.75,
        ..Default::default()
    };
    let dear = |answer: &str| Line {
        usage: Some(dear),
        ..finish(answer)
    };
    let world = World::new(vec![dear("1"), dear("2"), dear("never")])
        .answered_by(vec![says("a"), says("b")]);
    world.create(talk(yes(), false)).await;
    let paused = world.drive(false).await;
    assert!(
        matches!(&paused, Ended::Paused(PauseReason::Budget { message }) if message.contains("$1.50 of $1.00")),
        "{paused:?}"
    );
}

#[tokio::test]
async fn the_time_in_which_the_user_thinks_is_nobodys() {
    let world =
        World::new(vec![finish("first"), finish("second")]).answered_by(vec![says("more"), None]);
    world.run(talk(yes(), false)).await;
    let mut entries = world.entries().await;
    // Each entry a minute after the one before: five at work (start, reply, result; reply, result).
    let mut head = gpak_kernel::entry::Head::EMPTY;
    for (minute, entry) in (0..).zip(&mut entries) {
        let time = Timestamp::from_second(60 * minute).unwrap();
        *entry = gpak_kernel::entry::Entry::seal(RUN, head, time, entry.event.clone());
        head = entry.head();
    }
    let kinds: Vec<_> = entries
        .iter()
        .map(|entry| serde_json::to_value(&entry.event).unwrap()["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [
            "run_created",
            "run_started",
            "model_replied",
            "tool_finished",
            "message_received",
            "model_replied",
            "tool_finished",
            "run_paused"
        ]
    );
    assert_eq!(State::fold(&entries).spent.wall_ms, 4 * 60_000);
}

#[tokio::test]
async fn a_message_overtakes_the_calls_that_an_interruption_left_open() {
    let calls =
        [("look", "hang"), ("send", "b")].map(|(name, what)| gpak_kernel::model::ToolCall {
            name: name.into(),
            args: json!({"what": what}),
        });
    let both = Line {
        calls: calls.into(),
        ..Line::default()
    };
    let world = World::new(vec![both, to("stop that", finish("ok"))]).answered_by(vec![None]);
    world.create(talk(yes(), false)).await;
    let (stop, log) = (world.driver.stop.clone(), world.log.clone());
    let stopper = tokio::spawn(async move {
        while log.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let interrupted = Ended::Paused(PauseReason::Interrupted);
    assert_eq!(world.drive(false).await, interrupted);
    stopper.await.unwrap();

    let mut again = World::new(vec![]).answered_by(vec![None]);
    again.driver.journal = world.driver.journal.clone();
    again.driver.model = world.driver.model.clone();
    let message = Resumption {
        message: Some("stop that".into()),
        ..Resumption::default()
    };
    assert_eq!(again.drive_with(message).await, UNANSWERED);
    assert_eq!(again.done(), [""; 0], "neither is made after the message");
    let outcomes: Vec<_> = again
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::ToolFinished { tool, outcome, .. } if tool != "finish" => Some(outcome),
            _ => None,
        })
        .collect();
    assert!(
        matches!(
            outcomes.as_slice(),
            [
                CallOutcome::Unknown { message },
                CallOutcome::Refused { by: Refusal::User, .. }
            ] if message.contains("stopped this look call")
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_conversation_that_gets_nowhere_pauses_and_another_message_goes_on() {
    let mut lines = vec![call("look", "a"); 7];
    lines.push(to("try b", finish("ok")));
    let world = World::new(lines).answered_by(vec![None]);
    world.create(talk(yes(), false)).await;
    let stuck = world.drive(false).await;
    assert!(
        matches!(&stuck, Ended::Paused(PauseReason::Stuck { message }) if message.contains("no progress")),
        "{stuck:?}"
    );
    let message = Resumption {
        message: Some("try b".into()),
        ..Resumption::default()
    };
    assert_eq!(world.drive_with(message).await, UNANSWERED);
}

#[tokio::test]
async fn what_the_user_does_beside_it_is_journaled_and_changes_whose_turn_it_is_not() {
    let lines = vec![
        call("look", &"a ".repeat(200)),
        call("look", &"b ".repeat(200)),
        finish("first"),
        to("more", finish("second")),
    ];
    let world = World::new(lines).answered_by(vec![None, says("more"), None]);
    world.create(talk(yes(), false)).await;
    assert_eq!(world.drive(false).await, UNANSWERED);
    let driver = &world.driver;
    assert!(driver.compact(RUN).await.unwrap());
    driver.set_strategy(RUN, Strategy::Explore).await.unwrap();
    driver
        .note(RUN, "The user put a back.".into())
        .await
        .unwrap();
    let after = state(&world).await;
    assert!(after.compacted_through() > 0);
    assert_eq!(after.strategy, Strategy::Explore);
    assert_eq!(after.answer(), Some("first"), "it is still the user's turn");
    assert_eq!(world.drive(false).await, UNANSWERED);
    let noted = driver.journal.read(RUN, 1).await.unwrap();
    let noted = Machine::fold(noted.iter().take_while(
        |entry| !matches!(&entry.event, Event::ModelReplied { reply } if reply.calls[0].args == json!({"answer": "second"})),
    ));
    let Next::Think { request, .. } = noted.next() else {
        panic!("the model is to be asked");
    };
    let texts = format!("{:?}", request.messages);
    assert!(texts.contains("The user put a back."), "{texts}");
}

#[tokio::test]
async fn undo_can_be_of_the_last_message_only() {
    let world = World::new(vec![
        call("save", "first"),
        finish("1"),
        call("save", "second"),
        call("send", "mail"),
        finish("2"),
    ])
    .answered_by(vec![says("go on"), None]);
    world.run(talk(yes(), false)).await;
    let (before, _) = state(&world).await.messages[0];
    let undone = world.driver.undo_since(RUN, before).await.unwrap();
    assert_eq!(undone.restored, ["second is back"]);
    assert_eq!(undone.irreversible, ["send {\"what\":\"mail\"}"]);
    let undone = world.driver.undo(RUN).await.unwrap();
    assert_eq!(undone.restored, ["first is back"]);
}

#[tokio::test]
async fn a_fork_of_a_conversation_goes_on_as_one() {
    let world = World::new(vec![finish("first"), to("there", finish("second"))])
        .answered_by(vec![None, None]);
    world.create(talk(yes(), false)).await;
    world.drive(false).await;
    let last = world.entries().await.len() as u64;
    let (origin, fork) = (
        Origin {
            run: RUN,
            seq: last,
        },
        RunId::from_u128(8),
    );
    let driver = &world.driver;
    driver
        .fork(origin, fork, &std::env::temp_dir())
        .await
        .unwrap();
    let there = Resumption {
        message: Some("there".into()),
        ..Resumption::default()
    };
    assert_eq!(
        driver.drive(fork, there, &mut ()).await.unwrap(),
        UNANSWERED
    );
    let forked = State::fold(&driver.journal.read(fork, 1).await.unwrap());
    assert_eq!(forked.answer(), Some("second"));
    assert_eq!(state(&world).await.answer(), Some("first"));
}

#[tokio::test]
async fn a_conversation_that_dies_after_any_entry_goes_on() {
    let lines = vec![
        call("save", "a"),
        finish("first"),
        to("more", call("send", "b")),
        finish("second"),
    ];
    let full = World::new(lines.clone()).answered_by(vec![says("more"), None]);
    full.run(talk(yes(), false)).await;
    let entries = full.entries().await;
    for cut in 1..=entries.len() {
        let said = entries[..cut]
            .iter()
            .filter(|entry| matches!(entry.event, Event::MessageReceived { .. }))
            .count();
        let left = [says("more"), None].into_iter().skip(said);
        let world = World::new(lines.clone()).answered_by(left.collect());
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        assert_eq!(world.drive(false).await, UNANSWERED, "cut after {cut}");
        assert_eq!(
            state(&world).await.answer(),
            Some("second"),
            "cut after {cut}"
        );
        let sent = world.done().iter().filter(|done| *done == "send b").count();
        assert!(sent <= 1, "cut after {cut}");
    }
}

#[tokio::test]
async fn an_old_run_is_no_conversation_and_approvals_work_in_a_new_one() {
    let old = json!({
        "task": "t", "workspace": "/", "model": "a/b", "permissions": {}, "attended": false,
        "budget": {"steps": 1, "tokens": 1, "cost": 1.0, "wall_ms": 1}
    });
    let old: RunSpec = serde_json::from_value(old).unwrap();
    assert!(!old.conversation);
    assert_eq!(
        serde_json::to_value(&old).unwrap().get("conversation"),
        None
    );

    let allow = Some(Answer::Decision(Decision::Allow, String::new()));
    let world = World::new(vec![call("send", "a"), finish("sent")]).answered_by(vec![allow, None]);
    assert_eq!(
        world.run(talk(Permissions::default(), true)).await,
        UNANSWERED
    );
    assert_eq!(world.done(), ["send a"]);
    let machine = Machine::fold(&world.entries().await[..9]);
    assert_eq!(machine.next(), Next::Wait(Waiting::Message));
}

#[tokio::test]
async fn an_answer_in_words_counts_once_its_check_succeeds_and_the_next_message_has_all_tries() {
    let checked = || RunSpec {
        check: vec!["test".into()],
        ..talk(yes(), false)
    };
    let lines = vec![
        Line::text("too early"),
        to("failed", Line::text("right")),
        to("more", Line::text("wrong")),
        to("failed", Line::text("wrong too")),
        to("failed", finish("at last")),
    ];
    let world = World::new(lines).answered_by(vec![says("more"), None]);
    let commands = Commands::ending(&[1, 0, 1, 1, 0], &world.log);
    let world = world.with([commands]);
    assert_eq!(world.run(checked()).await, UNANSWERED);
    assert_eq!(world.done(), ["run test"; 5]);
    assert_eq!(state(&world).await.answer(), Some("at last"));

    // Too many failures leave it to the user.
    let lines = vec![Line::text("no"), Line::text("no"), Line::text("no")];
    let world = World::new(lines);
    let commands = Commands::ending(&[1, 1, 1], &world.log);
    let world = world.with([commands]);
    let ended = world.run(checked()).await;
    assert!(
        matches!(&ended, Ended::Paused(PauseReason::Stuck { message }) if message.contains("`test`")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_message_overtakes_a_check_that_was_under_way() {
    let lines = vec![Line::text("an answer"), to("rather", finish("another"))];
    let world = World::new(lines).answered_by(vec![None, None]);
    let commands = Commands::ending(&[0, 0], &world.log);
    let world = world.with([commands]);
    world
        .create(RunSpec {
            check: vec!["test".into()],
            ..talk(yes(), false)
        })
        .await;
    assert_eq!(world.drive(false).await, UNANSWERED);

    // The same, had the process died as the check ran.
    let started = |event: &Event| matches!(event, Event::ToolStarted { .. });
    let seq = world.events().await.iter().position(started).unwrap() as u64 + 1;
    let (fork, origin) = (RunId::from_u128(8), Origin { run: RUN, seq });
    let workspace = std::env::temp_dir();
    world.driver.fork(origin, fork, &workspace).await.unwrap();
    let rather = Resumption {
        message: Some("rather".into()),
        ..Resumption::default()
    };
    let ended = world.driver.drive(fork, rather, &mut ()).await.unwrap();
    assert_eq!(ended, UNANSWERED);
    let entries = world.driver.journal.read(fork, 1).await.unwrap();
    gpak_kernel::run::replay::check(&entries).unwrap();
    assert_eq!(State::fold(&entries).answer(), Some("another"));
    assert_eq!(
        world.done(),
        ["run test"; 2],
        "once for each answer that stands"
    );
}

#[tokio::test]
async fn an_answer_that_leaves_a_plan_open_is_sent_back_once_and_then_counts() {
    let mut plan = spec("update_plan", Effect::Pure, false, Some(Control::Plan));
    plan.input = json!({"type": "object"});
    let items = json!({"items": [{"text": "a", "status": "active"}]});
    let lines = vec![
        Line::call("update_plan", items),
        Line::text("done"),
        to("are open", Line::text("a is left")),
    ];
    let world = World::new(lines).answered_by(vec![None]);
    let plan = noted(plan, &world.log);
    let world = world.with([plan]);
    let spec = RunSpec {
        strategy: Some(Choice::Plan),
        ..talk(yes(), false)
    };
    assert_eq!(world.run(spec).await, UNANSWERED);
    assert_eq!(state(&world).await.answer(), Some("a is left"));
}

#[tokio::test]
async fn several_ways_are_not_tried_in_a_conversation() {
    let world = World::new(vec![finish("ok")]).answered_by(vec![None]);
    let spec = RunSpec {
        strategy: Some(Choice::Search),
        ..talk(yes(), false)
    };
    let refused = world.driver.create(RUN, spec).await.unwrap_err();
    assert!(refused.to_string().contains("conversation"), "{refused}");
    assert_eq!(world.run(talk(yes(), false)).await, UNANSWERED);
    let refused = world.driver.set_strategy(RUN, Strategy::Search).await;
    assert!(refused.unwrap_err().to_string().contains("several ways"));
    assert_eq!(state(&world).await.strategy, Strategy::React);
}
