//! What is known of a run: the fold of its events.

mod asked;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    own::OwnCall,
    progress::{Nature, Progress},
    status::Status,
};
use crate::{
    context::told_of_recalled,
    entry::{Entry, Head},
    event::{
        CallOutcome, Decision, Event, Outcome, PauseReason, PlanItem, RunSpec, Setup, Strategy,
    },
    label::Label,
    memory::Hit,
    model::{CallId, ModelError, Reply},
    policy::Spent,
    strategy::Work,
    tool::{Control, Made, ToolSpec},
};

/// The fold of a run's events. Any sequence of entries folds; those that make no sense where they stand
/// change nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The task and its bounds, as they are now.
    pub spec: Option<RunSpec>,
    /// What the last driver brought, and the tools that were made since.
    pub setup: Option<Setup>,
    /// Tools that the run made, the latest of each name.
    pub made: Vec<Made>,
    /// Where the run stands.
    pub status: Status,
    /// What was recalled of other runs.
    pub recalled: Vec<Hit>,
    /// The conversation, oldest first.
    pub turns: Vec<Turn>,
    /// How often the mind replied.
    pub replies: u32,
    /// Calls of the last reply that have not come to their end, in the order they were made.
    pub open: Vec<OpenCall>,
    /// Calls that the machine made by itself, in order.
    pub own: Vec<OwnCall>,
    /// What was used up, by this run and those that it started.
    pub spent: Spent,
    /// What each run that a call started has used up.
    pub children: BTreeMap<CallId, Spent>,
    /// The call whose run is at work now: its time counts, not this run's.
    child: Option<CallId>,
    /// Where the results of calls came from that tools made, each once: their texts are in no turn.
    pub nested: BTreeSet<Label>,
    /// The model's plan.
    pub plan: Vec<PlanItem>,
    /// The way of working.
    pub strategy: Strategy,
    /// What the way of working goes by.
    pub work: Work,
    /// Tools that the user allowed for the rest of the run.
    pub allowed: BTreeSet<String>,
    /// What of the conversation is shown in short, if any is.
    pub compaction: Option<Compaction>,
    /// The last failures of the mind in a row.
    pub model_failures: Vec<ModelError>,
    /// Whether the run gets anywhere.
    pub progress: Progress,
    /// Why it is paused.
    pub paused: Option<PauseReason>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Calls that were undone.
    pub compensated: BTreeSet<CallId>,
    /// How many of what was recalled came before anything was said.
    recalled_first: usize,
    /// Where each message of a conversation's user came, but for the first: how many replies, and what
    /// was used up, before it.
    pub messages: Vec<(u32, Spent)>,
    /// The last reply that the machine did not let pass as an answer.
    sent_back: u32,
    /// The last entry.
    pub head: Option<Head>,
    last_time: Option<Timestamp>,
}

/// Where what came of a call of that tool came from.
fn label_of(tool: &str, outcome: &CallOutcome) -> Label {
    let said = match outcome {
        CallOutcome::Done { output } => output.label.clone(),
        _ => None,
    };
    said.unwrap_or_else(|| Label::Tool(tool.to_owned()))
}

/// A piece of the conversation.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are replies")]
pub enum Turn {
    /// Somebody spoke to the run.
    Said {
        /// What.
        text: String,
        /// Who.
        label: Label,
    },
    /// The mind replied.
    Replied {
        /// Counts the replies, from 1.
        number: u32,
        /// What it said.
        reply: Reply,
        /// What came of each call, once it has come to its end.
        results: Vec<Option<(CallOutcome, Label)>>,
    },
}

/// What of the conversation is shown in short.
#[derive(Debug, Clone, PartialEq)]
pub struct Compaction {
    /// The replies up to this one are replaced by a digest.
    pub through: u32,
    /// How many turns that makes.
    pub turns: usize,
    /// How many turns there were when it was decided.
    pub known: usize,
    /// How often what the turns between these two hold was halved.
    pub halvings: u32,
    /// The plan at that time.
    pub plan: Vec<PlanItem>,
    /// Tokens that the model's window turned out to hold, if fewer than it is said to.
    pub window: Option<u32>,
}

/// A call that has not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCall {
    /// The call.
    pub id: CallId,
    /// How far it is.
    pub stage: Stage,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing happened yet.
    Made,
    /// The user was asked.
    Asked,
    /// The user decided. The second says how often it was started before.
    Decided(Decision, u32),
    /// It was started for the n-th time.
    Started(u32),
    /// It was started for the n-th time, and the process died or was stopped.
    InDoubt(u32),
}

