//! Behaviour trees: what is to be done in which order, and what if it fails.
//!
//! A tree is written in TOML, and ticked. Each tick goes down from the root, at most so many nodes
//! deep and wide as its budget says; a node that is running is ticked again next time. When a branch is
//! left while it runs, what runs in it is cancelled, so that nothing goes on unseen.
//!
//! ```toml
//! name = "patrol"
//! [root]
//! sequence = [
//!     { action = "go_to", x_m = 2.0, y_m = 1.0 },
//!     { fallback = [{ condition = "person_near" }, { action = "turn", to_deg = 90.0 }] },
//! ]
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It needs more time.
    Running,
    /// It is done.
    Success,
    /// It is not to be done.
    Failure,
}

/// Does what the leaves say. Leaves are counted in the order in which they are written, so that two
/// actions of one name are not one.
pub trait Leaves {
    /// Goes on with an action, or starts it.
    fn act(&mut self, leaf: usize, name: &str, args: &Args) -> Status;
    /// Whether something is so now.
    fn holds(&mut self, name: &str, args: &Args) -> bool;
    /// An action that ran is not wanted any more.
    fn cancel(&mut self, leaf: usize, name: &str);
}

/// What a leaf is told.
pub type Args = BTreeMap<String, toml::Value>;

/// A tree as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default = "default_budget")]
    budget: u32,
    root: toml::Table,
}

fn default_budget() -> u32 {
    200
}

/// Why a file is no tree.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TreeError {
    /// It is not TOML, or has keys that mean nothing.
    #[error("this is no behaviour tree: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A node is not one of the kinds.
    #[error("the node {at}: {why}")]
    Node {
        /// Where, from the root.
        at: String,
        /// What is wrong.
        why: String,
    },
}

/// A node, and what it remembers between ticks.
#[derive(Clone, Debug)]
enum Node {
    /// One after the other, until one fails.
    Sequence(Vec<Node>, usize),
    /// One after the other, until one succeeds.
    Fallback(Vec<Node>, usize),
    /// All at once; so many must succeed.
    Parallel(Vec<(Node, Option<Status>)>, usize),
    /// The other way round.
    Not(Box<Node>),
    /// Success, however it ends.
    Always(Box<Node>),
    /// Again when it fails, so many times in all.
    Retry(Box<Node>, u32, u32),
    /// Again when it succeeds; for ever if zero.
    Repeat(Box<Node>, u32, u32),
    /// Fails when it runs for more ticks than that.
    Within(Box<Node>, u32, u32),
    /// Something to do.
    Action(Leaf, bool),
    /// Something that must be so.
    Condition(Leaf),
}

