//! What a model is shown: it fits, it grows at its end, and nothing in it stands alone.

use std::collections::BTreeSet;

use gpak_kernel::{
    context::{self, Notes, READ_HISTORY, Repository, Skill},
    entry::{Entry, Head},
    event::{CallOutcome, Event, PauseReason, PlanItem, PlanStatus, RunSpec, Setup},
    label::Label,
    model::{CallId, Message, ModelError, ModelProfile, Reply, Request, ToolCall, step::blocks},
    run::{Machine, Next, State},
    tool::{Control, Effect, ToolOutput, ToolSpec},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use crate::world::{RUN, spec, specs, task, yes};

/// A run that is given its replies and results, and whose every request is looked at.
struct Run {
    machine: Machine,
    entries: Vec<Entry>,
    window: u32,
    last: Option<Request>,
    /// Something happened that may change the beginning of a request.
    changed: bool,
}

/// What a run of [`Run::on`] came to.
#[derive(Debug, PartialEq)]
enum Now {
    Thinks,
    Paused(String),
    Over,
}

fn setup(window: u32, instructions: usize, repository: Repository, native: bool) -> Setup {
    let mut tools = specs();
    tools.push(spec("pin_fact", Effect::Pure, false, Some(Control::Pin)));
    tools.push(spec(
        "update_plan",
        Effect::Pure,
        false,
        Some(Control::Plan),
    ));
    for tool in &mut tools {
        if let Some(Control::Pin | Control::Plan) = tool.control {
            tool.input = json!({"type": "object"});
        }
    }
    tools.push(read_history());
    Setup {
        instructions: "Be brief. ".repeat(instructions),
        tools,
        model: ModelProfile {
            provider: "scripted".into(),
            name: "script".into(),
            window,
            native_tools: native,
            local: true,
            price: None,
        },
        repository,
    }
}

fn read_history() -> ToolSpec {
    ToolSpec {
        name: READ_HISTORY.into(),
        input: json!({"type": "object"}),
        ..spec(READ_HISTORY, Effect::Pure, false, None)
    }
}

impl Run {
    fn new(spec: RunSpec, setup: Setup) -> Self {
        let mut run = Self {
            machine: Machine::fold([]),
            entries: Vec::new(),
            window: setup.model.window,
            last: None,
            changed: false,
        };
        run.commit(Event::RunCreated { spec });
        run.commit(Event::RunStarted { setup });
        run
    }

    fn state(&self) -> &State {
        self.machine.state()
    }

    fn commit(&mut self, event: Event) {
        let head = self.entries.last().map_or(Head::EMPTY, Entry::head);
        let entry = Entry::seal(RUN, head, Timestamp::UNIX_EPOCH, event);
        self.changed |= matches!(
            entry.event,
            Event::ContextCompacted { .. } | Event::RunResumed { .. }
        );
        self.machine.apply(&entry);
        self.entries.push(entry);
    }

    /// Does what a driver would do until the mind is asked; every call gives `result`.
    fn on(&mut self, results: &mut dyn FnMut(&str) -> CallOutcome) -> Now {
        for _ in 0..200 {
            match self.machine.next() {
                Next::Record(events) => events.into_iter().for_each(|event| self.commit(event)),
                Next::Act(calls) => {
                    for call in calls {
                        let outcome = results(&call.name);
                        self.commit(Event::ToolFinished {
                            call: call.id,
                            from: Label::Tool(call.name.clone()),
                            tool: call.name,
                            outcome,
                            ms: 1,
                        });
                    }
                }
                Next::Think { request, .. } => {
                    self.look_at(request);
                    return Now::Thinks;
                }
                Next::Wait(_) => match &self.state().paused {
                    Some(PauseReason::Model { message }) => return Now::Paused(message.clone()),
                    other => panic!("it waits: {other:?}"),
                },
                Next::Done(_) => return Now::Over,
            }
        }
        panic!("it never asks the mind again");
    }

    fn look_at(&mut self, request: Request) {
        let setup = self.state().setup.as_ref().unwrap();
        let size = context::size(&request, &setup.model) + request.sampling.max_tokens as usize;
        assert!(size <= self.window as usize, "{size} of {}", self.window);
        paired(&request);
        if let Some(last) = &self.last
            && !self.changed
        {
            assert_eq!(last.tools, request.tools);
            let begins = request.messages.starts_with(&last.messages);
            assert!(begins, "what was sent before is not the beginning of this");
        }
        self.changed = false;
        self.last = Some(request);
    }

    fn reply(&mut self, reply: Reply) {
        self.commit(Event::ModelReplied { reply });
    }

    fn text(&self) -> String {
        let messages = &self.last.as_ref().unwrap().messages;
        let text = |message: &Message| serde_json::to_string(message).unwrap();
        messages.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    fn offers_history(&self) -> bool {
        let request = self.last.as_ref().unwrap();
        request.tools.iter().any(|tool| tool.name == READ_HISTORY)
    }
}

/// Every call has its result behind it, before anything else, and every result its call.
fn paired(request: &Request) {
    let mut open = BTreeSet::new();
    for message in &request.messages {
        match message {
            Message::Tool { call, .. } => assert!(open.remove(call), "{call} has no call"),
            message => {
                assert!(open.is_empty(), "{open:?} have no result");
                if let Message::Assistant { calls, .. } = message {
                    open.extend(calls.iter().map(|(id, _)| *id));
                }
            }
        }
    }
    assert!(open.is_empty(), "{open:?} have no result");
}

fn said(thought: &str, calls: &[(&str, serde_json::Value)]) -> Reply {
    let calls = calls.iter().map(|(name, args)| ToolCall {
        name: (*name).into(),
        args: args.clone(),
    });
    Reply {
        thought: thought.into(),
        calls: calls.collect(),
        ..Reply::default()
    }
}

fn done(text: impl Into<String>) -> CallOutcome {
    CallOutcome::Done {
        output: ToolOutput::text(text),
    }
}

fn look(path: &str) -> (&str, serde_json::Value) {
    ("look", json!({"what": "x", "path": path}))
}

fn open_tool(mut setup: Setup) -> Setup {
    for tool in &mut setup.tools {
        if tool.control.is_none() {
            tool.input = json!({"type": "object"});
        }
    }
    setup
}

/// A piece of the world, as large and as strange as it may be.
#[derive(Debug, Clone)]
enum Piece {
    Step {
        thought: usize,
        calls: Vec<(usize, usize)>,
    },
    Said(usize),
    Overflow(u32),
    Resumed,
}

fn a_size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..400, 3 => 400usize..8_000, 1 => 8_000usize..60_000]
}

