//! Which self speaks: a pure function of what is measured.
//!
//! Nothing here is asked of a model. The run's repetitions and failures are counted by its machine, the
//! length of its task by its context, the state of the network by a breaker, doubt by the distribution that
//! the tool was drawn from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    label::Label,
    model::{Known, Message, ModelError, Reply, Request, Usage},
    policy::glob,
};

/// How the two selves share the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The active self, and the core self only where that one cannot answer.
    LocalFirst,
    /// The core self, and the active self where that one cannot or may not answer.
    CloudFirst,
    /// The active self alone.
    LocalOnly,
    /// The core self alone.
    CloudOnly,
    /// The active self, and the core self for what is hard.
    #[default]
    Cascade,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LocalFirst,
        Self::CloudFirst,
        Self::LocalOnly,
        Self::CloudOnly,
        Self::Cascade,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalFirst => "local-first",
            Self::CloudFirst => "cloud-first",
            Self::LocalOnly => "local-only",
            Self::CloudOnly => "cloud-only",
            Self::Cascade => "cascade",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == s);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no policy `{s}`; there are {all}")
        })
    }
}

/// One of the two selves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The local one.
    Active,
    /// The one with the larger model.
    Core,
}

impl Speaker {
    /// The one that is not this one.
    pub fn other(self) -> Self {
        match self {
            Self::Active => Self::Core,
            Self::Core => Self::Active,
        }
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active self",
            Self::Core => "core self",
        })
    }
}

/// Why a self spoke, or would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is the one that the policy means, and nothing is against it.
    Policy,
    /// The run did the same again and again.
    Repeats,
    /// Calls of the run failed one after the other.
    Failures,
    /// The run was told to try another way.
    NoProgress,
    /// Replies made no sense.
    Malformed,
    /// The task takes much of the active self's window.
    LongTask,
    /// The active self was not sure which tool to call.
    Doubt,
    /// The active self was not sure of what it gave the tool.
    Unsure,
    /// The other one did not answer.
    Failed,
    /// The other one is not asked for a while, since it did not answer before.
    Offline,
    /// What the run has read must not leave this machine.
    Private,
    /// What the core self would cost is more than is left.
    Cost,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "by policy",
            Self::Repeats => "calls were made before and gave nothing new",
            Self::Failures => "calls failed one after the other",
            Self::NoProgress => "no progress",
            Self::Malformed => "replies made no sense",
            Self::LongTask => "the task is long for the active self",
            Self::Doubt => "the active self was not sure which tool to call",
            Self::Unsure => "the active self was not sure of what it wrote",
            Self::Failed => "the other one did not answer",
            Self::Offline => "the other one cannot be reached",
            Self::Private => "what was read is private",
            Self::Cost => "the money that is left is not enough",
        })
    }
}

/// Which self spoke, and why: a part of its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    /// Which.
    pub by: Speaker,
    /// Why that one.
    pub why: Why,
    /// Why it would have been the core self, had that been possible: for later, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Why>,
    /// How the other one failed in the same step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ModelError>,
    /// What a reply of the other one took that was not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused: Option<Usage>,
}

impl Spoken {
    /// Whether it is more than what the policy always does.
    pub fn is_notable(&self) -> bool {
        self.why != Why::Policy || self.wanted.is_some()
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.why)?;
        if let Some(error) = &self.failed {
            write!(f, " ({error})")?;
        }
        match self.wanted {
            Some(wanted) if self.by == Speaker::Active => {
                write!(f, "; the {} was wanted: {wanted}", Speaker::Core)
            }
            _ => Ok(()),
        }
    }
}

/// What is routed by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How the selves share the work.
    pub policy: Policy,
    /// When a step is hard.
    pub limits: Limits,
    /// Labels of text that never leaves this machine, as patterns in which `*` stands for any text.
    pub private: Vec<String>,
}

impl Rules {
    /// Of a policy, with nothing private.
    pub fn of(policy: Policy) -> Self {
        Self {
            policy,
            limits: Limits::default(),
            private: Vec::new(),
        }
    }
}

/// From where on a step is hard for the active self.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Repetitions in a row.
    pub repeats: u32,
    /// Calls in a row that failed.
    pub failures: u32,
    /// Replies in a row that made no sense.
    pub malformed: u32,
    /// Part of the active self's window that the task takes.
    pub task: f64,
    /// Entropy of the choice of the tool, in nats, where it is measured. None pays no regard to it.
    pub doubt: Option<f32>,
    /// Mean entropy of what the tool is given, in nats a token, likewise.
    pub entropy: Option<f32>,
}

impl Default for Limits {
    /// Before the machine itself changes the run's strategy, which it does after 3 repetitions or 6 failures.
    fn default() -> Self {
        Self {
            repeats: 2,
            failures: 2,
            malformed: 1,
            task: 0.5,
            doubt: None,
            entropy: None,
        }
    }
}