impl State {
    /// Folds entries from the beginning of a run.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// Takes in one more entry.
    pub fn apply(&mut self, entry: &Entry) {
        self.charge_time(entry);
        self.head = Some(entry.head());
        self.status = self.status.after(&entry.event);
        match &entry.event {
            Event::RunCreated { spec } => self.spec = Some(spec.clone()),
            Event::RunStarted { setup } => self.set_up(setup),
            Event::IdentityChanged { instructions, .. } => {
                if let Some(setup) = &mut self.setup {
                    setup.instructions.clone_from(instructions);
                }
            }
            Event::ToolMade { made, .. } => self.tool_made(made),
            Event::MessageReceived { text, from } => {
                // What is written while it is paused, somebody beside it notes.
                if *from == Label::Own && self.paused.is_none() {
                    self.sent_back = self.replies;
                }
                self.say(text, from.clone());
                self.hear(from);
            }
            Event::MemoryRecalled { hits, .. } => self.recalled(hits),
            Event::ModelReplied { reply } => self.replied(reply),
            Event::ModelFailed { error } => {
                self.spent.steps = self.spent.steps.saturating_add(1);
                self.model_failures.push(error.clone());
            }
            Event::ToolStarted { call, attempt, .. } => self.stage(*call, Stage::Started(*attempt)),
            Event::ToolFinished {
                call,
                outcome,
                from,
                ..
            } => self.finished(*call, outcome, from),
            Event::ApprovalRequested { call, .. } => {
                // A call in doubt stays in doubt while the user is asked about it.
                if self.stage_of(*call) == Some(Stage::Made) {
                    self.stage(*call, Stage::Asked);
                }
            }
            Event::ApprovalDecided {
                call,
                decision,
                note,
            } => {
                self.decided(*call, *decision);
                if !note.is_empty() {
                    self.say(note, Label::User);
                }
            }
            Event::CallsDecided { purpose, calls } => self.own_decided(*purpose, calls),
            Event::ChildCharged { call, spent, .. } => self.charge_child(*call, spent),
            Event::PlanChanged { plan } => {
                let by = self.open.first().map(|open| open.id);
                self.work.planned(plan, by);
                self.plan.clone_from(plan);
            }
            Event::StrategyChanged {
                strategy,
                reason,
                told,
            } => {
                self.strategy = *strategy;
                self.work.changed(*strategy, self.replies);
                let told = told.as_ref().unwrap_or(reason);
                if !told.is_empty() {
                    self.say(told, Label::Own);
                }
            }
            Event::ContextCompacted {
                through_reply,
                halvings,
                window,
            } => self.compacted(*through_reply, *halvings, *window),
            Event::RunPaused { reason } => {
                self.child = None;
                self.paused = Some(reason.clone());
                self.doubt();
            }
            Event::RunResumed { .. } => self.resumed(&entry.event),
            Event::Compensated { call, .. } => {
                self.compensated.insert(*call);
            }
            Event::RunFinished { outcome } => {
                self.outcome.get_or_insert_with(|| outcome.clone());
            }
            // It is a part of the call that asked for it.
            Event::NestedCalled { call, outcome, .. } => {
                self.nested.insert(label_of(&call.name, outcome));
            }
            // It is for the service that drives the run.
            Event::RunRequested { .. } | Event::Unknown(_) => {}
        }
    }

    /// What a child run uses up is used up here, as it goes on.
    fn charge_child(&mut self, call: CallId, spent: &Spent) {
        let before = self.children.insert(call, *spent).unwrap_or_default();
        self.spent.add_since(&before, spent);
        self.child = Some(call);
    }

    /// Only the time in which a driver was at work counts, and not that in which a user thought of what
    /// to say next.
    fn charge_time(&mut self, entry: &Entry) {
        let working = self.status == Status::Running
            && self.child.is_none()
            && !matches!(entry.event, Event::RunResumed { .. })
            && (self.answer().is_none() || self.has_own_open());
        if let (true, Some(last)) = (working, self.last_time) {
            let ms = entry.time.duration_since(last).as_millis();
            let ms = u64::try_from(ms).unwrap_or(0);
            self.spent.wall_ms = self.spent.wall_ms.saturating_add(ms);
        }
        self.last_time = Some(entry.time);
    }

    fn say(&mut self, text: &str, label: Label) {
        let text = text.to_owned();
        self.turns.push(Turn::Said { text, label });
    }

    fn compacted(&mut self, through: u32, halvings: u32, window: Option<u32>) {
        self.model_failures.clear();
        let before = self.compaction.as_ref();
        let through = through.min(self.replies).max(self.compacted_through());
        self.compaction = Some(Compaction {
            through,
            turns: self.boundary(through),
            known: self.turns.len(),
            halvings,
            plan: self.plan.clone(),
            window: window.or(before.and_then(|before| before.window)),
        });
    }

    /// What was recalled before anything was said is a part of how the run begins; later it stands where
    /// it came.
    fn recalled(&mut self, hits: &[Hit]) {
        if !self.turns.is_empty()
            && let Some((text, label)) = told_of_recalled(hits)
        {
            self.say(&text, label);
        }
        self.recalled.extend_from_slice(hits);
        if self.turns.is_empty() {
            self.recalled_first = self.recalled.len();
        }
    }

