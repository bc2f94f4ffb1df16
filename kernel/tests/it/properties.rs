//! The machine under any sequence of events, sensible or not.

use std::collections::HashMap;

use gpak_kernel::{
    entry::{Entry, Head},
    event::{
        CallOutcome, Choice, Decision, Event, Outcome, PauseReason, PlanItem, PlanStatus, Purpose,
        RunSpec, Setup,
    },
    label::Label,
    model::{CallId, ModelError, ModelProfile, Reply, ToolCall, Usage},
    policy::{Access, Budget, Permissions, Rule, Spent},
    run::{Machine, Next, Waiting, replay},
    tool::{Control, Effect, ToolOutput},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use crate::world::{RUN, specs, task};

fn setup() -> Setup {
    let control = |name: &str, control, args: serde_json::Value| {
        let mut spec = crate::world::spec(name, Effect::Pure, false, Some(control));
        spec.input = json!({"type": "object", "properties": args});
        spec
    };
    let strategies = json!({"strategy": {"enum": ["direct", "react", "plan", "search"]}});
    let more = [
        control("update_plan", Control::Plan, json!({})),
        control("choose_strategy", Control::Strategy, strategies),
        control("choose_best", Control::Best, json!({})),
    ];
    Setup {
        instructions: "Be brief.".into(),
        tools: specs().into_iter().chain(more).collect(),
        model: ModelProfile {
            provider: "scripted".into(),
            name: "script".into(),
            window: 4096,
            native_tools: true,
            local: true,
            price: None,
        },
        repository: Default::default(),
    }
}

fn spec(attended: bool, deny_save: bool, steps: u32) -> RunSpec {
    let deny = Rule {
        access: Access::Deny,
        tool: Some("save".into()),
        effect: None,
        args: Default::default(),
    };
    let permissions = Permissions {
        rules: deny_save.then_some(deny).into_iter().collect(),
        yes: !attended,
    };
    RunSpec {
        budget: Budget {
            steps,
            ..Budget::default()
        },
        ..task(permissions, attended)
    }
}

fn a_call() -> impl Strategy<Value = ToolCall> {
    let name = prop::sample::select(vec![
        "look",
        "set",
        "save",
        "send",
        "ask_user",
        "finish",
        "no",
        "update_plan",
        "choose_strategy",
        "choose_best",
    ]);
    let args = prop::sample::select(vec![
        json!({"what": "a"}),
        json!({"what": "b"}),
        json!({"what": 3}),
        json!({"answer": "ok"}),
        json!({"question": "?"}),
        json!({"items": [{"text": "a", "status": "done"}, {"text": "b", "status": "active"}]}),
        json!({"items": [{"text": "b", "status": "done"}]}),
        json!({"strategy": "plan"}),
        json!({"strategy": "search", "best": 1}),
        json!("{\"what\""),
        json!(null),
    ]);
    (name, args).prop_map(|(name, args)| ToolCall {
        name: name.into(),
        args,
    })
}

fn a_reply() -> impl Strategy<Value = Reply> {
    let text = prop::sample::select(vec!["", "", "", "the answer"]);
    (prop::collection::vec(a_call(), 0..4), text).prop_map(|(calls, text)| Reply {
        calls,
        text: text.into(),
        usage: Usage {
            input: 10,
            output: 5,
            ..Usage::default()
        },
        ..Reply::default()
    })
}

fn an_error() -> impl Strategy<Value = ModelError> {
    prop::sample::select(vec![
        ModelError::Malformed {
            message: "half".into(),
        },
        ModelError::ContextOverflow { limit: 100 },
        ModelError::Unauthorized {
            message: "key".into(),
        },
        ModelError::RateLimited { after_ms: Some(5) },
    ])
}

fn a_call_id() -> impl Strategy<Value = CallId> {
    (0u32..5, 0u32..4).prop_map(|(reply, index)| CallId { reply, index })
}

fn an_outcome() -> impl Strategy<Value = CallOutcome> {
    prop_oneof![
        "[a-c]".prop_map(|text| CallOutcome::Done {
            output: ToolOutput::text(text)
        }),
        "[a-c]".prop_map(|message| CallOutcome::Failed { message }),
        "[a-c]".prop_map(|message| CallOutcome::Unknown { message }),
    ]
}

fn a_decision() -> impl Strategy<Value = Decision> {
    use Decision::*;
    prop::sample::select(vec![Allow, AllowForRun, Deny, WasDone])
}

fn a_purpose() -> impl Strategy<Value = Purpose> {
    prop::sample::select(vec![Purpose::Check, Purpose::Search])
}

fn a_strategy() -> impl Strategy<Value = gpak_kernel::event::Strategy> {
    use gpak_kernel::event::Strategy::*;
    prop::sample::select(vec![React, Explore, Direct, Plan, Search])
}

fn a_choice() -> impl Strategy<Value = Option<Choice>> {
    use Choice::*;
    let some = prop::sample::select(vec![Auto, Direct, React, Plan, Search]);
    prop::option::of(some)
}

/// Any event, in any place.
fn an_event() -> impl Strategy<Value = Event> {
    let text = "[a-c]{0,2}";
    prop_oneof![
        (any::<(bool, bool, bool)>(), a_choice(), 0usize..3).prop_map(
            |((a, b, conversation), strategy, checks)| Event::RunCreated {
                spec: RunSpec {
                    conversation,
                    check: vec!["test".into(); checks],
                    strategy,
                    ..spec(a, b, 5)
                }
            }
        ),
        Just(Event::RunStarted { setup: setup() }),
        text.prop_map(|text| Event::MessageReceived {
            text,
            from: Label::User
        }),
        a_reply().prop_map(|reply| Event::ModelReplied { reply }),
        an_error().prop_map(|error| Event::ModelFailed { error }),
        (a_call_id(), 0u32..3).prop_map(|(call, attempt)| Event::ToolStarted {
            call,
            attempt,
            tool: "send".into(),
        }),
        (a_call_id(), an_outcome()).prop_map(|(call, outcome)| Event::ToolFinished {
            call,
            tool: "send".into(),
            outcome,
            from: Label::Own,
            ms: 1,
        }),
        a_call_id().prop_map(|call| Event::ApprovalRequested {
            call,
            reason: String::new(),
            preview: None,
        }),
        (a_call_id(), a_decision()).prop_map(|(call, decision)| Event::ApprovalDecided {
            call,
            decision,
            note: String::new(),
        }),
        (0u32..9, 0u32..9, prop::option::of(0u32..5000)).prop_map(
            |(through_reply, halvings, window)| Event::ContextCompacted {
                through_reply,
                halvings,
                window,
            }
        ),
        (a_purpose(), prop::collection::vec(a_call(), 0..3))
            .prop_map(|(purpose, calls)| Event::CallsDecided { purpose, calls }),
        (a_call_id(), any::<u32>(), any::<u64>()).prop_map(|(call, steps, tokens)| {
            let spent = Spent {
                steps,
                tokens,
                ..Spent::default()
            };
            Event::ChildCharged {
                call,
                run: RUN.child(call),
                spent,
            }
        }),
        a_strategy().prop_map(|strategy| Event::StrategyChanged {
            strategy,
            reason: "why".into(),
            told: None,
        }),
        "[a-c]".prop_map(|text| Event::PlanChanged {
            plan: vec![PlanItem {
                text,
                status: PlanStatus::Done,
                evidence: None,
            }],
        }),
        Just(Event::RunPaused {
            reason: PauseReason::Interrupted
        }),
        any::<bool>().prop_map(resumed),
        a_call_id().prop_map(|call| Event::Compensated {
            call,
            text: String::new()
        }),
        Just(Event::RunFinished {
            outcome: Outcome::Cancelled
        }),
        Just(Event::Unknown(json!({"type": "of_tomorrow"}))),
    ]
}

fn resumed(attended: bool) -> Event {
    Event::RunResumed {
        budget: None,
        permissions: None,
        attended,
        setup: None,
    }
}

/// What the world does next to a driver: a reply, an outcome, a decision, or a crash.
#[derive(Debug, Clone)]
struct Fate {
    reply: Result<Reply, ModelError>,
    outcome: CallOutcome,
    decision: Decision,
    crash: bool,
}

fn a_fate() -> impl Strategy<Value = Fate> {
    let reply = prop_oneof![4 => a_reply().prop_map(Ok), 1 => an_error().prop_map(Err)];
    let crash = prop::bool::weighted(0.2);
    (reply, an_outcome(), a_decision(), crash).prop_map(|(reply, outcome, decision, crash)| Fate {
        reply,
        outcome,
        decision,
        crash,
    })
}

struct Simulation {
    machine: Machine,
    entries: Vec<Entry>,
    attended: bool,
}

impl Simulation {
    fn commit(&mut self, event: Event) {
        let head = self.entries.last().map_or(Head::EMPTY, Entry::head);
        let entry = Entry::seal(RUN, head, Timestamp::UNIX_EPOCH, event);
        self.machine.apply(&entry);
        self.entries.push(entry);
    }

    /// Does what a driver would do; false once there is nothing more to do.
    fn step(&mut self, fate: &Fate) -> bool {
        match self.machine.next() {
            Next::Record(events) => {
                assert!(
                    !events.is_empty(),
                    "a decision that changes nothing would repeat for ever"
                );
                events.into_iter().for_each(|event| self.commit(event));
            }
            Next::Think { .. } => self.commit(match fate.reply.clone() {
                Ok(reply) => Event::ModelReplied { reply },
                Err(error) => Event::ModelFailed { error },
            }),
            Next::Act(calls) => {
                for call in &calls {
                    self.commit(Event::ToolStarted {
                        call: call.id,
                        tool: call.name.clone(),
                        attempt: call.attempt,
                    });
                }
                if fate.crash {
                    self.commit(resumed(self.attended));
                    return true;
                }
                for call in calls.into_iter().rev() {
                    self.commit(Event::ToolFinished {
                        call: call.id,
                        tool: call.name,
                        outcome: fate.outcome.clone(),
                        from: Label::Own,
                        ms: 1,
                    });
                }
            }
            Next::Wait(Waiting::Approval { call, reason }) => {
                self.commit(Event::ApprovalRequested {
                    call: call.id,
                    reason,
                    preview: None,
                });
                self.decide(call.id, fate);
            }
            Next::Wait(Waiting::InDoubt { call }) => self.decide(call.id, fate),
            Next::Wait(Waiting::Question { call, .. }) => self.commit(Event::ToolFinished {
                call: call.id,
                tool: call.name,
                outcome: fate.outcome.clone(),
                from: Label::User,
                ms: 1,
            }),
            Next::Wait(Waiting::Message) => self.commit(Event::MessageReceived {
                text: "go on".into(),
                from: Label::User,
            }),
            Next::Wait(Waiting::Driver(_)) => {
                if fate.crash {
                    self.commit(resumed(self.attended));
                }
                return fate.crash;
            }
            Next::Done(_) => return false,
        }
        true
    }

    fn decide(&mut self, call: CallId, fate: &Fate) {
        self.commit(Event::ApprovalDecided {
            call,
            decision: fate.decision,
            note: String::new(),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_folds_and_has_a_next(
        events in prop::collection::vec(an_event(), 0..40)
    ) {
        let mut machine = Machine::fold([]);
        let (mut head, mut entries) = (Head::EMPTY, Vec::new());
        for event in events {
            let entry = Entry::seal(RUN, head, Timestamp::UNIX_EPOCH, event);
            head = entry.head();
            machine.apply(&entry);
            entries.push(entry);
            let next = machine.next();
            prop_assert_eq!(&next, &machine.next(), "the same state, the same decision");
            if let Next::Record(events) = next {
                prop_assert!(!events.is_empty());
            }
        }
        let folded = Machine::fold(&entries);
        prop_assert_eq!(folded.state(), machine.state());
        prop_assert_eq!(folded.next(), machine.next());
    }

    #[test]
    fn a_driven_run_keeps_its_promises(
        fates in prop::collection::vec(a_fate(), 1..60),
        (attended, deny_save, conversation) in any::<(bool, bool, bool)>(),
        steps in 1u32..12,
        strategy in a_choice(),
        checks in 0usize..3,
    ) {
        let mut run = Simulation { machine: Machine::fold([]), entries: Vec::new(), attended };
        let check = vec!["test".to_owned(); checks];
        let spec = RunSpec { conversation, check, strategy, ..spec(attended, deny_save, steps) };
        run.commit(Event::RunCreated { spec });
        run.commit(Event::RunStarted { setup: setup() });
        let mut bound = 40 * fates.len();
        for fate in &fates {
            while bound > 0 && run.step(fate) && !fate.crash {
                bound -= 1;
            }
        }

        let state = run.machine.state();
        // No outcome of this world says `exit_code` 0: no check succeeds.
        let failed = state.own.iter().filter(|own| own.purpose == Purpose::Check);
        let messages = 1 + state.messages.len();
        prop_assert!(failed.count() <= 3 * messages, "a refused answer is sent back for ever");
        let completed = matches!(state.outcome, Some(Outcome::Completed { .. }));
        prop_assert!(!completed || checks == 0, "an answer counted whose check failed");
        prop_assert!(state.messages.is_empty() || checks == 0, "an answer counted whose check failed");
        prop_assert!(!(conversation && completed), "a conversation has no end");
        if strategy == Some(Choice::Plan) && state.strategy == gpak_kernel::event::Strategy::Plan {
            let done = state.plan.iter().filter(|item| item.is_done());
            let bare: Vec<_> = done.filter(|item| item.evidence.is_none()).collect();
            prop_assert!(bare.is_empty(), "done without evidence: {bare:?}");
        }
        let steps_spent = state.charged().steps;
        prop_assert!(steps_spent <= steps, "{steps_spent} of {steps} steps");
        let mut started: HashMap<CallId, u32> = HashMap::new();
        let mut made_anyway = HashMap::new();
        for entry in &run.entries {
            match &entry.event {
                Event::ApprovalDecided { call, decision, .. } => {
                    let allow = matches!(decision, Decision::Allow | Decision::AllowForRun);
                    *made_anyway.entry(*call).or_insert(0) += u32::from(allow);
                }
                Event::ToolStarted { call, .. } if state.own.iter().any(|own| own.id == *call) => {}
                Event::ToolStarted { call, tool, .. } => {
                    let times = started.entry(*call).or_default();
                    *times += 1;
                    let made = state.call(*call).unwrap();
                    prop_assert!(made.args["what"].is_string(), "wrong arguments reached {tool}");
                    prop_assert!(!(deny_save && tool == "save"), "a denied call was made");
                    let told = made_anyway.get(call).copied().unwrap_or(0);
                    if tool == "send" {
                        prop_assert!(*times <= told.max(1), "an irreversible call was made twice unasked");
                        // `AllowForRun` on another call counts as being asked.
                        let for_run = state.allowed.contains("send");
                        prop_assert!(!attended || told >= *times || for_run, "nobody was asked");
                    }
                }
                _ => {}
            }
        }
        prop_assert_eq!(replay::check(&run.entries), Ok(()));
    }
}
