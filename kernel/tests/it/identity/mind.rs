//! Two selves as one model: who is asked, why, and what never leaves.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, Outcome, PauseReason},
    identity::{Limits, Mind, Policy, Rules, Speaker, Spoken, Why},
    label::Label,
    memory::{Episode, Hit, Origin},
    model::{
        CallId, Deltas, Message, Model, ModelError, ModelProfile, Price, Reply, Request, ToolCall,
        Usage,
    },
    run::{Ended, Machine, Next, Resumption},
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::json;

use crate::world::{RUN, World, spec, task, yes};

/// A model that says what it is told to, and keeps what it was asked.
struct Says {
    profile: ModelProfile,
    lines: Mutex<VecDeque<Result<Reply, ModelError>>>,
    asked: Mutex<Vec<Request>>,
}

impl Says {
    fn new(name: &str, local: bool, lines: Vec<Result<Reply, ModelError>>) -> Arc<Self> {
        let profile = ModelProfile {
            provider: "test".into(),
            name: name.into(),
            window: 8192,
            native_tools: true,
            local,
            price: None,
        };
        Arc::new(Self {
            profile,
            lines: Mutex::new(lines.into()),
            asked: Mutex::default(),
        })
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn is_used_up(&self) -> bool {
        self.lines.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Model for Says {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, _: &mut dyn Deltas) -> Result<Reply, ModelError> {
        self.asked.lock().unwrap().push(request.clone());
        let line = self.lines.lock().unwrap().pop_front();
        let line = line.unwrap_or_else(|| panic!("{} was asked too often", self.profile.name));
        line.map(|reply| Reply {
            model: self.profile.id(),
            ..reply
        })
    }
}

fn call(name: &str, what: &str) -> Result<Reply, ModelError> {
    let args = match name {
        "finish" => json!({"answer": what}),
        _ => json!({"what": what}),
    };
    Ok(Reply {
        calls: vec![ToolCall {
            name: name.into(),
            args,
        }],
        usage: Usage {
            input: 100,
            output: 10,
            ..Usage::default()
        },
        ..Reply::default()
    })
}

/// A call that fails, each in another way.
fn wrong(number: u32) -> Result<Reply, ModelError> {
    call("set", "").map(|mut reply| {
        reply.calls[0].args = json!({ "what": number });
        reply
    })
}

fn unreachable() -> Result<Reply, ModelError> {
    Err(ModelError::Unreachable {
        message: "no route".into(),
    })
}

fn malformed() -> Result<Reply, ModelError> {
    Err(ModelError::Malformed {
        message: "half".into(),
    })
}

type Lines = Vec<Result<Reply, ModelError>>;

/// The active self and the core self, as one mind.
fn two(rules: Rules, active: Lines, core: Lines) -> (Arc<Says>, Arc<Says>, Arc<Mind>) {
    let (active, core) = (
        Says::new("small", true, active),
        Says::new("large", false, core),
    );
    let mind = Arc::new(Mind::new(active.clone(), core.clone(), rules));
    (active, core, mind)
}

async fn run(mind: Arc<Mind>) -> (Ended, Vec<Entry>) {
    run_in(World::new(vec![]), mind).await
}

async fn run_in(mut world: World, mind: Arc<Mind>) -> (Ended, Vec<Entry>) {
    world.model(mind);
    let ended = world.run(task(yes(), false)).await;
    (ended, world.entries().await)
}

/// Who spoke in each step.
fn spoken(entries: &[Entry]) -> Vec<Spoken> {
    let replies = entries.iter().filter_map(|entry| match &entry.event {
        Event::ModelReplied { reply } => Some(*reply.spoken.clone().expect("a mind says who")),
        _ => None,
    });
    replies.collect()
}

fn by(entries: &[Entry]) -> Vec<(Speaker, Why)> {
    let all = spoken(entries).into_iter();
    all.map(|spoken| (spoken.by, spoken.why)).collect()
}

fn failures(entries: &[Entry]) -> usize {
    let failed = |entry: &&Entry| matches!(entry.event, Event::ModelFailed { .. });
    entries.iter().filter(failed).count()
}

fn completed(answer: &str) -> Ended {
    Ended::Finished(Outcome::Completed {
        answer: answer.into(),
    })
}

#[tokio::test]
async fn a_cascade_asks_the_core_self_once_calls_fail_and_the_active_self_again_after_that() {
    let (active, core, mind) = two(
        Rules::of(Policy::Cascade),
        vec![wrong(1), wrong(2), call("finish", "ok")],
        vec![call("look", "well")],
    );
    let (ended, entries) = run(mind).await;
    assert_eq!(ended, completed("ok"));
    assert_eq!(
        by(&entries),
        [
            (Speaker::Active, Why::Policy),
            (Speaker::Active, Why::Policy),
            (Speaker::Core, Why::Failures),
            (Speaker::Active, Why::Policy),
        ]
    );
    assert!(active.is_used_up() && core.is_used_up());
}

#[tokio::test]
async fn repetition_is_taken_to_the_core_self() {
    let (_, core, mind) = two(
        Rules::of(Policy::Cascade),
        vec![
            call("look", "a"),
            call("look", "a"),
            call("look", "a"),
            call("finish", "ok"),
        ],
        vec![call("look", "b")],
    );
    let (_, entries) = run(mind).await;
    assert_eq!(by(&entries)[3], (Speaker::Core, Why::Repeats));
    assert!(core.is_used_up());
}

#[tokio::test]
async fn a_step_in_which_one_self_fails_is_one_step() {
    for policy in [Policy::Cascade, Policy::LocalFirst] {
        let (_, core, mind) = two(
            Rules::of(policy),
            vec![unreachable(), call("finish", "ok")],
            vec![call("look", "a")],
        );
        let (ended, entries) = run(mind).await;
        assert_eq!(ended, completed("ok"));
        assert_eq!(failures(&entries), 0, "the run saw no failure");
        let first = &spoken(&entries)[0];
        assert_eq!((first.by, first.why), (Speaker::Core, Why::Failed));
        assert_eq!(first.failed, unreachable().err());
        assert!(core.is_used_up());
    }
    let (_, _, mind) = two(
        Rules::of(Policy::CloudFirst),
        vec![call("look", "a")],
        vec![unreachable(), call("finish", "ok")],
    );
    let (ended, entries) = run(mind).await;
    assert_eq!(ended, completed("ok"));
    assert_eq!(failures(&entries), 0);
    let all = spoken(&entries);
    assert_eq!((all[0].by, all[0].why), (Speaker::Active, Why::Failed));
    assert_eq!(all[0].wanted, Some(Why::Policy), "the core was meant");
    assert_eq!((all[1].by, all[1].why), (Speaker::Core, Why::Policy));
}

#[tokio::test]
async fn a_reply_that_makes_no_sense_is_for_the_core_self_in_a_cascade_and_asked_again_else() {
    let (_, core, mind) = two(
        Rules::of(Policy::Cascade),
        vec![malformed()],
        vec![call("finish", "ok")],
    );
    let (_, entries) = run(mind).await;
    assert_eq!(by(&entries), [(Speaker::Core, Why::Failed)]);
    assert!(core.is_used_up());

    let (active, _, mind) = two(
        Rules::of(Policy::LocalFirst),
        vec![malformed(), call("finish", "ok")],
        vec![],
    );
    let (_, entries) = run(mind).await;
    assert_eq!(by(&entries), [(Speaker::Active, Why::Policy)]);
    assert_eq!(failures(&entries), 1);
    assert!(active.is_used_up());
}

#[tokio::test]
async fn offline_the_active_self_goes_on_and_notes_what_it_would_have_asked() {
    let clock = Arc::new(AtomicU64::new(0));
    let (active, core) = (
        Says::new(
            "small",
            true,
            vec![
                wrong(1),
                wrong(2),
                wrong(3),
                wrong(4),
                call("look", "well"),
                call("finish", "ok"),
            ],
        ),
        Says::new("large", false, vec![unreachable(), unreachable()]),
    );
    let now = clock.clone();
    let mind = Mind::with_clock(
        active.clone(),
        core.clone(),
        Rules::of(Policy::Cascade),
        move || Duration::from_secs(now.load(Ordering::SeqCst)),
    );
    let (ended, entries) = run(Arc::new(mind)).await;
    assert_eq!(ended, completed("ok"));
    let told: Vec<_> = spoken(&entries)
        .into_iter()
        .map(|one| (one.by, one.why, one.wanted))
        .collect();
    let (active_self, failures) = (Speaker::Active, Some(Why::Failures));
    assert_eq!(
        told,
        [
            (active_self, Why::Policy, None),
            (active_self, Why::Policy, None),
            (active_self, Why::Failed, failures),
            (active_self, Why::Failed, failures),
            (active_self, Why::Offline, failures),
            (active_self, Why::Policy, None),
        ]
    );
    assert_eq!(core.times(), 2, "it is left alone after that");
    assert!(active.is_used_up());
}

#[tokio::test]
async fn a_self_that_came_back_is_asked_again() {
    let clock = Arc::new(AtomicU64::new(0));
    let (active, core) = (
        Says::new(
            "small",
            true,
            vec![call("look", "a"), call("look", "b"), call("look", "c")],
        ),
        Says::new(
            "large",
            false,
            vec![unreachable(), unreachable(), call("look", "d")],
        ),
    );
    let now = clock.clone();
    let mind = Mind::with_clock(
        active,
        core.clone(),
        Rules::of(Policy::CloudFirst),
        move || Duration::from_secs(now.load(Ordering::SeqCst)),
    );
    let request = request(vec![]);
    let mut who = Vec::new();
    for second in [0, 1, 2, 11] {
        clock.store(second, Ordering::SeqCst);
        let reply = mind.reply(&request, &mut ()).await.unwrap();
        let spoken = reply.spoken.unwrap();
        who.push((spoken.by, spoken.why));
    }
    assert_eq!(
        who,
        [
            (Speaker::Active, Why::Failed),
            (Speaker::Active, Why::Failed),
            (Speaker::Active, Why::Offline),
            (Speaker::Core, Why::Policy),
        ]
    );
}

fn request(messages: Vec<Message>) -> Request {
    Request {
        messages,
        tools: Arc::from([]),
        barred: vec![],
        sampling: Default::default(),
        known: Default::default(),
    }
}

fn private(policy: Policy) -> Rules {
    Rules {
        private: vec!["tool:look".into(), "web:*.bank.example".into()],
        ..Rules::of(policy)
    }
}

#[tokio::test]
async fn a_message_with_a_private_label_never_leaves() {
    let from = |label| {
        request(vec![Message::User {
            text: "the balance is 7".into(),
            label,
        }])
    };
    let bank = || from(Label::Web("my.bank.example".into()));
    for policy in [Policy::LocalFirst, Policy::CloudFirst, Policy::Cascade] {
        // Whatever happens to the active self.
        for line in [
            call("finish", "ok"),
            unreachable(),
            malformed(),
            Err(ModelError::ContextOverflow { limit: 9 }),
        ] {
            let (_, core, mind) = two(private(policy), vec![line.clone()], vec![]);
            let replied = mind.reply(&bank(), &mut ()).await;
            assert_eq!(replied.is_ok(), line.is_ok());
            assert_eq!(core.times(), 0, "{policy}");
        }
        let (_, core, mind) = two(
            private(policy),
            vec![call("look", "x"); 9],
            vec![call("look", "x"); 9],
        );
        mind.reply(&from(Label::Web("weather.example".into())), &mut ())
            .await
            .unwrap();
        assert_eq!(core.times(), usize::from(policy == Policy::CloudFirst));
    }
    let (_, core, mind) = two(private(Policy::CloudOnly), vec![], vec![]);
    let why = mind.reply(&bank(), &mut ()).await.unwrap_err();
    assert!(why.to_string().contains("private"), "{why}");
    assert!(!why.is_transient());
    assert_eq!(core.times(), 0);

    // A core self on this machine is no way out.
    let here = Says::new("large", true, vec![call("finish", "ok")]);
    let small = Says::new("small", true, vec![]);
    let mind = Mind::new(small, here, private(Policy::CloudOnly));
    mind.reply(&bank(), &mut ()).await.unwrap();
}

/// `look`, whose long results make a run leave out the older ones.
struct Long(ToolSpec);

#[async_trait]
impl Tool for Long {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let text = format!("{} {}", call.args["what"], "secret ".repeat(700));
        Ok(ToolOutput::text(text))
    }
}

#[tokio::test]
async fn what_was_private_stays_so_once_only_a_digest_tells_of_it() {
    let long: Arc<dyn Tool> = Arc::new(Long(spec("peek", Effect::Pure, false, None)));
    let mut lines: Lines = vec![call("look", "mail")];
    lines.extend((0..12).map(|number| call("peek", &format!("n{number}"))));
    // Two that fail: the core self would be asked.
    lines.extend([wrong(1), wrong(2)]);
    lines.push(call("finish", "ok"));
    let (active, core, mind) = two(private(Policy::Cascade), lines, vec![]);
    let world = World::new(vec![]).with([long]);
    let (ended, entries) = run_in(world, mind).await;
    assert_eq!(ended, completed("ok"));
    let last = spoken(&entries).pop().unwrap();
    assert_eq!((last.why, last.wanted), (Why::Private, Some(Why::Failures)));
    assert_eq!(core.times(), 0);
    let compacted = |entry: &Entry| {
        matches!(
            entry.event,
            Event::ContextCompacted {
                through_reply: 1..,
                ..
            }
        )
    };
    assert!(entries.iter().any(compacted));
    let asked = active.asked.lock().unwrap();
    let shown = &asked.last().unwrap().messages;
    let looked =
        |message: &Message| matches!(message, Message::Tool { name, .. } if name == "look");
    assert!(!shown.iter().any(looked), "the result itself is left out");
}

#[test]
fn what_tools_and_other_runs_read_is_known_of_a_request() {
    let nested = |tool: &str, label| Event::NestedCalled {
        by: CallId { reply: 1, index: 0 },
        call: ToolCall {
            name: tool.into(),
            args: json!({}),
        },
        outcome: CallOutcome::Done {
            output: ToolOutput {
                label,
                ..ToolOutput::text("x")
            },
        },
        ms: 1,
    };
    let bank = Label::Web("my.bank.example".into());
    let mut of_another = Episode::new("x", Label::User, super::time(0));
    let hit = |episode: &Episode| Event::MemoryRecalled {
        hits: vec![Hit {
            id: episode.id(),
            episode: episode.clone(),
            score: 1.0,
            likeness: 1.0,
            why: vec![],
            around: vec![],
        }],
        failed: None,
    };
    let by_the_user = hit(&of_another);
    of_another.origin = Some(Origin { run: RUN, entry: 3 });
    for (event, is) in [
        (None, false),
        (Some(nested("read_file", None)), false),
        (Some(nested("look", None)), true),
        (Some(nested("fetch", Some(bank))), true),
        (Some(nested("recall", None)), true),
        (Some(by_the_user), false),
        (Some(hit(&of_another)), true),
    ] {
        let request = next_request(event.clone());
        let found = gpak_kernel::identity::is_private(&private(Policy::Cascade).private, &request);
        assert_eq!(found, is, "{event:?}");
        assert!(!gpak_kernel::identity::is_private(&[], &request));
    }
}

/// What is asked first in a run in which that happened.
fn next_request(event: Option<Event>) -> Request {
    use gpak_kernel::entry::Head;
    let created = Event::RunCreated {
        spec: task(yes(), false),
    };
    let started = Event::RunStarted {
        setup: gpak_kernel::event::Setup {
            instructions: "Be brief.".into(),
            tools: crate::world::specs(),
            model: Says::new("small", true, vec![]).profile.clone(),
            repository: Default::default(),
        },
    };
    let mut head = Head::EMPTY;
    let events = [created, started].into_iter().chain(event);
    let entries: Vec<Entry> = events
        .map(|event| {
            let entry = Entry::seal(RUN, head, super::time(0), event);
            head = entry.head();
            entry
        })
        .collect();
    match Machine::fold(&entries).next() {
        Next::Think { request, .. } => request,
        next => panic!("{next:?}"),
    }
}

#[tokio::test]
async fn a_run_whose_core_self_may_not_be_asked_pauses_with_the_reason() {
    let (_, _, mind) = two(
        private(Policy::CloudOnly),
        vec![],
        vec![call("look", "mail")],
    );
    let mut world = World::new(vec![]);
    world.model(mind);
    world.create(task(yes(), false)).await;
    let ended = world.drive_with(Resumption::default()).await;
    let Ended::Paused(PauseReason::Model { message }) = ended else {
        panic!("{ended:?}");
    };
    assert!(
        message.contains("private") && message.contains("--policy local-only"),
        "{message}"
    );
}

#[tokio::test]
async fn money_that_is_not_there_is_not_spent() {
    let small = Says::new("small", true, vec![call("finish", "ok")]);
    let mut large = Says::new("large", false, vec![call("finish", "ok")]);
    Arc::get_mut(&mut large).unwrap().profile.price = Some(Price {
        input: 10.0,
        cached: 1.0,
        output: 100.0,
    });
    let mind = Mind::new(small, large, Rules::of(Policy::CloudFirst));
    let mut request = request(vec![]);
    request.sampling.max_tokens = 1000;
    request.known.cost_left = Some(0.09);
    let spoken = mind.reply(&request, &mut ()).await.unwrap().spoken.unwrap();
    assert_eq!((spoken.by, spoken.why), (Speaker::Active, Why::Cost));
    request.known.cost_left = Some(0.11);
    let spoken = mind.reply(&request, &mut ()).await.unwrap().spoken.unwrap();
    assert_eq!((spoken.by, spoken.why), (Speaker::Core, Why::Policy));
}

#[tokio::test]
async fn a_choice_that_the_active_self_is_not_sure_of_is_the_core_selfs() {
    let rules = |doubt| Rules {
        limits: Limits {
            doubt,
            ..Limits::default()
        },
        ..Rules::of(Policy::Cascade)
    };
    let unsure = || {
        call("finish", "small").map(|reply| Reply {
            doubt: Some(1.5),
            entropy: Some(0.3),
            ..reply
        })
    };
    let ask = async |rules: Rules, core: Lines| {
        let (_, _, mind) = two(rules, vec![unsure()], core);
        let reply = mind.reply(&request(vec![]), &mut ()).await.unwrap();
        (reply.model, reply.spoken.unwrap())
    };
    let (model, spoken) = ask(rules(Some(1.0)), vec![call("finish", "large")]).await;
    assert_eq!(model, "test/large");
    assert_eq!((spoken.by, spoken.why), (Speaker::Core, Why::Doubt));
    assert_eq!(spoken.unused.unwrap().output, 10, "what it took is known");

    let (model, spoken) = ask(rules(Some(1.0)), vec![unreachable()]).await;
    assert_eq!(model, "test/small", "better than nothing");
    assert_eq!(spoken.wanted, Some(Why::Doubt));
    assert_eq!(spoken.failed, unreachable().err());
    for limit in [None, Some(2.0)] {
        let (model, _) = ask(rules(limit), vec![]).await;
        assert_eq!(model, "test/small");
    }
    let of_the_call = Rules {
        limits: Limits {
            entropy: Some(0.2),
            ..Limits::default()
        },
        ..Rules::of(Policy::Cascade)
    };
    let (model, spoken) = ask(of_the_call, vec![call("finish", "large")]).await;
    assert_eq!((model.as_str(), spoken.why), ("test/large", Why::Unsure));
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_asked_for_nowhere_else() {
    let refused = || {
        Err(ModelError::Refused {
            message: "no".into(),
        })
    };
    let (_, core, mind) = two(Rules::of(Policy::Cascade), vec![refused()], vec![]);
    assert_eq!(mind.reply(&request(vec![]), &mut ()).await, refused());
    assert_eq!(core.times(), 0);
}

#[tokio::test]
async fn a_request_that_neither_self_can_take_is_too_long_for_the_run() {
    let overflow = || Err(ModelError::ContextOverflow { limit: 4000 });
    for (active, core) in [(overflow(), unreachable()), (unreachable(), overflow())] {
        let (_, _, mind) = two(Rules::of(Policy::CloudFirst), vec![active], vec![core]);
        assert_eq!(mind.reply(&request(vec![]), &mut ()).await, overflow());
    }
}

#[test]
fn a_mind_is_known_by_its_first_self_and_says_the_other() {
    let id = |policy| {
        let (_, _, mind) = two(Rules::of(policy), vec![], vec![]);
        mind.profile().id()
    };
    assert_eq!(id(Policy::Cascade), "test/small (cascade with test/large)");
    assert_eq!(
        id(Policy::CloudFirst),
        "test/large (cloud-first with test/small)"
    );
    for policy in Policy::ALL {
        assert_eq!(Mind::policy_of(&id(policy)), Some(policy));
    }
    for other in [
        "test/small",
        "a/b (c)",
        "a/b (cascade)",
        "a/b (x with y)",
        "",
    ] {
        assert_eq!(Mind::policy_of(other), None, "{other}");
    }
    assert_eq!(
        Mind::policy_of("scripted//tmp/a (1).json (local-only with scripted//tmp/b (2).json)"),
        Some(Policy::LocalOnly)
    );
}

#[test]
fn a_reply_of_before_there_were_two_selves_still_reads() {
    let old = json!({
        "text": "hello", "stop": "end", "model": "openai/x",
        "usage": {"input": 1, "cached": 0, "output": 1, "cost": 0.0, "first_token_ms": 1, "total_ms": 2},
    });
    let reply: Reply = serde_json::from_value(old.clone()).unwrap();
    assert!(reply.spoken.is_none() && reply.doubt.is_none() && reply.entropy.is_none());
    assert_eq!(
        serde_json::to_value(&reply).unwrap(),
        old,
        "and is written as it was"
    );
    let spoken = Spoken {
        by: Speaker::Active,
        why: Why::Offline,
        wanted: Some(Why::Repeats),
        failed: None,
        unused: None,
    };
    let json = json!(spoken);
    assert_eq!(
        json,
        json!({"by": "active", "why": "offline", "wanted": "repeats"})
    );
    assert_eq!(
        spoken.to_string(),
        "active self: the other one cannot be reached; the core self was wanted: calls were made before and \
         gave nothing new"
    );
}