fn a_piece() -> impl Strategy<Value = Piece> {
    let calls = prop::collection::vec((0usize..3_000, a_size()), 1..5);
    prop_oneof![
        8 => (0usize..1_500, calls).prop_map(|(thought, calls)| Piece::Step { thought, calls }),
        1 => a_size().prop_map(Piece::Said),
        1 => prop::sample::select(vec![0, 500, 3_000, 100_000]).prop_map(Piece::Overflow),
        1 => Just(Piece::Resumed),
    ]
}

fn a_repository() -> impl Strategy<Value = Repository> {
    (a_size(), 0usize..40).prop_map(|(notes, skills)| Repository {
        notes: (notes > 100)
            .then(|| Notes {
                path: "AGENTS.md".into(),
                text: "Use tabs. ".repeat(notes / 10),
                left_out: 0,
            })
            .into_iter()
            .collect(),
        skills: (0..skills)
            .map(|n| Skill {
                name: format!("skill-{n}"),
                description: "For this and that. ".repeat(n),
            })
            .collect(),
        files: "a.txt (1 line, 2 bytes)\n".repeat(skills),
        contents: String::new(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_request_fits_the_window_or_the_run_says_that_nothing_can(
        pieces in prop::collection::vec(a_piece(), 0..25),
        window in prop_oneof![64u32..4_000, 4_000u32..40_000],
        (instructions, asked) in (0usize..200, a_size()),
        repository in a_repository(),
        native in any::<bool>(),
    ) {
        let mut spec = task(yes(), false);
        spec.task = format!("Do it. {}", "And more. ".repeat(asked / 10));
        spec.budget.steps = 1_000;
        let mut run = Run::new(spec, open_tool(setup(window, instructions, repository, native)));
        let mut sizes: Vec<usize> = Vec::new();
        // Each result another, so that none is a repetition; one in four is no text.
        let mut count = 0;
        for piece in pieces {
            let now = run.on(&mut |_| {
                count += 1;
                let fill = if count % 4 == 0 { "\u{0}\u{fffd}" } else { "word\n" };
                done(format!("{count} {}", fill.repeat(sizes.pop().unwrap_or(0) / fill.len())))
            });
            match now {
                Now::Over => return Ok(()),
                Now::Paused(message) => {
                    prop_assert!(message.contains("window"), "{message}");
                    prop_assert!(message.contains("--model"), "{message}");
                    return Ok(());
                }
                Now::Thinks => {}
            }
            match piece {
                Piece::Step { thought, calls } => {
                    sizes = calls.iter().map(|(_, size)| *size).collect();
                    let calls: Vec<_> = (0..).zip(calls).map(|(n, (args, _))| {
                        let args = json!({"what": format!("{count}.{n} {}", "x".repeat(args))});
                        (if n % 2 == 0 { "look" } else { "set" }, args)
                    }).collect();
                    run.reply(said(&"I think. ".repeat(thought / 9), &calls));
                }
                Piece::Said(size) => run.commit(Event::MessageReceived {
                    text: "Listen. ".repeat(size / 8),
                    from: Label::User,
                }),
                Piece::Overflow(limit) => run.commit(Event::ModelFailed {
                    error: ModelError::ContextOverflow { limit },
                }),
                Piece::Resumed => run.commit(Event::RunResumed {
                    budget: None,
                    permissions: None,
                    attended: false,
                    setup: None,
                }),
            }
        }
        let folded = Machine::fold(&run.entries);
        prop_assert_eq!(folded.state(), run.state());
        gpak_kernel::run::replay::check(&run.entries)
            .or_else(|why| if why.journaled == "tool_finished" { Ok(()) } else { Err(why) })
            .map_err(|why| TestCaseError::fail(why.to_string()))?;
    }
}

/// A run of so many steps with results of so many bytes; it must not stop.
fn long_run(steps: usize, bytes: usize, window: u32) -> Run {
    let mut spec = task(yes(), false);
    spec.task = "Find ORCHID-17. Keep docs/plan.md in mind.".into();
    spec.budget.steps = 10_000;
    let mut run = Run::new(
        spec,
        open_tool(setup(window, 1, Repository::default(), true)),
    );
    let plan = json!({"items": [{"text": "read all files", "status": "active"}]});
    run.on(&mut |_| panic!("no calls yet"));
    run.reply(said(
        "The code is needed at the end.",
        &[
            ("pin_fact", json!({"fact": "The code is VIOLET-42."})),
            ("update_plan", plan),
        ],
    ));
    for n in 0..steps {
        let mut result = |_: &str| match n {
            3 => CallOutcome::Failed {
                message: "src/file_2.rs is locked".into(),
            },
            _ => done(format!("{n} {}", "word ".repeat(bytes / 5))),
        };
        assert_eq!(run.on(&mut result), Now::Thinks, "step {n}");
        let path = format!("src/file_{n}.rs");
        run.reply(said(
            &format!("I decide to look at file {n}."),
            &[look(&path)],
        ));
    }
    run.on(&mut |_| done("the last"));
    run
}

#[test]
fn a_hundred_steps_go_on_in_a_small_window_and_keep_what_matters() {
    let run = long_run(100, 6_000, 8_000);
    let text = run.text();
    for kept in [
        "Find ORCHID-17. Keep docs/plan.md in mind.",
        "The code is VIOLET-42.",
        "[active] read all files",
        "src/file_2.rs is locked",
        "src/file_98.rs",
        "I decide to look at file 98.",
        "Steps 1 to 98 are left out here",
    ] {
        assert!(text.contains(kept), "no `{kept}` in:\n{text}");
    }
    assert!(run.offers_history());
    let compacted = |entry: &&Entry| matches!(entry.event, Event::ContextCompacted { .. });
    let compactions = run.entries.iter().filter(compacted).count();
    println!("{compactions} compactions");
    assert!((10..=60).contains(&compactions), "{compactions}");
}

#[test]
fn a_problem_that_was_solved_since_is_none() {
    let mut run = long_run(12, 6_000, 8_000);
    assert!(run.text().contains("Not solved yet"), "{}", run.text());
    run.reply(said("Again.", &[look("src/file_2.rs")]));
    for n in 0..6 {
        run.on(&mut |_| done(format!("{n} {}", "word ".repeat(1_500))));
        run.reply(said("More.", &[look(&format!("src/more_{n}.rs"))]));
    }
    run.on(&mut |_| done("ok"));
    assert!(!run.text().contains("Not solved yet"), "{}", run.text());
}

#[test]
fn history_is_offered_once_something_is_left_out() {
    let mut run = long_run(1, 100, 32_000);
    assert!(!run.offers_history());
    run.reply(said("A long one.", &[look("big.log")]));
    run.on(&mut |_| done("0123456789\n".repeat(9_000)));
    assert!(run.offers_history());
    let text = run.text();
    assert!(
        text.contains("bytes left out here; read_history {\\\"call\\\":\\\"3.0\\\""),
        "{text}"
    );
    let first = |entry: &&Entry| matches!(entry.event, Event::ContextCompacted { .. });
    let event = run.entries.iter().find(first).unwrap().event.clone();
    let nothing_replaced = Event::ContextCompacted {
        through_reply: 0,
        halvings: 0,
        window: None,
    };
    assert_eq!(event, nothing_replaced);
}

/// The first request of a run of a small model that is shown more files than fit.
fn first_request(text: &str, makes_tools: bool) -> Run {
    let takes = |name: &str, media: &str| ToolSpec {
        input: json!({
            "type": "object",
            "properties": {"text": {"type": "string", "contentMediaType": media}},
            "required": ["text"],
        }),
        ..spec(name, Effect::Idempotent, false, None)
    };
    let repository = Repository {
        contents: "one more line\n".repeat(4_000),
        ..Repository::default()
    };
    let mut setup = setup(8_000, 1, repository, false);
    setup
        .tools
        .insert(0, takes("run_script", "text/javascript"));
    if makes_tools {
        setup.tools.push(takes("make_tool", blocks::DEFINITION));
    }
    let mut run = Run::new(
        RunSpec {
            task: text.into(),
            ..task(yes(), false)
        },
        setup,
    );
    run.on(&mut |_| done("ok"));
    run
}

#[test]
fn a_tool_that_makes_tools_is_offered_where_the_user_asks_for_one_and_no_other_task_is_the_longer()
{
    let request = |run: &Run| run.last.clone().unwrap();
    let offers = |run: &Run| {
        request(run)
            .tools
            .iter()
            .any(|tool| tool.name == "make_tool")
    };
    let other = first_request("List the tools in the shed.", true);
    assert!(!offers(&other));
    let without = first_request("List the tools in the shed.", false);
    assert_eq!(request(&other), request(&without), "to the byte");

    let mut asked = first_request("Make a tool that adds.", true);
    assert!(offers(&asked));
    let ends = |run: &Run| {
        request(run)
            .choices()
            .iter()
            .any(|tool| tool.name == "finish")
    };
    assert!(!ends(&asked), "first something is done");
    let call = ("run_script", json!({"text": "print(1)"}));
    asked.reply(said("I look.", &[call]));
    asked.on(&mut |_| done("1"));
    assert!(offers(&asked) && ends(&asked));
}

#[test]
fn an_answer_of_the_user_stays_word_for_word() {
    let mut run = long_run(2, 100, 8_000);
    run.commit(Event::MessageReceived {
        text: "Use the blue one,\n  not the red one.".into(),
        from: Label::User,
    });
    for n in 0..12 {
        run.reply(said("More.", &[look(&format!("src/more_{n}.rs"))]));
        run.on(&mut |_| done(format!("{n} {}", "word ".repeat(1_000))));
    }
    let messages = &run.last.as_ref().unwrap().messages;
    let kept = Message::User {
        text: "Use the blue one,\n  not the red one.".into(),
        label: Label::User,
    };
    assert_eq!(messages.iter().filter(|one| **one == kept).count(), 1);
    // What stands for results is trusted no more than these.
    let digest = messages.iter().find_map(|message| match message {
        Message::User { text, label } if text.contains("left out here to save space") => {
            Some(label)
        }
        _ => None,
    });
    assert_eq!(digest, Some(&Label::Tool(READ_HISTORY.into())));
}

#[test]
fn what_a_repository_says_is_labelled_and_stands_before_the_task() {
    let repository = Repository {
        notes: vec![Notes {
            path: "AGENTS.md".into(),
            text: "Use tabs.".into(),
            left_out: 0,
        }],
        skills: vec![],
        files: ".: 1 file\na.txt (1 line, 2 bytes)".into(),
        contents: String::new(),
    };
    let setup = setup(8_000, 1, repository, true);
    let mut run = Run::new(task(yes(), false), setup);
    run.on(&mut |_| panic!("no calls"));
    let messages = &run.last.as_ref().unwrap().messages;
    assert!(
        matches!(&messages[1], Message::User { text, label: Label::Repo } if text.contains("Use tabs.") && !text.contains("a.txt"))
    );
    assert!(matches!(&messages[2], Message::User { text, label: Label::User } if text == "do it"));
}

#[test]
fn a_window_smaller_than_the_instructions_is_said_before_the_mind_is_asked() {
    let mut run = Run::new(
        task(yes(), false),
        setup(512, 20, Repository::default(), true),
    );
    let Now::Paused(message) = run.on(&mut |_| panic!("no calls")) else {
        panic!("it goes on");
    };
    assert!(message.contains("512 tokens is too small"), "{message}");
    assert!(message.contains("GPAK_WINDOW"), "{message}");
}

#[test]
fn a_journal_of_an_older_version_still_folds() {
    let old = json!({"type": "context_compacted", "through_reply": 1});
    let event: Event = serde_json::from_value(old.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&event).unwrap(),
        old,
        "the same bytes, the same hash"
    );
    let mut setup = serde_json::to_value(setup(8_000, 1, Repository::default(), true)).unwrap();
    assert!(
        setup
            .as_object_mut()
            .unwrap()
            .remove("repository")
            .is_none()
    );
    serde_json::from_value::<Setup>(setup).unwrap();

    let mut run = long_run(3, 100, 8_000);
    run.commit(event);
    run.reply(said("More.", &[look("src/more.rs")]));
    run.on(&mut |_| done("ok"));
    assert_eq!(run.state().compacted_through(), 1);
    assert!(run.text().contains("Step 1 is left out"), "{}", run.text());
}

#[test]
fn a_plan_is_shown_as_it_was_when_steps_were_replaced() {
    let mut run = long_run(30, 6_000, 8_000);
    let plan = vec![PlanItem {
        text: "write it down".into(),
        status: PlanStatus::Active,
        evidence: None,
    }];
    run.commit(Event::PlanChanged { plan });
    run.on(&mut |_| panic!("no calls"));
    assert!(
        !run.text().contains("write it down"),
        "the beginning changed"
    );
}

#[test]
fn one_result_larger_than_the_window_is_shown_by_its_ends_in_any_window() {
    for window in [1_600, 4_000, 8_000, 128_000] {
        let mut run = long_run(0, 0, window);
        let id = CallId { reply: 2, index: 0 };
        run.reply(said("All of it.", &[look("all.txt")]));
        let text = format!("BEGIN {} END", "word ".repeat(200_000));
        assert_eq!(run.on(&mut |_| done(text.clone())), Now::Thinks);
        let messages = &run.last.as_ref().unwrap().messages;
        let shown = messages.iter().find_map(|message| match message {
            Message::Tool { call, text, .. } if *call == id => Some(text),
            _ => None,
        });
        let shown = shown.unwrap();
        assert!(
            shown.starts_with("BEGIN") && shown.ends_with("END"),
            "{shown}"
        );
    }
}
