//! Runs that a run starts: their budget, permissions, tools, and that they never outlive it.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, Outcome, PauseReason, RunId},
    model::{CallId, scripted::Line},
    policy::{Budget, Permissions},
    run::{
        Answer, DriveError, Ended, Introduced, Machine, Resumption, Status, child::Delegate, replay,
    },
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{RUN, World, spec, task, yes};

const FIRST: CallId = CallId { reply: 1, index: 0 };

fn delegate(args: Value) -> Line {
    Line {
        when: Some("do it".into()),
        ..Line::call("delegate", args)
    }
}

fn when(text: &str, line: Line) -> Line {
    Line {
        when: Some(text.into()),
        ..line
    }
}

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

fn world(lines: Vec<Line>) -> World {
    World::new(lines).with([Arc::new(Delegate::default()) as _])
}

/// The child does two things and answers; the parent does one with the answer.
fn family() -> Vec<Line> {
    vec![
        when("the part", call("look", "child")),
        when("did child", call("save", "child")),
        when("did child", finish("found it")),
        delegate(json!({"task": "the part"})),
        when("found it", call("send", "parent")),
        finish("ok"),
    ]
}

async fn entries(world: &World, run: RunId) -> Vec<Entry> {
    world.driver.journal.read(run, 1).await.unwrap()
}

#[tokio::test]
async fn a_child_does_its_part_and_its_parent_gets_the_answer_and_the_bill() {
    let world = world(family());
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    assert_eq!(world.done(), ["look child", "save child", "send parent"]);
    let child = RUN.child(FIRST);
    let entries = entries(&world, child).await;
    replay::check(&entries).unwrap();
    let child = Machine::fold(&entries);
    let parent = Machine::fold(&world.entries().await);
    assert_eq!(child.state().status, Status::Completed);
    assert_eq!(child.state().spent.steps, 3);
    assert_eq!(parent.state().spent.steps, 3 + 3);
    let charged = parent.state().children[&FIRST];
    assert_eq!(charged, child.state().spent);
    let tokens = |entries: &[Entry]| -> u64 {
        let replies = entries.iter().filter_map(|entry| match &entry.event {
            Event::ModelReplied { reply } => Some(reply.usage.input + reply.usage.output),
            _ => None,
        });
        replies.sum()
    };
    let both = tokens(&entries) + tokens(&world.entries().await);
    assert_eq!(parent.state().spent.tokens, both);
}

/// A tool with which the agent becomes another one.
struct Rename {
    spec: ToolSpec,
    says: watch::Sender<Introduced>,
}

#[async_trait]
impl Tool for Rename {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        self.says.send_replace(Introduced {
            version: 2,
            instructions: "You are Ada.".into(),
        });
        Ok(ToolOutput::text("renamed"))
    }
}

#[tokio::test]
async fn an_identity_that_changes_while_a_child_is_at_work_holds_from_its_next_step_on_and_for_its_parent()
 {
    let (says, hears) = watch::channel(Introduced {
        version: 1,
        instructions: "Be brief.".into(),
    });
    let rename = Rename {
        spec: spec("rename", Effect::Pure, false, None),
        says,
    };
    let mut world = world(vec![
        when("the part", call("rename", "child")),
        when("renamed", call("look", "child")),
        when("did child", finish("found it")),
        delegate(json!({"task": "the part"})),
        when("found it", finish("ok")),
    ])
    .with([Arc::new(rename) as _]);
    world.driver.introduced = Some(hears);
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    for (run, replies_before) in [(RUN.child(FIRST), 1), (RUN, 1)] {
        let entries = entries(&world, run).await;
        replay::check(&entries).unwrap();
        let is_change =
            |entry: &Entry| matches!(entry.event, Event::IdentityChanged { version: 2, .. });
        let is_reply = |entry: &&Entry| matches!(entry.event, Event::ModelReplied { .. });
        assert_eq!(entries.iter().filter(|entry| is_change(entry)).count(), 1);
        let at = entries.iter().position(is_change).unwrap();
        let before = entries[..at].iter().filter(is_reply).count();
        assert_eq!(before, replies_before, "of {run}: {entries:?}");
        let setup = Machine::fold(&entries).state().setup.clone().unwrap();
        assert_eq!(setup.instructions, "You are Ada.");
    }
}

