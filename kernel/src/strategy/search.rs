//! The strategy `search`: try several ways in copies of the workspace, and keep the best.
//!
//! Each try is a run of its own in a copy, drawn otherwise than the last and told why that failed. With
//! a check the first try that passes it is kept. Without one it is what two of them came to, and where all
//! came to something else, the model judges. What the best one changed is then brought into the workspace
//! by one call that can be undone, the copies are removed, and the check is run once more where it counts.
//! Every step is a call of the machine's own, so that a search goes on where it was when its process died.

mod agree;

use serde_json::{Value, json};

use super::changed;
use crate::{
    event::{CallOutcome, Event, Outcome, Purpose, RunSpec, Setup, Strategy},
    label::Label,
    model::ToolCall,
    policy::Budget,
    run::{
        State, Turn,
        check::{self, Checked},
    },
    tool::{Control, Effect, ToolSpec, Toolbox},
};

/// Makes a copy of the workspace: `{way}`; its data names the `path`.
pub const COPY: &str = "copy_workspace";
/// Does the task in a copy: `{way, path, note}`. The driver starts a run for it.
pub const TRY: &str = "try_way";
/// Says what a try changed in its copy: `{way}`.
pub const COMPARE: &str = "compare_copy";
/// Brings what a try changed into the workspace: `{way, why}`.
pub const ADOPT: &str = "adopt_copy";
/// Removes the copies.
pub const DROP: &str = "drop_copies";
/// Ways that are tried, at most.
pub const WAYS: u32 = 3;
/// Steps that a try needs at least.
const STEPS_OF_A_TRY: u32 = 2;
/// Characters of a try's answer or failure that are shown.
const SHOWN: usize = 600;

/// Whether there is what a search needs, and the run is neither a try itself nor a conversation, which
/// has no one end.
pub(crate) fn is_possible(spec: &RunSpec, toolbox: &Toolbox) -> bool {
    let is_try = spec.parent.is_some_and(|parent| parent.way > 0);
    !is_try
        && !spec.conversation
        && [COPY, COMPARE, ADOPT, DROP]
            .iter()
            .all(|name| toolbox.get(name).is_some())
}

/// The tool by which the model says which try is the best.
pub(super) fn judge() -> ToolSpec {
    ToolSpec {
        control: Some(Control::Best),
        ..ToolSpec::taking(
            "choose_best",
            "Say which of several tries of the task is the best. Only when you are shown them."
                .to_owned(),
            json!({"best": {"type": "integer", "enum": (1..=WAYS).collect::<Vec<_>>()}}),
            &["best"],
            Effect::Pure,
        )
    }
}

/// What a try may use up, of what is left: what the others and the end need stays.
pub(crate) fn share(left: &Budget, way: u32) -> Budget {
    left.part(WAYS.saturating_sub(way) + 2)
}

/// What comes next in a search; none where it is the model's turn to judge.
pub(crate) fn next(state: &State, spec: &RunSpec, setup: &Setup) -> Option<Vec<Event>> {
    let seen = Seen::of(state);
    if seen.dropped {
        return Some(vec![seen.conclude(state, spec)]);
    }
    let completed: Vec<_> = seen
        .tries
        .iter()
        .filter(|one| one.answer.is_some())
        .collect();
    if spec.check.is_empty()
        && completed.len() > 1
        && let Some(next) = seen.comparison(&completed)
    {
        return Some(vec![next]);
    }
    let agreed = agree::first(&completed, &seen.compared);
    if agreed.is_none()
        && let Some(next) = seen.next_try(state, spec)
    {
        return Some(vec![next]);
    }
    let (best, why) = match completed.as_slice() {
        [] => return Some(vec![call(DROP, json!({}))]),
        [one] if spec.check.is_empty() => (one.way, "the only one that came to an end"),
        [one, ..] if !spec.check.is_empty() => (one.way, "its check succeeded"),
        several => match agreed {
            Some(way) => (way, "two ways came to the same"),
            None => match seen.judged(state, setup, several) {
                Judgement::Is(way, why) => (way, why),
                Judgement::Needs(event) => return Some(vec![*event]),
                Judgement::IsAwaited => return None,
            },
        },
    };
    let next = match seen.adopted {
        None => call(ADOPT, json!({"way": best, "why": why})),
        Some(_) => call(DROP, json!({})),
    };
    Some(vec![next])
}

