//! The gate: the only way to a tool. Schema, then permission; the budget is checked before each step.
//!
//! [`Gate::judge`] is a pure function of the call, the tool and the run's permissions.

use std::{collections::HashMap, sync::OnceLock};

use crate::{
    event::Refusal,
    model::ToolCall,
    tool::{Control, Effect, ToolSpec},
};

pub mod budget;
pub mod permission;
mod schema;

pub use budget::{Budget, Spent};
pub(crate) use permission::glob;
pub use permission::{Access, Permissions, Rule};

/// What the gate says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made.
    Allow,
    /// The user must be asked, for this reason.
    Ask(String),
    /// It is not made; the model is told why.
    Refuse(Refusal, String),
}

/// The tools of a run.
pub struct Gate {
    tools: HashMap<String, Checked>,
}

struct Checked {
    spec: ToolSpec,
    /// Compiled when the tool is first called: a run is folded far more often than each tool is called.
    schema: OnceLock<schema::Schema>,
}

impl Gate {
    /// A gate before these tools.
    pub fn new(tools: &[ToolSpec]) -> Self {
        let check = |spec: &ToolSpec| Checked {
            schema: OnceLock::new(),
            spec: spec.clone(),
        };
        let tools = tools.iter().map(|spec| (spec.name.clone(), check(spec)));
        Self {
            tools: tools.collect(),
        }
    }

    /// The tool of that name.
    pub fn tool(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.get(name).map(|tool| &tool.spec)
    }

    /// Whether `call` may be made, under these permissions; `allowed` names a tool the user allowed for
    /// the rest of the run.
    pub fn judge(
        &self,
        call: &ToolCall,
        permissions: &Permissions,
        allowed: impl Fn(&str) -> bool,
        attended: bool,
    ) -> Verdict {
        let Some(Checked { spec, schema }) = self.tools.get(&call.name) else {
            return Verdict::Refuse(Refusal::UnknownTool, self.unknown(&call.name));
        };
        let schema = schema.get_or_init(|| schema::Schema::compile(&spec.input));
        if let Err(why) = schema.check(&call.args) {
            let message = format!("{} was not called: {why}", call.name);
            return Verdict::Refuse(Refusal::Schema, message);
        }
        if spec.control.is_some() {
            return Verdict::Allow;
        }
        match permissions.decide(spec, &call.args) {
            Access::Allow => Verdict::Allow,
            Access::Ask if allowed(&spec.name) => Verdict::Allow,
            Access::Ask if attended => Verdict::Ask(reason(spec, &call.args)),
            Access::Ask => Verdict::Refuse(
                Refusal::Permission,
                format!(
                    "{} needs an approval and nobody is there to give it; do what you can without it, \
                     or finish and say what is left",
                    spec.name
                ),
            ),
            Access::Deny => Verdict::Refuse(
                Refusal::Permission,
                format!("the policy of this run forbids this {} call", spec.name),
            ),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let mut names: Vec<_> = self.tools.keys().map(String::as_str).collect();
        names.sort_unstable();
        format!(
            "there is no tool `{name}`; the tools are {}",
            names.join(", ")
        )
    }

    /// The control that a call of `name` is, if it is one.
    pub fn control(&self, name: &str) -> Option<Control> {
        self.tool(name)?.control
    }
}

fn reason(spec: &ToolSpec, args: &serde_json::Value) -> String {
    match spec.effect {
        _ if spec.asks_for_more(args) => {
            format!("{} asks for {}", spec.name, spec.asks_with.join(", "))
        }
        Effect::Irreversible => format!("{} cannot be undone", spec.name),
        Effect::Reversible => format!("{} changes files (gpak can undo it)", spec.name),
        Effect::Pure | Effect::Idempotent => format!("the policy asks before {}", spec.name),
    }
}
