//! Lets a reply be nothing but a valid step.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv};

use super::tokens::{Tokens, Vocabulary};
use crate::{
    model::{
        ModelError,
        step::{self, blocks::Blocks},
    },
    tool::ToolSpec,
};

/// Tool lists whose compiled constraint is kept.
const KEPT: usize = 8;

/// What most tokens are where a text goes on, so that they need no look one by one: the line of a program; and
/// what may stand in a sentence and in a string of JSON, both of which may be limited in length. Each of them
/// costs three copies of the vocabulary.
const SLICES: [&str; 2] = [r"[^\n]+", r#"[^"\\`\x00-\x1F\x7F]{1,30}"#];

/// How a text ends after which no quotation was about to begin.
const ENDS: &str = r"[^\s(\[{=:,]$";

/// Compiles constraints, and keeps those that were used last.
pub(super) struct Constraints {
    factory: ParserFactory,
    compiled: VecDeque<(Value, Matcher)>,
}

impl Constraints {
    /// For this vocabulary.
    pub(super) fn new(tokens: &Arc<Tokens>) -> Result<Self, ModelError> {
        let environment: TokEnv = Arc::new(Vocabulary(Arc::clone(tokens)));
        let slices: Vec<String> = SLICES.map(str::to_owned).into();
        let can = InferenceCapabilities::default();
        let mut factory = ParserFactory::new(&environment, can, &slices).map_err(unusable)?;
        factory.quiet();
        Ok(Self {
            factory,
            compiled: VecDeque::new(),
        })
    }

    /// The constraint "one step with one of these tools", at its beginning.
    ///
    /// A tool whose schema cannot be compiled takes any arguments: the gate checks them anyway.
    pub(super) fn step(&mut self, tools: &[ToolSpec]) -> Result<Constraint, ModelError> {
        let schema = |tools: &[ToolSpec]| whole(step::schema(tools), tools);
        let exact = schema(tools);
        self.constraint(exact.clone(), |this, is_tamed| match is_tamed {
            false => this.compile(&exact),
            true => this.compile(&schema(&this.tamed(tools))),
        })
    }

    /// The constraint "a sentence and one of these blocks", at its beginning.
    pub(super) fn blocks(&mut self, blocks: &Blocks) -> Result<Constraint, ModelError> {
        let grammar = blocks.grammar();
        self.constraint(grammar.clone().into(), |this, is_tamed| {
            let grammar = match is_tamed {
                false => grammar.clone(),
                true => blocks.with_others(this.tamed(blocks.others())).grammar(),
            };
            this.matcher(TopLevelGrammar::from_lark(grammar))
        })
    }

    /// The constraint that is known by `key`, compiled if it was not used of late: exactly, or else with the
    /// odd tools tamed.
    fn constraint(
        &mut self,
        key: Value,
        compile: impl Fn(&Self, bool) -> Result<Matcher, String>,
    ) -> Result<Constraint, ModelError> {
        if let Some(at) = self.compiled.iter().position(|(known, _)| *known == key) {
            if let Some(hit) = self.compiled.remove(at) {
                self.compiled.push_front(hit);
            }
        } else {
            let matcher = compile(self, false).or_else(|error| {
                tracing::warn!(%error, "a tool's schema is too odd to constrain a reply with");
                compile(self, true)
            });
            let matcher = matcher.map_err(unusable)?;
            self.compiled.push_front((key, matcher));
            self.compiled.truncate(KEPT);
        }
        let fresh = self.compiled.front().map(|(_, m)| m.deep_clone());
        let matcher = fresh.ok_or_else(|| unusable("no constraint"))?;
        Ok(Constraint {
            matcher,
            spent: Duration::ZERO,
            masks: 0,
        })
    }

    fn compile(&self, schema: &Value) -> Result<Matcher, String> {
        let mut schema = schema.clone();
        if let Some(object) = schema.as_object_mut() {
            object.insert("x-guidance".into(), step::guidance());
        }
        self.matcher(TopLevelGrammar::from_json_schema(schema))
    }

    fn matcher(&self, grammar: TopLevelGrammar) -> Result<Matcher, String> {
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(matcher),
        }
    }

    /// The tools, with any arguments for those that do not compile.
    fn tamed(&self, tools: &[ToolSpec]) -> Vec<ToolSpec> {
        let tame = |tool: &ToolSpec| {
            let mut tool = tool.clone();
            if self
                .compile(&step::schema(std::slice::from_ref(&tool)))
                .is_err()
            {
                tool.input = json!({"type": "object"});
            }
            tool
        };
        tools.iter().map(tame).collect()
    }
}

/// The schema with thoughts, and words to people, that do not end where a quotation begins.
///
/// A model that is about to quote something writes a quotation mark, and in JSON that ends the text: what
/// it thought is cut off, and what it does next does not follow from it. Where a text cannot end, the only
/// quotation mark that it can write is an escaped one.
fn whole(mut schema: Value, tools: &[ToolSpec]) -> Value {
    let steps = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    for (step, tool) in steps.into_iter().flatten().zip(tools) {
        end(step.pointer_mut("/properties/thought"), ENDS);
        if tool.control.is_some() {
            let args = step.pointer_mut("/properties/args/properties");
            let args = args.and_then(Value::as_object_mut);
            for (_, arg) in args.into_iter().flatten() {
                end(Some(arg), ENDS);
            }
        }
    }
    schema
}

/// Text of that schema ends so.
fn end(schema: Option<&mut Value>, pattern: &str) {
    let Some(schema) = schema.and_then(Value::as_object_mut) else {
        return;
    };
    if schema.get("type").is_some_and(|kind| kind == "string") {
        schema.insert("pattern".into(), pattern.into());
    }
}

fn unusable(error: impl std::fmt::Display) -> ModelError {
    ModelError::Unusable {
        message: format!("its replies cannot be constrained: {error}"),
    }
}

/// A constraint, and how far a reply has come in it.
pub(super) struct Constraint {
    matcher: Matcher,
    spent: Duration,
    masks: u32,
}

impl Constraint {
    /// The tokens that must come next, whatever the model thinks. They are taken.
    pub(super) fn forced(&mut self) -> Vec<u32> {
        self.matcher.consume_ff_tokens()
    }

    /// The tokens that may come next.
    pub(super) fn allowed(&mut self) -> Result<SimpleVob, ModelError> {
        let start = Instant::now();
        let mask = self.matcher.compute_mask_or_eos().map_err(malformed);
        self.spent += start.elapsed();
        self.masks += 1;
        mask
    }

    /// Takes one of the allowed tokens.
    pub(super) fn take(&mut self, token: u32) -> Result<(), ModelError> {
        self.matcher.consume_token(token).map_err(malformed)
    }

    /// Whether the reply is complete.
    pub(super) fn is_done(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Milliseconds that a mask took on average.
    pub(super) fn mask_ms(&self) -> f64 {
        self.spent.as_secs_f64() * 1e3 / f64::from(self.masks.max(1))
    }
}

fn malformed(error: impl std::fmt::Display) -> ModelError {
    ModelError::Malformed {
        message: format!("the constraint lost its way: {error}"),
    }
}