/// Whether that way came to an end, so that it can be the best.
pub(crate) fn can_be_best(state: &State, way: u32) -> bool {
    let tries = Seen::of(state).tries;
    tries
        .iter()
        .any(|one| one.way == way && one.answer.is_some())
}

/// What the calls of a search came to so far.
#[derive(Default)]
struct Seen<'a> {
    copied: Option<(u32, &'a CallOutcome)>,
    tries: Vec<Try<'a>>,
    /// What each try changed.
    compared: Vec<(u32, &'a CallOutcome)>,
    /// The reply after which they were compared.
    compared_at: u32,
    adopted: Option<(u32, &'a CallOutcome)>,
    dropped: bool,
}

struct Try<'a> {
    way: u32,
    /// What it answered, if it came to an end.
    answer: Option<&'a str>,
    said: &'a str,
}

enum Judgement<'a> {
    Is(u32, &'a str),
    Needs(Box<Event>),
    IsAwaited,
}

impl<'a> Seen<'a> {
    fn of(state: &'a State) -> Self {
        let mut seen = Self::default();
        let own = state
            .own
            .iter()
            .filter(|own| own.purpose == Purpose::Search);
        for own in own {
            let Some(outcome) = own.outcome() else {
                continue;
            };
            let way = way(&own.call);
            match own.call.name.as_str() {
                COPY => seen.copied = Some((way, outcome)),
                TRY => seen.tries.push(Try {
                    way,
                    answer: outcome.is_done().then(|| outcome.text()),
                    said: outcome.text(),
                }),
                COMPARE => {
                    seen.compared.push((way, outcome));
                    seen.compared_at = own.id.reply;
                }
                ADOPT => seen.adopted = Some((way, outcome)),
                _ => seen.dropped = true,
            }
        }
        seen
    }

    /// The next try, or its copy, while one more makes sense.
    fn next_try(&self, state: &State, spec: &RunSpec) -> Option<Event> {
        let tried = u32::try_from(self.tries.len()).unwrap_or(u32::MAX);
        let passed = self.tries.iter().any(|one| one.answer.is_some()) && !spec.check.is_empty();
        let left = spec.budget.left(&state.charged());
        let has_begun = |way| self.copied.is_some_and(|(copied, _)| copied == way);
        if passed || tried >= WAYS || self.adopted.is_some() {
            return None;
        }
        let way = tried + 1;
        if !has_begun(way) && share(&left, way).steps < STEPS_OF_A_TRY {
            return None;
        }
        match self.copied {
            Some((copied, outcome)) if copied == way => {
                let CallOutcome::Done { output } = outcome else {
                    return None;
                };
                let path = output.data.as_ref().and_then(|data| data.get("path"));
                let args = json!({"way": way, "path": path, "note": self.note()});
                Some(call(TRY, args))
            }
            _ => Some(call(COPY, json!({"way": way}))),
        }
    }

    /// What a try is told of those before it.
    fn note(&self) -> String {
        let failed = self.tries.iter().filter(|one| one.answer.is_none());
        let failed: Vec<_> = failed.map(|one| format!("- {}", short(one.said))).collect();
        if failed.is_empty() {
            return String::new();
        }
        format!(
            "\n\nThis was tried before, in other ways that did not work; do it otherwise:\n{}",
            failed.join("\n")
        )
    }

    /// What a try that came to an end changed is looked at, if it was not yet.
    fn comparison(&self, completed: &[&Try<'_>]) -> Option<Event> {
        let is_compared = |way| self.compared.iter().any(|(compared, _)| *compared == way);
        let next = completed.iter().find(|one| !is_compared(one.way))?;
        Some(call(COMPARE, json!({"way": next.way})))
    }

    /// The best of several that came to an end, by the model's judgement.
    fn judged(&self, state: &State, setup: &Setup, several: &[&Try<'_>]) -> Judgement<'static> {
        let first = several.first().map_or(1, |one| one.way);
        if state.replies > self.compared_at {
            return match best(state) {
                Some(way) => Judgement::Is(way, "the model judged so"),
                None => Judgement::Is(first, "the model did not judge"),
            };
        }
        let was_told = matches!(
            state.turns.last(),
            Some(Turn::Said { label: Label::Tool(name), .. }) if name == COMPARE
        );
        if was_told {
            return Judgement::IsAwaited;
        }
        Judgement::Needs(Box::new(Event::MessageReceived {
            text: self.shown(several, setup.model.window),
            from: Label::Tool(COMPARE.to_owned()),
        }))
    }

    /// The tries side by side, in a third of the window.
    fn shown(&self, several: &[&Try<'_>], window: u32) -> String {
        let room = (window as usize / several.len().max(1)).clamp(500, 20_000);
        let mut text =
            "The task was done in several ways, each in a copy of the workspace. Say with \
                        choose_best which one does what the task asks."
                .to_owned();
        for one in several {
            let compared = self.compared.iter().find(|(way, _)| *way == one.way);
            let diff = compared.map_or("", |(_, outcome)| outcome.text());
            let diff: String = diff.chars().take(room).collect();
            let answer = short(one.said);
            text.push_str(&format!(
                "\n\n# {}\nAnswer: {answer}\nChanges:\n{diff}",
                one.way
            ));
        }
        text
    }

    /// The end of a search: its answer once it is checked where it counts, or another strategy.
    fn conclude(&self, state: &State, spec: &RunSpec) -> Event {
        let (way, adopted) = match self.adopted {
            Some((way, outcome)) if outcome.is_done() => (way, outcome),
            Some((_, outcome)) => return self.give_up(outcome.text()),
            None => {
                let uncopied = self.copied.filter(|(_, outcome)| !outcome.is_done());
                return self.give_up(uncopied.map_or("", |(_, outcome)| outcome.text()));
            }
        };
        let answer = self.tries.iter().find(|one| one.way == way);
        let answer = answer.and_then(|one| one.answer).unwrap_or_default();
        match check::of(state, spec) {
            Checked::Passed => Event::RunFinished {
                outcome: Outcome::Completed {
                    answer: answer.to_owned(),
                },
            },
            Checked::Due(call) => Event::CallsDecided {
                purpose: Purpose::Check,
                calls: vec![call],
            },
            Checked::Failed(why) => changed(
                Strategy::React,
                "what was kept does not pass the check in the workspace itself",
                &format!(
                    "Another run has done this in your workspace: {}\n{why}",
                    adopted.text()
                ),
            ),
            Checked::Forbidden(reason) => Event::RunFinished {
                outcome: Outcome::Failed { reason },
            },
        }
    }

    fn give_up(&self, why: &str) -> Event {
        let tried: Vec<_> = self
            .tries
            .iter()
            .map(|one| format!("- {}", short(one.said)))
            .collect();
        let reason = match (why, tried.len()) {
            ("", 0) => "the budget is too small to try several ways".to_owned(),
            ("", tried) => format!("{tried} ways were tried and none did it"),
            (why, _) => why.to_owned(),
        };
        let told = match tried.as_slice() {
            [] => String::new(),
            tried => format!(
                "Other runs tried the task in copies of the workspace, but nothing of theirs is here: \
                 {reason}. They said:\n{}\nDo it yourself, otherwise.",
                tried.join("\n")
            ),
        };
        changed(Strategy::React, &reason, &told)
    }
}

fn call(name: &str, args: Value) -> Event {
    Event::CallsDecided {
        purpose: Purpose::Search,
        calls: vec![ToolCall {
            name: name.to_owned(),
            args,
        }],
    }
}

fn way(call: &ToolCall) -> u32 {
    let way = call.args.get("way").and_then(Value::as_u64);
    way.and_then(|way| u32::try_from(way).ok()).unwrap_or(0)
}

/// What the last reply judged to be the best, if that was accepted.
fn best(state: &State) -> Option<u32> {
    let last = state.turns.iter().rev().find_map(|turn| match turn {
        Turn::Replied { reply, results, .. } => Some(reply.calls.iter().zip(results)),
        Turn::Said { .. } => None,
    });
    last?.find_map(|(call, result)| {
        let (outcome, _) = result.as_ref()?;
        let judged = outcome.is_done() && call.name == judge().name;
        let best = call.args.get("best").and_then(Value::as_u64)?;
        judged.then(|| u32::try_from(best).ok()).flatten()
    })
}

fn short(text: &str) -> String {
    let mut short: String = text.trim().chars().take(SHOWN).collect();
    if short.len() < text.trim().len() {
        short.push('…');
    }
    short
}
