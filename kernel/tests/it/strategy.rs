//! How a task is done, how that is chosen, and when it changes.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::{
    event::{CallOutcome, Choice, Event, Outcome, PlanStatus, Refusal, RunSpec, Strategy},
    model::{
        CallId, Deltas, Model, ModelError, ModelProfile, Reply, Request, ToolCall, scripted::Line,
    },
    run::{Driver, Ended, Machine, Resumption, replay},
    strategy::search::{ADOPT, COMPARE, COPY, DROP},
    tool::{Call, Control, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

use crate::world::{Commands, Log, RUN, World, spec, task, yes};

fn by(choice: Choice) -> RunSpec {
    RunSpec {
        strategy: Some(choice),
        ..task(yes(), false)
    }
}

fn checked(choice: Choice) -> RunSpec {
    RunSpec {
        check: vec!["test".into()],
        ..by(choice)
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

fn plan(items: &[(&str, &str)]) -> Line {
    let items: Vec<_> = items
        .iter()
        .map(|(text, status)| json!({"text": text, "status": status}))
        .collect();
    Line::call("update_plan", json!({"items": items}))
}

fn choose(strategy: &str) -> Line {
    Line::call("choose_strategy", json!({"strategy": strategy}))
}

fn completed(answer: &str) -> Ended {
    let answer = answer.into();
    Ended::Finished(Outcome::Completed { answer })
}

/// A tool that does nothing but be there.
struct Idle(ToolSpec);

#[async_trait]
impl Tool for Idle {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        unreachable!("the machine answers it")
    }
}

fn world(lines: Vec<Line>) -> World {
    let mut plan = spec("update_plan", Effect::Pure, false, Some(Control::Plan));
    plan.input = json!({"type": "object", "properties": {"items": {"type": "array"}}, "required": ["items"]});
    World::new(lines).with([Arc::new(Idle(plan)) as _])
}

fn changes(events: &[Event]) -> Vec<(Strategy, String)> {
    let changes = events.iter().filter_map(|event| match event {
        Event::StrategyChanged {
            strategy, reason, ..
        } => Some((*strategy, reason.clone())),
        _ => None,
    });
    changes.collect()
}

/// Of each request, the tools that the reply might call.
struct Asked {
    model: Arc<dyn Model>,
    choices: Arc<std::sync::Mutex<Vec<Vec<String>>>>,
}

#[async_trait]
impl Model for Asked {
    fn profile(&self) -> &ModelProfile {
        self.model.profile()
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let names = request.choices().into_iter().map(|tool| tool.name);
        self.choices.lock().unwrap().push(names.collect());
        self.model.reply(request, deltas).await
    }
}

fn watched(world: &mut World) -> Arc<std::sync::Mutex<Vec<Vec<String>>>> {
    let choices = Arc::default();
    let model = Asked {
        model: world.driver.model.clone(),
        choices: Arc::clone(&choices),
    };
    world.model(Arc::new(model));
    choices
}

#[tokio::test]
async fn a_run_that_asks_for_no_strategy_reacts_and_pays_nothing_for_it() {
    let world = world(vec![finish("ok")]);
    world.run(task(yes(), false)).await;
    let state = Machine::fold(&world.entries().await);
    assert_eq!(state.state().strategy, Strategy::React);
    assert!(changes(&world.events().await).is_empty());
    let tools = &state.state().setup.as_ref().unwrap().tools;
    assert!(tools.iter().all(|tool| tool.name != "choose_strategy"));
}

#[tokio::test]
async fn direct_is_an_answer_at_once() {
    let mut world = world(vec![when("Answer now", finish("ok"))]);
    let choices = watched(&mut world);
    assert_eq!(world.run(by(Choice::Direct)).await, completed("ok"));
    assert_eq!(*choices.lock().unwrap(), [["finish"]]);
}

#[tokio::test]
async fn the_model_chooses_with_its_first_reply_and_may_do_nothing_else_in_it() {
    let thought = Line {
        thought: "There are many files.".into(),
        ..choose("plan")
    };
    let mut world = world(vec![
        thought,
        when("first list the parts", plan(&[("a", "active")])),
        call("look", "a"),
        plan(&[("a", "done")]),
        finish("ok"),
    ]);
    let choices = watched(&mut world);
    assert_eq!(world.run(by(Choice::Auto)).await, completed("ok"));
    let choices = choices.lock().unwrap().clone();
    assert_eq!(choices[0], ["choose_strategy"]);
    assert_eq!(choices[1], ["update_plan"]);
    assert!(
        choices[2].contains(&"look".to_owned())
            && !choices[2].contains(&"choose_strategy".to_owned())
    );
    let changes = changes(&world.events().await);
    assert_eq!(
        changes,
        [(
            Strategy::Plan,
            "the model chose it: There are many files.".into()
        )]
    );
}

#[tokio::test]
async fn what_can_be_chosen_depends_on_the_tools_and_the_check() {
    let offered = async |world: World, spec: RunSpec| {
        world.create(spec).await;
        let _ = world.drive(false).await;
        let state = Machine::fold(&world.entries().await);
        let tools = &state.state().setup.as_ref().unwrap().tools;
        let tool = tools.iter().find(|tool| tool.name == "choose_strategy");
        tool.map(|tool| tool.input["properties"]["strategy"]["enum"].clone())
    };
    let plain = World::new(vec![choose("react"), finish("ok")]);
    assert_eq!(
        offered(plain, by(Choice::Auto)).await,
        Some(json!(["direct", "react"]))
    );
    let planning = world(vec![choose("react"), finish("ok")]);
    assert_eq!(
        offered(planning, by(Choice::Auto)).await,
        Some(json!(["direct", "react", "plan"]))
    );
    let (searching, _) = searching(vec![choose("react"), finish("ok")], &[0]);
    assert_eq!(
        offered(searching, checked(Choice::Auto)).await,
        Some(json!(["direct", "react", "search"]))
    );
}

#[tokio::test]
async fn a_model_that_does_not_choose_reacts() {
    let world = world(vec![call("look", "a"), finish("ok")]);
    assert_eq!(world.run(by(Choice::Auto)).await, completed("ok"));
    let changes = changes(&world.events().await);
    assert_eq!(
        changes,
        [(Strategy::React, "the model chose no strategy".into())]
    );
}

#[tokio::test]
async fn an_answer_at_once_that_does_not_pass_its_check_is_worked_on_after_all() {
    let world = world(vec![
        choose("direct"),
        finish("guess"),
        when("Use the tools", call("look", "a")),
        finish("ok"),
    ]);
    let commands = Commands::ending(&[1, 0], &world.log);
    let world = world.with([commands]);
    assert_eq!(world.run(checked(Choice::Auto)).await, completed("ok"));
    let strategies: Vec<_> = changes(&world.events().await)
        .into_iter()
        .map(|(it, _)| it)
        .collect();
    assert_eq!(strategies, [Strategy::Direct, Strategy::React]);
}

#[tokio::test]
async fn an_item_is_done_only_after_a_call_that_did_something_for_it() {
    let world = world(vec![
        when("Work by a plan", plan(&[("a", "active"), ("b", "pending")])),
        when("Next: a", plan(&[("a", "done"), ("b", "pending")])),
        when(
            "Not ticked off, as no call has done anything for it since it was begun: `a`",
            call("look", "a"),
        ),
        plan(&[("a", "done"), ("b", "active")]),
        when("1 of 2 items left\nNext: b", call("send", "reject")),
        plan(&[("a", "done"), ("b", "done")]),
        when("since it was begun: `b`", call("send", "b")),
        plan(&[("a", "done"), ("b", "done")]),
        when("0 of 2 items left", finish("ok")),
    ]);
    assert_eq!(world.run(by(Choice::Plan)).await, completed("ok"));
    let state = Machine::fold(&world.entries().await);
    let plan: Vec<_> = state
        .state()
        .plan
        .iter()
        .map(|item| {
            (
                item.text.as_str(),
                item.status,
                item.evidence.map(|call| call.to_string()),
            )
        })
        .collect();
    let done = |text, call: &str| (text, PlanStatus::Done, Some(call.to_owned()));
    assert_eq!(plan, [done("a", "3.0"), done("b", "7.0")]);
}

#[tokio::test]
async fn finishing_with_open_items_is_sent_back_once() {
    let open = plan(&[("a", "active"), ("b", "pending")]);
    let world = self::world(vec![
        open.clone(),
        call("look", "a"),
        finish("early"),
        when("these items of the plan are open", finish("b is left")),
    ]);
    assert_eq!(world.run(by(Choice::Plan)).await, completed("b is left"));
    let by_plan = |event: &&Event| {
        matches!(
            event,
            Event::ToolFinished {
                outcome: CallOutcome::Refused {
                    by: Refusal::Plan,
                    ..
                },
                ..
            }
        )
    };
    assert_eq!(world.events().await.iter().filter(by_plan).count(), 1);

    let world = self::world(vec![
        open,
        Line::text("early"),
        when("are open", Line::text("late")),
    ]);
    assert_eq!(world.run(self::by(Choice::Plan)).await, completed("late"));
}

#[tokio::test]
async fn a_plan_that_is_only_rewritten_is_barred_and_given_up() {
    let mut lines: Vec<_> = (0..5)
        .map(|n| plan(&[(&format!("step {n}"), "active")]))
        .collect();
    lines[4] = when("Leave the plan as it is", finish("ok"));
    let mut world = world(lines);
    let choices = watched(&mut world);
    assert_eq!(world.run(by(Choice::Plan)).await, completed("ok"));
    assert!(
        !choices.lock().unwrap()[3].contains(&"update_plan".to_owned()),
        "barred"
    );
    let last = changes(&world.events().await).pop().unwrap();
    assert_eq!(last.0, Strategy::React);
    assert!(last.1.contains("rewritten"), "{}", last.1);
}

#[tokio::test]
async fn a_plan_is_wrapped_up_before_the_budget_is_gone() {
    let world = world(vec![
        plan(&[("a", "active")]),
        call("look", "a"),
        call("look", "b"),
        when("Only 3 steps are left", finish("half")),
    ]);
    let mut spec = by(Choice::Plan);
    spec.budget.steps = 6;
    assert_eq!(world.run(spec).await, completed("half"));
}

#[tokio::test]
async fn a_run_by_plan_ends_the_same_after_a_crash_at_any_entry() {
    let lines = vec![
        plan(&[("a", "active")]),
        call("save", "a"),
        finish("early"),
        plan(&[("a", "done")]),
        finish("ok"),
    ];
    let full = world(lines.clone());
    full.run(by(Choice::Plan)).await;
    let entries = full.entries().await;
    for cut in 1..=entries.len() {
        let world = world(lines.clone());
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        assert_eq!(world.drive(false).await, completed("ok"), "cut after {cut}");
    }
}

/// Stands for the tools that copy: notes what is done, copies nothing. Every way changed the same, or none did.
struct Copier {
    spec: ToolSpec,
    log: Log,
    same: bool,
}

#[async_trait]
impl Tool for Copier {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let way = &call.args["way"];
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {way}", call.name));
        if self.same && call.name == COMPARE {
            return Ok(ToolOutput {
                data: Some(json!({"changes": 1})),
                ..ToolOutput::text("+the same".to_owned())
            });
        }
        Ok(ToolOutput {
            data: Some(json!({"path": std::env::temp_dir()})),
            ..ToolOutput::text(format!("{} of {way}", call.name))
        })
    }

    async fn compensate(&self, call: &Call, _: &ToolContext) -> Result<String, ToolError> {
        Ok(format!("took back way {}", call.args["way"]))
    }
}

fn searching(lines: Vec<Line>, codes: &[i32]) -> (World, Log) {
    searching_where(false, lines, codes)
}

fn searching_where(same: bool, lines: Vec<Line>, codes: &[i32]) -> (World, Log) {
    let mut world = World::new(lines);
    let copying = Log::default();
    let tool = |name: &str, effect| -> Arc<dyn Tool> {
        let mut spec = spec(name, effect, true, None);
        spec.input = json!({"type": "object"});
        let log = copying.clone();
        Arc::new(Copier { spec, log, same })
    };
    let hidden = [
        tool(COPY, Effect::Idempotent),
        tool(COMPARE, Effect::Pure),
        tool(ADOPT, Effect::Reversible),
        tool(DROP, Effect::Idempotent),
    ];
    world.driver.toolbox = world.driver.toolbox.with_hidden(hidden).unwrap();
    let commands = Commands::ending(codes, &world.log);
    (world.with([commands]), copying)
}

fn done(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

fn failing(reply: &str) -> Vec<Line> {
    vec![
        when("do it", call("look", reply)),
        finish("a"),
        finish("b"),
        finish("c"),
    ]
}

/// The tries of a search, each a run of its own that begins with the task.
async fn drive(driver: &Driver, spec: RunSpec) -> Ended {
    driver.create(RUN, spec).await.unwrap();
    driver
        .drive(RUN, Resumption::default(), &mut ())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_search_keeps_the_first_try_that_passes_its_check() {
    // The first try fails its check three times; the second passes, and so does the workspace.
    let mut lines = failing("first");
    lines.insert(0, when("This was tried before", call("save", "second")));
    lines.insert(1, when("did second", finish("right")));
    let (world, copying) = searching(lines, &[1, 1, 1, 0, 0]);
    assert_eq!(
        drive(&world.driver, checked(Choice::Search)).await,
        completed("right")
    );
    assert_eq!(
        done(&copying),
        [
            "copy_workspace 1",
            "copy_workspace 2",
            "adopt_copy 2",
            "drop_copies null"
        ]
    );
    let entries = world.entries().await;
    replay::check(&entries).unwrap();
    let state = Machine::fold(&entries);
    let own: Vec<_> = state
        .state()
        .own
        .iter()
        .map(|own| own.call.name.as_str())
        .collect();
    let expected = [COPY, "try_way", COPY, "try_way", ADOPT, DROP, "run_command"];
    assert_eq!(own, expected, "and it is checked where it counts");
    assert_eq!(state.state().spent.steps, 4 + 2, "the tries are charged");
    let undone = world.driver.undo(RUN).await.unwrap();
    assert_eq!(undone.restored, ["took back way 2"]);
}

#[tokio::test]
async fn without_a_check_the_model_judges_what_the_tries_came_to() {
    let (world, copying) = searching(
        vec![
            when("do it", finish("an answer")),
            when(
                "compare_copy of 3",
                Line::call("choose_best", json!({"best": 2})),
            ),
        ],
        &[],
    );
    assert_eq!(
        drive(&world.driver, by(Choice::Search)).await,
        completed("an answer")
    );
    let adopted: Vec<_> = done(&copying)
        .into_iter()
        .filter(|one| one.starts_with(ADOPT))
        .collect();
    assert_eq!(adopted, ["adopt_copy 2"]);
    replay::check(&world.entries().await).unwrap();

    // One that judges nothing, or names none there is, gets the first.
    for line in [
        finish("no"),
        Line::text("the third"),
        Line::call("choose_best", json!({"best": 7})),
    ] {
        let (world, copying) = searching(
            vec![
                when("do it", finish("an answer")),
                when("compare_copy of 3", line),
            ],
            &[],
        );
        assert_eq!(
            drive(&world.driver, by(Choice::Search)).await,
            completed("an answer")
        );
        let dones = done(&copying);
        assert!(dones.contains(&"adopt_copy 1".to_owned()), "{dones:?}");
    }
}

#[tokio::test]
async fn what_two_tries_agree_on_needs_no_third_and_no_judge() {
    let lines = vec![when("do it", finish("an answer"))];
    let (world, copying) = searching_where(true, lines, &[]);
    let ended = drive(&world.driver, by(Choice::Search)).await;
    assert_eq!(ended, completed("an answer"));
    assert_eq!(
        done(&copying),
        [
            "copy_workspace 1",
            "copy_workspace 2",
            "compare_copy 1",
            "compare_copy 2",
            "adopt_copy 1",
            "drop_copies null"
        ]
    );
    replay::check(&world.entries().await).unwrap();
}

#[tokio::test]
async fn where_no_try_did_it_nothing_is_kept_and_the_run_goes_on_by_itself() {
    let mut lines = vec![when("nothing of theirs is here", call("send", "own"))];
    lines.push(when("did own", finish("myself")));
    lines.extend(failing("x"));
    lines.insert(2, when("This was tried before", call("look", "x")));
    lines.insert(3, finish("a"));
    lines.insert(4, finish("b"));
    lines.insert(5, finish("c"));
    let (world, copying) = searching(lines, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    assert_eq!(
        drive(&world.driver, checked(Choice::Search)).await,
        completed("myself")
    );
    assert!(done(&copying).iter().all(|one| !one.starts_with(ADOPT)));
    assert_eq!(
        done(&copying).last().unwrap(),
        "drop_copies null",
        "no copy is left behind"
    );
    let (strategy, reason) = changes(&world.events().await).pop().unwrap();
    assert_eq!(
        (strategy, reason.as_str()),
        (Strategy::React, "3 ways were tried and none did it")
    );
}

#[tokio::test]
async fn checks_that_fail_twice_make_a_run_that_may_choose_search() {
    let lines = vec![
        when("When you finish, `test`", choose("react")),
        when("Go on.", finish("1")),
        when("exit code 1", finish("2")),
        // A try does not choose: it is told how it is done.
        when("there is no tool `choose_strategy`", finish("tried")),
    ];
    let (world, copying) = searching(lines, &[1, 2, 0, 0]);
    assert_eq!(
        drive(&world.driver, checked(Choice::Auto)).await,
        completed("tried")
    );
    let strategies = changes(&world.events().await);
    assert_eq!(
        strategies[1],
        (Strategy::Search, "the check failed 2 times".into())
    );
    assert!(done(&copying).contains(&"adopt_copy 1".to_owned()));
}

#[tokio::test]
async fn a_search_goes_on_where_it_was_after_a_crash_at_any_entry() {
    let mut lines = failing("first");
    lines.insert(0, when("This was tried before", call("save", "second")));
    lines.insert(1, when("did second", finish("right")));
    let (full, _) = searching(lines.clone(), &[1, 1, 1, 0, 0]);
    drive(&full.driver, checked(Choice::Search)).await;
    let entries = full.entries().await;
    let tries: Vec<_> = Machine::fold(&entries)
        .state()
        .children
        .keys()
        .copied()
        .collect();
    for cut in 2..=entries.len() {
        // A try that had ended by then is found again; one that had not is begun anew.
        let ended = |call: CallId| {
            entries[..cut].iter().any(|entry| {
                matches!(&entry.event, Event::ToolFinished { call: finished, .. } if *finished == call)
            })
        };
        let codes: &[i32] = match (ended(tries[0]), ended(tries[1])) {
            (_, true) => &[0],
            (true, false) => &[0, 0],
            (false, false) => &[1, 1, 1, 0, 0],
        };
        let checks = entries[..cut].iter().filter(|entry| {
            matches!(&entry.event, Event::ToolFinished { tool, .. } if tool == "run_command")
        });
        let (world, copying) = searching(lines.clone(), &codes[checks.count().min(codes.len())..]);
        world.driver.journal.append(&entries[..cut]).await.unwrap();
        for call in tries.iter().filter(|call| ended(**call)) {
            let child = full.driver.journal.read(RUN.child(*call), 1).await.unwrap();
            world.driver.journal.append(&child).await.unwrap();
        }
        let ended = world
            .driver
            .drive(RUN, Resumption::default(), &mut ())
            .await
            .unwrap();
        assert_eq!(ended, completed("right"), "cut after {cut}");
        let adopted = done(&copying)
            .iter()
            .filter(|one| one.starts_with(ADOPT))
            .count();
        assert!(adopted <= 1, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_driver_that_cannot_search_says_so_at_once() {
    let world = World::new(vec![]);
    let unable = world.driver.create(RUN, by(Choice::Search)).await;
    assert!(
        unable
            .unwrap_err()
            .to_string()
            .contains("cannot be tried here")
    );
}

#[test]
fn journals_of_before_strategies_still_fold() {
    let old: Vec<Value> = vec![
        json!({"type": "strategy_changed", "strategy": "explore", "reason": "Try another way."}),
        json!({"type": "plan_changed", "plan": [{"text": "a", "status": "done"}]}),
        json!({"type": "run_created", "spec": {
            "task": "x", "workspace": "/", "model": "a/b", "attended": false,
            "budget": {"steps": 1, "tokens": 1, "cost": 1.0, "wall_ms": 1}, "permissions": {},
        }}),
    ];
    for event in old {
        let parsed: Event = serde_json::from_value(event.clone()).unwrap();
        assert!(!matches!(parsed, Event::Unknown(_)), "{event}");
        let again = serde_json::to_value(&parsed).unwrap();
        assert_eq!(again, event, "what was hashed is what is written");
    }
    let call = ToolCall {
        name: "x".into(),
        args: json!({}),
    };
    assert_eq!(serde_json::to_value(call).unwrap()["name"], "x");
}
