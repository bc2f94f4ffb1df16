//! A conversation as the tokens that the model was trained to see.
//!
//! The model's own chat template is run over stand-ins, never over the texts themselves: what a user
//! or a tool wrote is put in afterwards, as plain tokens, so that no text can end its turn and begin
//! another. That also makes the prompt of one step a prefix of the next one's, token by token, as the
//! cache of keys and values needs.

use std::ops::Range;

use minijinja::{Environment, Value, context, syntax::SyntaxConfig};

use super::{gguf::Gguf, tokens::Tokens};
use crate::model::step::{Role, Turn};

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    /// How many of the tokens come before the first thing that a run's user said: system text, tools and
    /// examples, the same in every run.
    pub(super) stable: usize,
}

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}";

/// Stands for a turn's text while the template runs. Private-use characters: no template has them.
const OPEN: char = '\u{f0001}';
const CLOSE: char = '\u{f0002}';

/// The chat template of a model.
pub(super) struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// The template that the file brings, or ChatML if it brings none that works.
    pub(super) fn of(gguf: &Gguf, tokens: &Tokens) -> Self {
        let bos = tokens.spelling(gguf.number("tokenizer.ggml.bos_token_id"));
        let eos = tokens.spelling(gguf.number("tokenizer.ggml.eos_token_id"));
        let own = gguf.text("tokenizer.chat_template").and_then(|source| {
            let template = Self::new(source, bos.clone(), eos.clone())?;
            template.grows_at_its_end().then_some(template)
        });
        own.unwrap_or_else(|| {
            if !tokens.has("<|im_start|>") {
                tracing::warn!(model = %gguf.path.display(), "no chat template that works; ChatML is used");
            }
            Self::chatml()
        })
    }

    /// ChatML, which most small models know.
    pub(super) fn chatml() -> Self {
        let mut environment = Environment::new();
        // A constant that a test renders; if it did not parse, rendering would say so.
        let _ = environment.add_template("chat", CHATML);
        Self {
            environment,
            bos: String::new(),
            eos: String::new(),
        }
    }

    fn new(source: &str, bos: String, eos: String) -> Option<Self> {
        let mut environment = Environment::new();
        // As Hugging Face's own renderer is set.
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build().ok()?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(
                minijinja::ErrorKind::InvalidOperation,
                message,
            ))
        });
        environment
            .add_template_owned("chat", source.to_owned())
            .ok()?;
        Some(Self {
            environment,
            bos,
            eos,
        })
    }

    /// The prompt of a conversation, open for the assistant's next words.
    ///
    /// `known` gives the tokens of a text that the model itself wrote, as it wrote them; a text can be
    /// spelled in several ways, and only the way it was makes use of the cache. The first `stable` turns are
    /// those of every run.
    pub(super) fn prompt(
        &self,
        turns: &[Turn],
        stable: usize,
        tokens: &Tokens,
        known: &dyn Fn(&str) -> Option<Vec<u32>>,
    ) -> Option<Prompt> {
        let rendered = self.render(turns)?;
        let mut prompt = Prompt {
            tokens: Vec::new(),
            stable: 0,
        };
        let mut at = 0;
        let stand_ins = stand_ins(&rendered, turns.len())?;
        for (number, (turn, stand_in)) in turns.iter().zip(stand_ins).enumerate() {
            prompt
                .tokens
                .extend(tokens.markup(rendered.get(at..stand_in.start)?));
            if number == stable {
                prompt.stable = prompt.tokens.len();
            }
            let own = (turn.role == Role::Assistant).then(|| known(&turn.text));
            let text = own.flatten().unwrap_or_else(|| tokens.text(&turn.text));
            prompt.tokens.extend(text);
            at = stand_in.end;
        }
        prompt.tokens.extend(tokens.markup(rendered.get(at..)?));
        Some(prompt)
    }

    /// The template's output, with `OPEN n CLOSE` where the text of turn `n` goes.
    fn render(&self, turns: &[Turn]) -> Option<String> {
        let messages: Vec<Value> = turns
            .iter()
            .enumerate()
            .map(|(n, turn)| {
                let role = match turn.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                let stand_in = format!("{OPEN}{n}{CLOSE}");
                Value::from_pairs([("role", role), ("content", &stand_in)])
            })
            .collect();
        let template = self.environment.get_template("chat").ok()?;
        let rendered = template.render(context! {
            messages => messages,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => true,
            enable_thinking => false,
        });
        rendered
            .inspect_err(|error| tracing::debug!(%error, "the chat template failed"))
            .ok()
    }

    /// Whether a longer conversation starts like a shorter one, and has all its texts.
    fn grows_at_its_end(&self) -> bool {
        let turn = |role| Turn {
            role,
            text: String::new(),
        };
        let mut turns = vec![turn(Role::System), turn(Role::User)];
        let mut last = String::new();
        for _ in 0..3 {
            let Some(now) = self.render(&turns) else {
                return false;
            };
            let whole = stand_ins(&now, turns.len()).is_some();
            if !whole || !now.starts_with(&last) {
                return false;
            }
            last = format!("{now}{OPEN}{}{CLOSE}", turns.len());
            turns.extend([turn(Role::Assistant), turn(Role::User)]);
        }
        true
    }
}