impl Limits {
    /// What speaks against a reply of the active self, if anything does.
    pub fn against(&self, reply: &Reply) -> Option<Why> {
        let measured = [
            (reply.doubt, self.doubt, Why::Doubt),
            (reply.entropy, self.entropy, Why::Unsure),
        ];
        let above = measured.into_iter().find(|(value, limit, _)| {
            value
                .zip(*limit)
                .is_some_and(|(value, limit)| value > limit)
        });
        above.map(|(.., why)| why)
    }
}

/// What is measured before a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// Calls in a row that were made before and gave nothing new.
    pub repeats: u32,
    /// Calls in a row that failed.
    pub failures: u32,
    /// Whether the run was told to try another way.
    pub no_progress: bool,
    /// Replies in a row that made no sense.
    pub malformed: u32,
    /// Tokens of the task.
    pub task: usize,
    /// Tokens of the active self's window.
    pub window: usize,
    /// Whether something was read that must not leave this machine, while the core self is on another.
    pub private: bool,
    /// Whether the active self is not asked for a while.
    pub active_down: bool,
    /// Whether the core self is not asked for a while.
    pub core_down: bool,
    /// US dollars that the core self would take for this step, about.
    pub cost: f64,
    /// US dollars that are left; None is without end.
    pub left: Option<f64>,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Whom.
    pub to: Speaker,
    /// Why.
    pub why: Why,
    /// Why it would have been the core self.
    pub wanted: Option<Why>,
}

impl Route {
    fn to(to: Speaker, why: Why) -> Self {
        let wanted = None;
        Self { to, why, wanted }
    }
}

impl Signals {
    /// What stands between the run and its core self, if anything does.
    pub fn barrier(&self) -> Option<Why> {
        if self.private {
            Some(Why::Private)
        } else if self.core_down {
            Some(Why::Offline)
        } else if self.left.is_some_and(|left| self.cost > left) {
            Some(Why::Cost)
        } else {
            None
        }
    }

    /// What makes the step hard for the active self, if anything does.
    pub fn hard(&self, limits: &Limits) -> Option<Why> {
        let task = self.task as f64 > limits.task * self.window as f64;
        let hard = [
            (self.no_progress, Why::NoProgress),
            (self.repeats >= limits.repeats, Why::Repeats),
            (self.failures >= limits.failures, Why::Failures),
            (self.malformed >= limits.malformed, Why::Malformed),
            (task, Why::LongTask),
        ];
        hard.into_iter().find_map(|(is, why)| is.then_some(why))
    }
}

/// Who is asked, or why nobody may be.
///
/// # Errors
/// [`Why::Private`], if the policy is to ask none but the core self, and what was read must not leave.
pub fn route(rules: &Rules, signals: &Signals) -> Result<Route, Why> {
    use Speaker::{Active, Core};
    let barrier = signals.barrier();
    Ok(match rules.policy {
        Policy::LocalOnly => Route::to(Active, Why::Policy),
        Policy::CloudOnly if signals.private => return Err(Why::Private),
        Policy::CloudOnly => Route::to(Core, Why::Policy),
        Policy::CloudFirst => match barrier {
            None => Route::to(Core, Why::Policy),
            Some(why) => Route {
                wanted: Some(Why::Policy),
                ..Route::to(Active, why)
            },
        },
        Policy::LocalFirst | Policy::Cascade => {
            let hard = match rules.policy {
                _ if signals.active_down => Some(Why::Offline),
                Policy::Cascade => signals.hard(&rules.limits),
                _ => None,
            };
            match (hard, barrier) {
                (None, _) => Route::to(Active, Why::Policy),
                (Some(why), None) => Route::to(Core, why),
                (Some(wanted), Some(why)) => Route {
                    wanted: Some(wanted),
                    ..Route::to(Active, why)
                },
            }
        }
    })
}

/// Why the other self is asked in the same step after one of them failed so, if it is.
///
/// A refusal is an answer: it is not asked for elsewhere. What made no sense is, where the policy is to ask
/// the core self for what is hard; else the same self is asked again first, by the machine.
pub fn fail_over(
    rules: &Rules,
    signals: &Signals,
    failed: Speaker,
    error: &ModelError,
) -> Option<Speaker> {
    let is_final = matches!(error, ModelError::Cancelled | ModelError::Refused { .. });
    let may = match (rules.policy, failed) {
        _ if is_final => false,
        (Policy::LocalOnly | Policy::CloudOnly, _) => false,
        (_, Speaker::Core) => true,
        (Policy::LocalFirst, Speaker::Active)
            if matches!(error, ModelError::Malformed { .. })
                && signals.malformed < rules.limits.malformed =>
        {
            false
        }
        (_, Speaker::Active) => signals.barrier().is_none(),
    };
    may.then_some(failed.other())
}