#[derive(Clone, Debug)]
struct Leaf {
    number: usize,
    name: String,
    args: Args,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct Tree {
    name: String,
    budget: u32,
    root: Node,
    ended: Option<Status>,
}

/// How deep a tree may be.
const DEEPEST: usize = 32;

impl Tree {
    /// From a file's text.
    ///
    /// # Errors
    ///
    /// It is no tree; says where.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        let file: File = toml::from_str(text)?;
        let mut leaves = 0;
        let root = node(&file.root, "root", &mut leaves, 0)?;
        Ok(Self {
            name: file.name,
            budget: file.budget.max(1),
            root,
            ended: None,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its leaves, in the order in which they are written: what each is called, whether it is an action, and
    /// what it is told.
    pub fn leaves(&self) -> Vec<(&str, bool, &Args)> {
        let mut leaves = Vec::new();
        self.root.leaves(&mut leaves);
        leaves
    }

    /// Goes on with it. A tree that ended stays so until it is cancelled.
    pub fn tick(&mut self, leaves: &mut dyn Leaves) -> Status {
        if let Some(ended) = self.ended {
            return ended;
        }
        let mut left = self.budget;
        let status = self.root.tick(leaves, &mut left);
        self.ended = (status != Status::Running).then_some(status);
        status
    }

    /// Stops what runs, and goes back to the start.
    pub fn cancel(&mut self, leaves: &mut dyn Leaves) {
        self.root.cancel(leaves);
        self.ended = None;
    }
}

impl Node {
    /// A node for which the budget of a tick is not enough goes on with the next one.
    fn tick(&mut self, leaves: &mut dyn Leaves, left: &mut u32) -> Status {
        let Some(rest) = left.checked_sub(1) else {
            return Status::Running;
        };
        *left = rest;
        match self {
            Self::Sequence(nodes, at) => in_turn(nodes, at, Status::Success, leaves, left),
            Self::Fallback(nodes, at) => in_turn(nodes, at, Status::Failure, leaves, left),
            Self::Parallel(nodes, needed) => parallel(nodes, *needed, leaves, left),
            Self::Not(node) => match node.tick(leaves, left) {
                Status::Running => Status::Running,
                Status::Success => Status::Failure,
                Status::Failure => Status::Success,
            },
            Self::Always(node) => match node.tick(leaves, left) {
                Status::Running => Status::Running,
                _ => Status::Success,
            },
            Self::Retry(node, most, done) => {
                again(node, Status::Failure, *most, done, leaves, left)
            }
            Self::Repeat(node, most, done) => {
                again(node, Status::Success, *most, done, leaves, left)
            }
            Self::Within(node, ticks, used) => {
                *used += 1;
                if *used > *ticks {
                    node.cancel(leaves);
                    *used = 0;
                    return Status::Failure;
                }
                let status = node.tick(leaves, left);
                if status != Status::Running {
                    *used = 0;
                }
                status
            }
            Self::Action(leaf, runs) => {
                let status = leaves.act(leaf.number, &leaf.name, &leaf.args);
                *runs = status == Status::Running;
                status
            }
            Self::Condition(leaf) => match leaves.holds(&leaf.name, &leaf.args) {
                true => Status::Success,
                false => Status::Failure,
            },
        }
    }

    fn leaves<'a>(&'a self, into: &mut Vec<(&'a str, bool, &'a Args)>) {
        match self {
            Self::Sequence(nodes, _) | Self::Fallback(nodes, _) => {
                nodes.iter().for_each(|node| node.leaves(into));
            }
            Self::Parallel(nodes, _) => nodes.iter().for_each(|(node, _)| node.leaves(into)),
            Self::Not(node)
            | Self::Always(node)
            | Self::Retry(node, ..)
            | Self::Repeat(node, ..)
            | Self::Within(node, ..) => node.leaves(into),
            Self::Action(leaf, _) => into.push((&leaf.name, true, &leaf.args)),
            Self::Condition(leaf) => into.push((&leaf.name, false, &leaf.args)),
        }
    }

    fn cancel(&mut self, leaves: &mut dyn Leaves) {
        match self {
            Self::Sequence(nodes, at) | Self::Fallback(nodes, at) => {
                *at = 0;
                nodes.iter_mut().for_each(|node| node.cancel(leaves));
            }
            Self::Parallel(nodes, _) => {
                for (node, ended) in nodes {
                    *ended = None;
                    node.cancel(leaves);
                }
            }
            Self::Not(node) | Self::Always(node) => node.cancel(leaves),
            Self::Retry(node, _, done)
            | Self::Repeat(node, _, done)
            | Self::Within(node, _, done) => {
                *done = 0;
                node.cancel(leaves);
            }
            Self::Action(leaf, runs) => {
                if std::mem::take(runs) {
                    leaves.cancel(leaf.number, &leaf.name);
                }
            }
            Self::Condition(_) => {}
        }
    }
}

/// One after the other while they end so.
fn in_turn(
    nodes: &mut [Node],
    at: &mut usize,
    goes_on: Status,
    leaves: &mut dyn Leaves,
    left: &mut u32,
) -> Status {
    while let Some(node) = nodes.get_mut(*at) {
        match node.tick(leaves, left) {
            Status::Running => return Status::Running,
            status if status == goes_on => *at += 1,
            status => {
                *at = 0;
                return status;
            }
        }
    }
    *at = 0;
    goes_on
}

fn parallel(
    nodes: &mut [(Node, Option<Status>)],
    needed: usize,
    leaves: &mut dyn Leaves,
    left: &mut u32,
) -> Status {
    for (node, ended) in nodes.iter_mut() {
        if ended.is_none() {
            let status = node.tick(leaves, left);
            *ended = (status != Status::Running).then_some(status);
        }
    }
    let count = |wanted| {
        nodes
            .iter()
            .filter(|(_, ended)| *ended == Some(wanted))
            .count()
    };
    let (good, bad) = (count(Status::Success), count(Status::Failure));
    let status = if good >= needed {
        Status::Success
    } else if bad > nodes.len() - needed {
        Status::Failure
    } else {
        return Status::Running;
    };
    for (node, ended) in nodes {
        *ended = None;
        node.cancel(leaves);
    }
    status
}

/// Once in a tick, so that one that ends at once does not take the tick's whole budget.
fn again(
    node: &mut Node,
    on: Status,
    most: u32,
    done: &mut u32,
    leaves: &mut dyn Leaves,
    left: &mut u32,
) -> Status {
    let status = node.tick(leaves, left);
    if status == Status::Running {
        return status;
    }
    *done = done.saturating_add(1);
    if status == on && (most == 0 || *done < most) {
        return Status::Running;
    }
    *done = 0;
    status
}

/// Reads a node: a table with one key that says its kind, and what belongs to that.
fn node(table: &toml::Table, at: &str, leaves: &mut usize, deep: usize) -> Result<Node, TreeError> {
    const KINDS: [&str; 10] = [
        "sequence",
        "fallback",
        "parallel",
        "not",
        "always",
        "retry",
        "repeat",
        "within",
        "action",
        "condition",
    ];
    let fail = |why: String| TreeError::Node {
        at: at.to_owned(),
        why,
    };
    if deep > DEEPEST {
        return Err(fail(format!("is deeper than {DEEPEST}")));
    }
    let kinds: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| table.contains_key(*kind))
        .collect();
    let [kind] = kinds.as_slice() else {
        let kinds = KINDS.join(", ");
        return Err(fail(format!("needs one of {kinds}, and no more than one")));
    };
    let allowed: &[&str] = match *kind {
        "parallel" => &["parallel", "needed"],
        "retry" => &["retry", "times"],
        "repeat" => &["repeat", "times"],
        "within" => &["within", "ticks"],
        "action" | "condition" => &[],
        kind => &[kind],
    };
    if let Some(key) = table
        .keys()
        .find(|key| !allowed.is_empty() && !allowed.contains(&key.as_str()))
    {
        return Err(fail(format!("has a key `{key}` that means nothing")));
    }
    let mut leaf = || {
        let name = table.get(*kind).and_then(toml::Value::as_str);
        let name = name
            .ok_or_else(|| fail(format!("`{kind}` needs a name")))?
            .to_owned();
        let mut args: Args = table.clone().into_iter().collect();
        args.remove(*kind);
        *leaves += 1;
        let number = *leaves - 1;
        Ok::<_, TreeError>(Leaf { number, name, args })
    };
    match *kind {
        "action" => return Ok(Node::Action(leaf()?, false)),
        "condition" => return Ok(Node::Condition(leaf()?)),
        _ => {}
    }
    let inside = format!("{at}.{kind}");
    if let "sequence" | "fallback" | "parallel" = *kind {
        let nodes = table.get(*kind).and_then(toml::Value::as_array);
        let nodes = nodes.ok_or_else(|| fail(format!("`{kind}` needs a list of nodes")))?;
        let nodes = nodes.iter().enumerate().map(|(index, value)| {
            let inside = format!("{inside}[{index}]");
            let table = value.as_table().ok_or_else(|| TreeError::Node {
                at: inside.clone(),
                why: "is no table".to_owned(),
            })?;
            node(table, &inside, leaves, deep + 1)
        });
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        return Ok(match *kind {
            "sequence" => Node::Sequence(nodes, 0),
            "fallback" => Node::Fallback(nodes, 0),
            _ => {
                let all = nodes.len();
                let needed = number(table, "needed", all as i64).map_err(fail)?;
                let needed = usize::try_from(needed).unwrap_or(all).min(all);
                Node::Parallel(nodes.into_iter().map(|node| (node, None)).collect(), needed)
            }
        });
    }
    let one = table.get(*kind).and_then(toml::Value::as_table);
    let one = one.ok_or_else(|| fail(format!("`{kind}` needs a node")))?;
    let one = Box::new(node(one, &inside, leaves, deep + 1)?);
    Ok(match *kind {
        "not" => Node::Not(one),
        "always" => Node::Always(one),
        "retry" => Node::Retry(one, number(table, "times", 3).map_err(fail)?, 0),
        "repeat" => Node::Repeat(one, number(table, "times", 0).map_err(fail)?, 0),
        _ => Node::Within(one, number(table, "ticks", 100).map_err(fail)?, 0),
    })
}

fn number(table: &toml::Table, key: &str, otherwise: i64) -> Result<u32, String> {
    let value = match table.get(key) {
        None => otherwise,
        Some(value) => value.as_integer().unwrap_or(-1),
    };
    u32::try_from(value).map_err(|_| format!("`{key}` must be a whole number from 0 on"))
}
