//! Finds words in all that a run said and saw.

use std::fmt::Write as _;

use gpak_kernel::{
    context::READ_HISTORY,
    run::{State, Turn},
    tool::ToolError,
};
use regex::{Regex, RegexBuilder};

use super::excerpt;
use crate::{text::many, workspace::rejected};

/// Bytes shown of a line, on each side of what was found.
const AROUND: usize = 100;

/// The places where the words stand, the oldest first, as many as fit.
pub(super) fn search(state: &State, words: &str, room: usize) -> Result<String, ToolError> {
    let regex = RegexBuilder::new(&regex::escape(words.trim()))
        .case_insensitive(true)
        .build();
    let regex = regex.map_err(|why| rejected(format!("that cannot be searched for: {why}")))?;
    let mut found = Found {
        regex,
        text: String::new(),
        room,
        count: 0,
        shown: 0,
    };
    let task = state.spec.as_ref().map_or("", |spec| spec.task.as_str());
    found.look("the task", task);
    let mut step = 0;
    for turn in &state.turns {
        match turn {
            Turn::Said { text, label } => {
                found.look(&format!("{label} said after step {step}"), text);
            }
            Turn::Replied {
                number,
                reply,
                results,
            } => {
                step = *number;
                found.look(&format!("step {step}, thought"), &reply.thought);
                found.look(&format!("step {step}, said"), &reply.text);
                for ((index, call), result) in (0..).zip(&reply.calls).zip(results) {
                    // What was looked up here stands elsewhere too.
                    if call.name == READ_HISTORY {
                        continue;
                    }
                    let id = format!("call {step}.{index}, {}", call.name);
                    found.look(&format!("{id}, arguments"), &call.args.to_string());
                    if let Some((outcome, _)) = result {
                        found.look(&id, outcome.text());
                    }
                }
            }
        }
    }
    Ok(found.told(words))
}

struct Found {
    regex: Regex,
    text: String,
    room: usize,
    count: usize,
    shown: usize,
}

impl Found {
    /// Takes in each line of `text` that has the words in it.
    fn look(&mut self, place: &str, text: &str) {
        let mut next = 0;
        while let Some(hit) = self.regex.find_at(text, next) {
            let line_end = text.get(hit.end()..).and_then(|rest| rest.find('\n'));
            let line_end = line_end.map_or(text.len(), |end| hit.end() + end);
            let before = text.get(..hit.start()).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |end| end + 1);
            let from = line_start.max(hit.start().saturating_sub(AROUND));
            let to = line_end.min(hit.end() + AROUND);
            let (from, to) = (text.floor_char_boundary(from), text.ceil_char_boundary(to));
            let shown = excerpt::whole(text.get(from..to).unwrap_or_default());
            self.add(place, from, shown.trim());
            next = line_end.max(hit.end());
            if next >= text.len() {
                break;
            }
        }
    }

    fn add(&mut self, place: &str, at: usize, line: &str) {
        self.count += 1;
        let line = format!("{place}, at byte {at}: {line}\n");
        if self.shown + 1 == self.count && self.text.len() + line.len() <= self.room {
            self.text.push_str(&line);
            self.shown += 1;
        }
    }

    fn told(mut self, words: &str) -> String {
        if self.count == 0 {
            return format!("nothing in this task's history says \"{words}\"");
        }
        if self.shown < self.count {
            let more = many((self.count - self.shown) as u64, "more match");
            let _ = writeln!(self.text, "…truncated: {more}; search for longer words");
        }
        let _ = write!(
            self.text,
            "({READ_HISTORY} {{\"call\":\"STEP.NUMBER\",\"from\":BYTE}} shows a result from there on)"
        );
        self.text
    }
}