/// Whether something of a request must not leave this machine: a message with a private label, or anything
/// that the run was shown before, also if only a digest still tells of it. Where any label is private, what
/// other runs answered is, too: they may have read such text, and the label of their answer does not say so.
pub fn is_private(patterns: &[String], request: &Request) -> bool {
    let Known {
        sources,
        other_runs,
        ..
    } = &request.known;
    let shown = request.messages.iter().filter_map(|message| match message {
        Message::User { label, .. } | Message::Tool { label, .. } => Some(label),
        Message::System { .. } | Message::Assistant { .. } => None,
    });
    let is_private = |label: &Label| {
        let label = label.to_string();
        patterns.iter().any(|pattern| glob(pattern, &label))
    };
    !patterns.is_empty() && (*other_runs || shown.chain(sources).any(is_private))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signals() -> impl Strategy<Value = Signals> {
        let counts = (0u32..5, 0u32..5, any::<bool>(), 0u32..3);
        let rest = (
            0usize..10_000,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            0.0..1.0f64,
            prop::option::of(0.0..1.0f64),
        );
        (counts, rest).prop_map(|(counts, rest)| {
            let (repeats, failures, no_progress, malformed) = counts;
            let (task, private, active_down, core_down, cost, left) = rest;
            Signals {
                repeats,
                failures,
                no_progress,
                malformed,
                task,
                window: 8192,
                private,
                active_down,
                core_down,
                cost,
                left,
            }
        })
    }

    fn policies() -> impl Strategy<Value = Policy> {
        prop::sample::select(Policy::ALL.to_vec())
    }

    fn errors() -> impl Strategy<Value = ModelError> {
        let message = || String::new();
        prop::sample::select(vec![
            ModelError::Unreachable { message: message() },
            ModelError::Overloaded { message: message() },
            ModelError::Malformed { message: message() },
            ModelError::Unusable { message: message() },
            ModelError::ContextOverflow { limit: 1 },
            ModelError::RateLimited { after_ms: None },
        ])
    }

    proptest! {
        #[test]
        fn private_text_never_goes_to_the_core_self(
            policy in policies(), signals in signals(), error in errors(),
        ) {
            let (rules, signals) = (Rules::of(policy), Signals { private: true, ..signals });
            match route(&rules, &signals) {
                Ok(route) => prop_assert_eq!(route.to, Speaker::Active),
                Err(why) => prop_assert_eq!((policy, why), (Policy::CloudOnly, Why::Private)),
            }
            let over = fail_over(&rules, &signals, Speaker::Active, &error);
            prop_assert_eq!(over, None);
        }

        #[test]
        fn a_self_that_the_policy_does_not_mean_is_never_asked(
            signals in signals(), error in errors(),
        ) {
            for (policy, only) in [
                (Policy::LocalOnly, Speaker::Active),
                (Policy::CloudOnly, Speaker::Core),
            ] {
                let rules = Rules::of(policy);
                if let Ok(route) = route(&rules, &signals) {
                    prop_assert_eq!(route.to, only);
                }
                prop_assert_eq!(fail_over(&rules, &signals, only, &error), None);
            }
        }

        #[test]
        fn what_would_have_gone_to_the_core_self_is_noted(policy in policies(), signals in signals()) {
            let rules = Rules::of(policy);
            let Ok(now) = route(&rules, &signals) else { return Ok(()) };
            let free = Signals { private: false, core_down: false, left: None, ..signals };
            let then = route(&rules, &free).unwrap();
            prop_assert_eq!(now.wanted.is_some(), now.to != then.to);
            if let Some(wanted) = now.wanted {
                prop_assert_eq!(wanted, then.why);
                prop_assert_eq!(Some(now.why), signals.barrier());
            }
        }
    }

    #[test]
    fn a_cascade_asks_the_core_self_for_what_is_hard_and_says_why() {
        let easy = Signals {
            window: 8192,
            task: 100,
            repeats: 1,
            failures: 1,
            ..Signals::default()
        };
        let why = |signals: Signals| {
            let route = route(&Rules::of(Policy::Cascade), &signals).unwrap();
            (route.to, route.why)
        };
        assert_eq!(why(easy), (Speaker::Active, Why::Policy));
        for (hard, reason) in [
            (Signals { repeats: 2, ..easy }, Why::Repeats),
            (
                Signals {
                    failures: 2,
                    ..easy
                },
                Why::Failures,
            ),
            (
                Signals {
                    no_progress: true,
                    ..easy
                },
                Why::NoProgress,
            ),
            (
                Signals {
                    malformed: 1,
                    ..easy
                },
                Why::Malformed,
            ),
            (Signals { task: 4097, ..easy }, Why::LongTask),
        ] {
            assert_eq!(why(hard), (Speaker::Core, reason));
            let dear = Signals {
                cost: 0.2,
                left: Some(0.1),
                ..hard
            };
            assert_eq!(why(dear), (Speaker::Active, Why::Cost));
        }
    }

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::json!(policy), policy.as_str());
        }
        assert!("local".parse::<Policy>().is_err());
    }
}
