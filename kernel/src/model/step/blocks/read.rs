//! Reads a reply of a sentence and a block, whole or while it is being written.

use serde_json::{Value, json};

use super::{ANSWER, Blocks, CALL, FENCE};
use crate::model::{
    ToolCall,
    step::{self, Piece, Step},
};

/// Reads a reply.
///
/// # Errors
/// What is wrong with it, for the model to read.
pub fn parse(blocks: &Blocks, text: &str) -> Result<Step, String> {
    let (thought, rest) = split(text);
    let call = match rest {
        Rest::Answer(answer) => blocks.answer(answer.trim()),
        Rest::Block { language, body } => {
            let body = body.strip_suffix(FENCE).unwrap_or(body);
            blocks.call(language, body.trim_end())?
        }
        Rest::Nothing => None,
    };
    Ok(Step {
        thought: thought.to_owned(),
        call: call.ok_or("it has no block and no answer")?,
    })
}

/// What can be known of a reply that was cut off: its sentence, and its call if that was begun. The
/// arguments are then text, which no schema accepts.
pub fn salvage(blocks: &Blocks, text: &str) -> (String, Option<ToolCall>) {
    let (thought, rest) = split(text);
    let call = match rest {
        Rest::Block { language, body } => blocks.tool(language).map(|name| ToolCall {
            name: name.to_owned(),
            args: Value::String(body.to_owned()),
        }),
        Rest::Answer(answer) => blocks.answer(answer.trim()),
        Rest::Nothing => None,
    };
    (thought.to_owned(), call)
}

enum Rest<'a> {
    Answer(&'a str),
    Block { language: &'a str, body: &'a str },
    Nothing,
}

/// The sentence, and what is below it.
fn split(text: &str) -> (&str, Rest<'_>) {
    let starts = [text.find(FENCE), text.find(ANSWER)];
    let Some(at) = starts.into_iter().flatten().min() else {
        return (text.trim(), Rest::Nothing);
    };
    let (thought, rest) = text.split_at(at);
    let rest = match rest.strip_prefix(ANSWER) {
        Some(answer) => Rest::Answer(answer),
        None => {
            let rest = rest.strip_prefix(FENCE).unwrap_or(rest);
            let (language, body) = rest.split_once('\n').unwrap_or((rest, ""));
            Rest::Block { language, body }
        }
    };
    (thought.trim(), rest)
}

impl Blocks {
    fn tool(&self, language: &str) -> Option<&str> {
        let program = self.programs.iter().find(|p| p.language == language);
        program.map(|program| program.tool.as_str())
    }

    fn answer(&self, answer: &str) -> Option<ToolCall> {
        let (tool, argument) = self.finish.as_ref()?;
        Some(ToolCall {
            name: tool.clone(),
            args: json!({argument: answer}),
        })
    }

    fn call(&self, language: &str, body: &str) -> Result<Option<ToolCall>, String> {
        if language == CALL {
            return step::parse(body).map(|step| Some(step.call));
        }
        let program = self.programs.iter().find(|p| p.language == language);
        Ok(program.map(|program| ToolCall {
            name: program.tool.clone(),
            args: json!({&program.argument: body}),
        }))
    }
}

/// Takes the text of a reply as it comes, and gives what is known of its parts.
#[derive(Debug, Default)]
pub struct BlockSplitter {
    /// What was not given on, as a fence may be beginning in it.
    held: String,
    /// Whether the sentence is over.
    below: bool,
}

impl BlockSplitter {
    /// Takes more of the text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        if self.below {
            return piece(Piece::Call, text.to_owned());
        }
        self.held.push_str(text);
        let starts = [self.held.find(FENCE), self.held.find(ANSWER)];
        if let Some(at) = starts.into_iter().flatten().min() {
            self.below = true;
            let rest = self.held.split_off(at);
            let sentence = std::mem::take(&mut self.held);
            let mut pieces = piece(Piece::Thought, sentence.trim_end().to_owned());
            pieces.extend(piece(Piece::Call, rest));
            return pieces;
        }
        // A line's end, and what may be the beginning of a fence or of the answer, wait for more.
        let given = self.held.find('\n').unwrap_or(self.held.len());
        let rest = self.held.split_off(given);
        piece(Piece::Thought, std::mem::replace(&mut self.held, rest))
    }
}

fn piece(of: fn(String) -> Piece, text: String) -> Vec<Piece> {
    match text.is_empty() {
        true => Vec::new(),
        false => vec![of(text)],
    }
}
