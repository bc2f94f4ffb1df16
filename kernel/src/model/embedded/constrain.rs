//! Lets a reply be nothing but a valid step.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use serde_json::{Value, json};
use toktrie::{SimpleVob, TokEnv};

use super::tokens::{Tokens, Vocabulary};
use crate::{
    model::{ModelError, step},
    tool::ToolSpec,
};

/// Tool lists whose compiled constraint is kept.
const KEPT: usize = 8;

/// Compiles constraints, and keeps those that were used last.
pub(super) struct Constraints {
    factory: ParserFactory,
    compiled: VecDeque<(Value, Matcher)>,
}

impl Constraints {
    /// For this vocabulary.
    pub(super) fn new(tokens: &Arc<Tokens>) -> Result<Self, ModelError> {
        let environment: TokEnv = Arc::new(Vocabulary(Arc::clone(tokens)));
        let mut factory = ParserFactory::new_simple(&environment).map_err(unusable)?;
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
        let exact = step::schema(tools);
        if let Some(at) = self
            .compiled
            .iter()
            .position(|(schema, _)| *schema == exact)
        {
            if let Some(hit) = self.compiled.remove(at) {
                self.compiled.push_front(hit);
            }
        } else {
            let matcher = self.compile(&exact).or_else(|error| {
                tracing::warn!(%error, "a tool's schema is too odd to constrain a reply with");
                self.compile(&step::schema(&self.tamed(tools)))
            });
            let matcher = matcher.map_err(unusable)?;
            self.compiled.push_front((exact, matcher));
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
            // Blanks between tokens are allowed by JSON and are all that a small model needs to go on
            // for ever; escapes of characters that need none only make two spellings of one text.
            object.insert(
                "x-guidance".into(),
                json!({
                    "whitespace_flexible": false,
                    "item_separator": step::ITEM_SEPARATOR,
                    "key_separator": step::KEY_SEPARATOR,
                    "coerce_one_of": true,
                    "lenient": true,
                    "json_allowed_escapes": "nrbtf\\\"",
                }),
            );
        }
        let grammar = TopLevelGrammar::from_json_schema(schema);
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