    /// A user's message is a task of its own.
    fn hear(&mut self, from: &Label) {
        if *from == Label::User && self.is_conversation() {
            self.messages.push((self.replies, self.spent));
            self.progress = Progress::default();
            self.model_failures.clear();
        }
    }

    fn replied(&mut self, reply: &Reply) {
        self.replies += 1;
        self.model_failures.clear();
        self.spent.add(&reply.usage);
        let made = |index| OpenCall {
            id: CallId {
                reply: self.replies,
                index,
            },
            stage: Stage::Made,
        };
        self.open = (0..).take(reply.calls.len()).map(made).collect();
        self.turns.push(Turn::Replied {
            number: self.replies,
            reply: reply.clone(),
            results: vec![None; reply.calls.len()],
        });
    }

    fn finished(&mut self, id: CallId, outcome: &CallOutcome, from: &Label) {
        if self.child == Some(id) {
            self.child = None;
        }
        let Some(at) = self.open.iter().position(|open| open.id == id) else {
            if let Some(own) = self.own_mut(id) {
                own.result
                    .get_or_insert_with(|| (outcome.clone(), from.clone()));
            }
            return;
        };
        self.open.remove(at);
        let call = self.call(id).cloned();
        let tool = call.as_ref().and_then(|call| self.tool(&call.name));
        // That a child did not do its part is no change of the run's own that is missing.
        let counts =
            |tool: &&ToolSpec| outcome.is_done() || tool.control != Some(Control::Delegate);
        let nature = tool.filter(counts).map(Nature::from);
        let is_act = tool.is_some_and(|tool| tool.control.is_none_or(|it| it == Control::Delegate));
        if outcome.is_done() && is_act {
            self.work.succeeded(id);
        }
        if let Some(call) = &call {
            self.progress.finished(id, call, nature, outcome);
        }
        // Open calls belong to the last reply, and nothing but notes comes behind it.
        let results = self.turns.iter_mut().rev().find_map(|turn| match turn {
            Turn::Replied {
                number, results, ..
            } if *number == id.reply => Some(results),
            _ => None,
        });
        if let Some(slot) = results.and_then(|results| results.get_mut(id.index as usize)) {
            *slot = Some((outcome.clone(), from.clone()));
        }
    }

    fn decided(&mut self, id: CallId, decision: Decision) {
        let started = match self.stage_of(id) {
            Some(Stage::InDoubt(times)) => times,
            _ => 0,
        };
        self.stage(id, Stage::Decided(decision, started));
        if decision == Decision::AllowForRun
            && let Some(call) = self.call(id)
        {
            let name = call.name.clone();
            self.allowed.insert(name);
        }
    }

    fn set_up(&mut self, setup: &Setup) {
        let mut setup = setup.clone();
        for made in &self.made {
            show(&mut setup.tools, made);
        }
        self.setup = Some(setup);
    }

    fn tool_made(&mut self, made: &Made) {
        self.made.retain(|other| other.spec.name != made.spec.name);
        self.made.push(made.clone());
        if let Some(setup) = &mut self.setup {
            show(&mut setup.tools, made);
        }
    }

    fn resumed(&mut self, event: &Event) {
        let Event::RunResumed {
            budget,
            permissions,
            attended,
            setup,
        } = event
        else {
            return;
        };
        if let Some(spec) = &mut self.spec {
            spec.attended = *attended;
            if let Some(budget) = budget {
                spec.budget = *budget;
            }
            if let Some(permissions) = permissions {
                spec.permissions = permissions.clone();
            }
        }
        if let Some(setup) = setup {
            self.set_up(setup);
            // How long the window of another model is, it has not shown yet.
            if let Some(compaction) = &mut self.compaction {
                compaction.window = None;
            }
        }
        self.paused = None;
        self.child = None;
        self.model_failures.clear();
        self.doubt();
    }

    /// What was started and not finished is in doubt; who was asked and did not answer is asked again.
    fn doubt(&mut self) {
        let open = self.open.iter_mut().map(|open| &mut open.stage);
        let own = self.own.iter_mut().map(|own| &mut own.stage);
        for stage in open.chain(own) {
            *stage = match *stage {
                Stage::Started(times) => Stage::InDoubt(times),
                Stage::Asked => Stage::Made,
                stage => stage,
            };
        }
    }

    fn stage(&mut self, id: CallId, stage: Stage) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.stage = stage;
        } else if let Some(own) = self.own_mut(id) {
            own.stage = stage;
        }
    }
}

/// Puts a tool that was made in place of one of its name, or behind the others.
pub(super) fn show(tools: &mut Vec<ToolSpec>, made: &Made) {
    match tools.iter_mut().find(|tool| tool.name == made.spec.name) {
        Some(tool) => tool.clone_from(&made.spec),
        None => tools.push(made.spec.clone()),
    }
}