/// Where the stand-ins are, if each is there once and all are in order.
fn stand_ins(rendered: &str, count: usize) -> Option<Vec<Range<usize>>> {
    if rendered.matches(OPEN).count() != count {
        return None;
    }
    let mut at = 0;
    let find = |n: usize| {
        let stand_in = format!("{OPEN}{n}{CLOSE}");
        let start = at + rendered.get(at..)?.find(&stand_in)?;
        at = start + stand_in.len();
        Some(start..at)
    };
    (0..count).map(find).collect()
}

/// The methods of Python strings that chat templates use.
fn python_method(
    _: &mut minijinja::State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, minijinja::Error> {
    let unknown = || minijinja::Error::from(minijinja::ErrorKind::UnknownMethod);
    let text = value.as_str().ok_or_else(unknown)?;
    let argument = args.first().and_then(|arg| arg.as_str());
    let strip = |c: char| argument.map_or(c.is_whitespace(), |set| set.contains(c));
    Ok(match (method, argument) {
        ("strip", _) => text.trim_matches(strip).into(),
        ("lstrip", _) => text.trim_start_matches(strip).into(),
        ("rstrip", _) => text.trim_end_matches(strip).into(),
        ("upper", _) => text.to_uppercase().into(),
        ("lower", _) => text.to_lowercase().into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(separator)) => text
            .split(separator)
            .map(Value::from)
            .collect::<Vec<_>>()
            .into(),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: Role, text: &str) -> Turn {
        Turn {
            role,
            text: text.into(),
        }
    }

    #[test]
    fn chatml_renders_and_grows_at_its_end() {
        let template = Template::chatml();
        let turns = [turn(Role::System, "be brief"), turn(Role::User, "hello")];
        assert_eq!(
            template.render(&turns).unwrap(),
            format!(
                "<|im_start|>system\n{OPEN}0{CLOSE}<|im_end|>\n<|im_start|>user\n{OPEN}1{CLOSE}<|im_end|>\n<|im_start|>assistant\n"
            )
        );
        assert!(template.grows_at_its_end());
    }

    #[test]
    fn a_template_that_rewrites_the_past_is_not_used() {
        let rewrites = "{% for m in messages %}{{ m.content }}{% if not loop.last %}(old){% endif %}{% endfor %}";
        let template = Template::new(rewrites, String::new(), String::new()).unwrap();
        assert!(!template.grows_at_its_end());
    }

    #[test]
    fn a_template_that_drops_a_text_is_not_used() {
        let drops = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
        let template = Template::new(drops, String::new(), String::new()).unwrap();
        assert!(!template.grows_at_its_end());
    }

    #[test]
    fn a_template_may_use_what_python_strings_can_do() {
        let uses = "{% for m in messages %}{{ m.content.strip() }}|{{ m.role.startswith('us') }}\n{% endfor %}";
        let template = Template::new(uses, String::new(), String::new()).unwrap();
        assert!(template.grows_at_its_end());
    }
}
