//! A behaviour tree with a body: its leaves are what the mind could ask for, without a mind.
//!
//! Actions are `go_to`, `approach`, `follow_path`, `turn`, `say`, `wait_for` and `stop`, with the arguments of
//! the tools of those names; conditions are `person_near` (`within_m`), `heard` (`text`, a part of it),
//! `battery_below` (`charge`), `held` and `free_ahead` (`m`).

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use super::{
    actions::{Limits, Order, goal, intent},
    intent::{Ended, Measured},
    live::Seen,
};
use crate::{
    nav::tree::{Args, Leaves, Status, Tree},
    reflex::verdict::Severity,
};

const ACTIONS: [&str; 7] = [
    "go_to",
    "approach",
    "follow_path",
    "turn",
    "say",
    "wait_for",
    "stop",
];
const CONDITIONS: [&str; 5] = [
    "person_near",
    "heard",
    "battery_below",
    "held",
    "free_ahead",
];

/// Says what is wrong with the leaves of a tree, before it is begun.
///
/// # Errors
///
/// A leaf is none that a body has, or is told what it does not understand.
pub fn check(tree: &Tree) -> Result<(), String> {
    for (name, is_action, args) in tree.leaves() {
        let known: &[&str] = if is_action { &ACTIONS } else { &CONDITIONS };
        let kind = if is_action { "action" } else { "condition" };
        if !known.contains(&name) {
            return Err(format!(
                "the {kind} `{name}` is none of a body; it has {}",
                known.join(", ")
            ));
        }
        let read = match (is_action, name) {
            (true, "say") => words(args).map(drop),
            (true, _) => goal(name, &arguments(args))
                .map(drop)
                .map_err(|why| why.to_string()),
            (false, _) => holds(name, args, &Seen::default()).map(drop),
        };
        read.map_err(|why| format!("the {kind} `{name}`: {why}"))?;
    }
    Ok(())
}

fn arguments(args: &Args) -> Value {
    serde_json::to_value(args).unwrap_or_default()
}

fn words(args: &Args) -> Result<&str, String> {
    let text = args.get("text").and_then(toml::Value::as_str);
    text.ok_or_else(|| "needs a `text`".to_owned())
}

fn number(args: &Args, key: &str) -> Result<f64, String> {
    let value = args.get(key);
    let number = value.and_then(|value| {
        let whole = value.as_integer().map(|whole| whole as f64);
        value.as_float().or(whole)
    });
    number.ok_or_else(|| format!("needs a number `{key}`"))
}

/// Whether a condition is so. What is not known is not so.
fn holds(name: &str, args: &Args, seen: &Seen) -> Result<bool, String> {
    let below = |value: Option<f32>, most: f64| value.is_some_and(|value| f64::from(value) <= most);
    Ok(match name {
        "person_near" => below(seen.person_m, number(args, "within_m")?),
        "battery_below" => below(seen.battery, number(args, "charge")?),
        "free_ahead" => {
            let least = number(args, "m")?;
            seen.ahead_m.is_none_or(|ahead| f64::from(ahead) >= least)
        }
        "heard" => {
            let part = words(args)?.to_lowercase();
            let heard = seen.words.as_ref();
            heard.is_some_and(|words| words.to_lowercase().contains(&part))
        }
        _ => seen.severity >= Severity::Stop,
    })
}

enum Doing {
    Moves(oneshot::Receiver<Measured>),
    Says(oneshot::Receiver<Result<super::actions::Said, String>>),
}

/// Does the leaves of a tree.
pub struct Hands<S, T> {
    orders: mpsc::Sender<Order>,
    limits: Limits,
    seen: S,
    told: T,
    doing: BTreeMap<usize, Doing>,
}

impl<S: FnMut() -> Seen, T: FnMut(&str, &str)> Hands<S, T> {
    /// `seen` says how it is now; `told` hears of every action that ended, and how.
    pub fn new(orders: mpsc::Sender<Order>, limits: Limits, seen: S, told: T) -> Self {
        Self {
            orders,
            limits,
            seen,
            told,
            doing: BTreeMap::new(),
        }
    }

    fn begin(&mut self, leaf: usize, name: &str, args: &Args) -> Result<(), String> {
        let (order, doing) = if name == "say" {
            let (answer, answered) = oneshot::channel();
            (
                Order::Say(words(args)?.to_owned(), answer),
                Doing::Says(answered),
            )
        } else {
            let args = arguments(args);
            let goal = goal(name, &args).map_err(|why| why.to_string())?;
            let intent = intent(goal, &args, self.limits).map_err(|why| why.to_string())?;
            let (answer, answered) = oneshot::channel();
            (Order::Do(intent, answer), Doing::Moves(answered))
        };
        let sent = self.orders.try_send(order);
        sent.map_err(|_| "the pilot takes no more orders".to_owned())?;
        self.doing.insert(leaf, doing);
        Ok(())
    }

    fn ended(&mut self, leaf: usize) -> Option<(Status, String)> {
        let (status, said) = match self.doing.get_mut(&leaf)? {
            Doing::Moves(answered) => match answered.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Closed) => (Status::Failure, "the body is gone".to_owned()),
                Ok(measured) => {
                    let is_done = measured.ended == Ended::Done;
                    let status = if is_done {
                        Status::Success
                    } else {
                        Status::Failure
                    };
                    (status, measured.to_string())
                }
            },
            Doing::Says(answered) => match answered.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Closed) => (Status::Failure, "the body is gone".to_owned()),
                Ok(Err(why)) => (Status::Failure, why),
                Ok(Ok(_)) => (Status::Success, "said".to_owned()),
            },
        };
        self.doing.remove(&leaf);
        Some((status, said))
    }
}

impl<S: FnMut() -> Seen, T: FnMut(&str, &str)> Leaves for Hands<S, T> {
    fn act(&mut self, leaf: usize, name: &str, args: &Args) -> Status {
        if !self.doing.contains_key(&leaf) {
            return match self.begin(leaf, name, args) {
                Ok(()) => Status::Running,
                Err(why) => {
                    (self.told)(name, &why);
                    Status::Failure
                }
            };
        }
        match self.ended(leaf) {
            None => Status::Running,
            Some((status, said)) => {
                (self.told)(name, &said);
                status
            }
        }
    }

    fn holds(&mut self, name: &str, args: &Args) -> bool {
        let seen = (self.seen)();
        holds(name, args, &seen).unwrap_or_default()
    }

    /// An order whose answer nobody waits for is cancelled.
    fn cancel(&mut self, leaf: usize, name: &str) {
        if self.doing.remove(&leaf).is_some() {
            (self.told)(name, "cancelled");
        }
    }
}