#[tokio::test]
async fn a_childs_use_is_charged_after_each_of_its_steps() {
    let world = world(family());
    world.run(task(yes(), false)).await;
    let charged: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::ChildCharged { run, spent, .. } if run == RUN.child(FIRST) => Some(spent.steps),
            _ => None,
        })
        .collect();
    assert_eq!(charged.first(), Some(&0));
    let mut steps = charged.clone();
    steps.dedup();
    assert_eq!(steps, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_child_cannot_outspend_what_its_parent_has_left_and_goes_on_with_more() {
    let world = world(family());
    let mut spec = task(yes(), false);
    spec.budget.steps = 3;
    world.create(spec).await;
    let paused = world.drive(false).await;
    assert!(
        matches!(paused, Ended::Paused(PauseReason::Budget { .. })),
        "{paused:?}"
    );
    assert_eq!(world.done(), ["look child", "save child"]);
    let child = Machine::fold(&entries(&world, RUN.child(FIRST)).await);
    assert_eq!(
        (child.state().status, child.state().spent.steps),
        (Status::Waiting, 2)
    );
    let parent = Machine::fold(&world.entries().await);
    assert_eq!(parent.state().spent.steps, 3);

    let more = Resumption {
        budget: Some(Budget {
            steps: 6,
            ..Budget::default()
        }),
        ..Resumption::default()
    };
    assert_eq!(world.drive_with(more).await, completed("ok"));
    assert_eq!(
        world.done(),
        ["look child", "save child", "send parent"],
        "nothing is done twice"
    );
}

#[tokio::test]
async fn a_child_that_was_given_too_little_ends_and_its_parent_goes_on() {
    let world = world(vec![
        when("the part", call("look", "child")),
        delegate(json!({"task": "the part", "budget": {"steps": 1}})),
        when("given too little: 1 of 1 steps", finish("without it")),
    ]);
    assert_eq!(world.run(task(yes(), false)).await, completed("without it"));
    let child = Machine::fold(&entries(&world, RUN.child(FIRST)).await);
    assert_eq!(
        child.state().status,
        Status::Failed,
        "it does not outlive its call"
    );
}

#[tokio::test]
async fn a_child_may_do_no_more_than_its_parent_and_only_with_the_tools_it_is_given() {
    // Nobody is there and nothing is allowed: neither may save.
    let lines = vec![
        when("the part", call("save", "x")),
        when("needs an approval", finish("could not")),
        delegate(json!({"task": "the part"})),
        finish("no"),
    ];
    let world = self::world(lines);
    world.run(task(Permissions::default(), false)).await;
    assert!(world.done().is_empty());

    let lines = vec![
        when("the part", call("save", "x")),
        when("no tool `save`", finish("could not")),
        delegate(json!({"task": "the part", "tools": ["look"]})),
        finish("no"),
    ];
    let world = self::world(lines);
    world.run(task(yes(), false)).await;
    assert!(world.done().is_empty());

    let world = self::world(vec![
        delegate(json!({"task": "the part", "tools": ["fly"]})),
        when("no tool `fly` to give", finish("no")),
    ]);
    world.run(task(yes(), false)).await;
    assert!(
        world
            .driver
            .journal
            .read(RUN.child(FIRST), 1)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_childs_approvals_reach_the_same_human() {
    let world = world(vec![
        when("the part", call("save", "x")),
        when("did x", finish("saved")),
        delegate(json!({"task": "the part"})),
        when("saved", finish("ok")),
    ])
    .answered_by(vec![Some(Answer::Decision(
        gpak_kernel::event::Decision::Allow,
        String::new(),
    ))]);
    assert_eq!(
        world.run(task(Permissions::default(), true)).await,
        completed("ok")
    );
    assert_eq!(world.done(), ["save x"]);
}

#[tokio::test]
async fn children_are_two_deep_at_most() {
    let world = world(vec![
        when(
            "level 2",
            Line::call("delegate", json!({"task": "level 3"})),
        ),
        when("no tool `delegate`", finish("deep enough")),
        when(
            "level 1",
            Line::call("delegate", json!({"task": "level 2"})),
        ),
        when("deep enough", finish("up")),
        delegate(json!({"task": "level 1"})),
        when("up", finish("ok")),
    ]);
    assert_eq!(world.run(task(yes(), false)).await, completed("ok"));
    let parent = Machine::fold(&world.entries().await);
    assert_eq!(
        parent.state().spent.steps,
        2 + 2 + 2,
        "grandchildren are charged too"
    );
}

#[tokio::test]
async fn a_child_goes_on_with_its_parent_and_with_nothing_else() {
    let world = world(family());
    let mut spec = task(yes(), false);
    spec.budget.steps = 2;
    world.create(spec).await;
    world.drive(false).await;
    let child = RUN.child(FIRST);
    let alone = world
        .driver
        .drive(child, Resumption::default(), &mut ())
        .await;
    assert!(
        matches!(alone, Err(DriveError::IsChild { run, parent }) if run == child && parent == RUN),
        "{alone:?}"
    );
}

#[tokio::test]
async fn what_stops_the_parent_stops_the_child_which_notes_it() {
    let world = world(vec![
        when("the part", call("look", "hang")),
        delegate(json!({"task": "the part"})),
    ]);
    world.create(task(yes(), false)).await;
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
    let child = Machine::fold(&entries(&world, RUN.child(FIRST)).await);
    assert_eq!(child.state().paused, Some(PauseReason::Interrupted));
}

/// What both journals held after so many appends in all.
async fn both_journals_cut(lines: &[Line]) -> Vec<(Vec<Entry>, Vec<Entry>)> {
    #[derive(Default)]
    struct Order(Vec<Entry>);
    impl gpak_kernel::run::Observer for Order {
        fn entry(&mut self, entry: &Entry, _: &gpak_kernel::run::State) {
            self.0.push(entry.clone());
        }
        fn delta(&mut self, _: gpak_kernel::model::Delta<'_>) {}
    }
    let world = world(lines.to_vec());
    world.create(task(yes(), false)).await;
    let mut order = Order::default();
    world
        .driver
        .drive(RUN, Resumption::default(), &mut order)
        .await
        .unwrap();
    let first = world.entries().await[0].clone();
    let created = entries(&world, RUN.child(FIRST)).await[0].clone();
    let mut all = vec![first];
    for entry in order.0 {
        if entry.run != RUN && entry.seq == 2 {
            all.push(created.clone());
        }
        all.push(entry);
    }
    let cut = |end: usize| {
        let (parent, child): (Vec<_>, Vec<_>) = all[..end]
            .iter()
            .cloned()
            .partition(|entry| entry.run == RUN);
        (parent, child)
    };
    (1..=all.len()).map(cut).collect()
}

#[tokio::test]
async fn killed_at_any_entry_of_either_a_family_ends_the_same_and_does_nothing_twice() {
    let cuts = both_journals_cut(&family()).await;
    assert!(cuts.len() > 20);
    for (at, (parent, child)) in cuts.into_iter().enumerate() {
        let world = world(family());
        world.driver.journal.append(&parent).await.unwrap();
        world.driver.journal.append(&child).await.unwrap();
        let ended = world.drive(false).await;
        let unknown = |entry: &Entry| {
            matches!(
                &entry.event,
                Event::ToolFinished {
                    outcome: CallOutcome::Unknown { .. },
                    ..
                }
            )
        };
        assert_eq!(ended, completed("ok"), "cut after {at}");
        let parent = Machine::fold(&world.entries().await);
        let entries = entries(&world, RUN.child(FIRST)).await;
        replay::check(&entries).unwrap();
        assert!(!entries.iter().any(unknown));
        let child = Machine::fold(&entries);
        assert_eq!(
            parent.state().children[&FIRST].steps,
            child.state().spent.steps,
            "cut after {at}"
        );
        assert_eq!(parent.state().spent.steps, 6, "cut after {at}");
        let sent = world
            .done()
            .iter()
            .filter(|one| *one == "send parent")
            .count();
        assert!(sent <= 1, "cut after {at}");
    }
}

#[tokio::test]
async fn undoing_the_parent_undoes_the_child_too_newest_first() {
    let world = world(vec![
        when("the part", call("save", "child")),
        when("did child", finish("half")),
        when("do it", call("save", "before")),
        when(
            "did before",
            Line::call("delegate", json!({"task": "the part"})),
        ),
        when("half", call("save", "after")),
        finish("ok"),
    ]);
    world.run(task(yes(), false)).await;
    let undone = world.driver.undo(RUN).await.unwrap();
    assert_eq!(
        undone.restored,
        ["after is back", "child is back", "before is back"]
    );
    assert!(undone.refused.is_empty());
    assert!(world.driver.undo(RUN).await.unwrap().restored.is_empty());
}

/// A server holds runs in tasks of their own.
#[test]
fn a_driven_run_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let world = World::new(vec![]);
    is_send(world.driver.drive(RUN, Resumption::default(), &mut ()));
}
