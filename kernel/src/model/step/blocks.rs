//! A step as a sentence and a block, for models that write programs better than calls.
//!
//! ````text
//! The guests are counted by the lines of the list.
//! ```js
//! print(lines("guests.txt").length)
//! ```
//! ````
//!
//! A tool that takes a program says so in its schema: the first argument that it requires is text whose
//! `contentMediaType` (JSON Schema, draft 2020-12, validation, section 8.4) is that of a language. Such a
//! call is a fenced block of the language, the end of a run is `ANSWER:` with the answer, and any other call
//! is a block of JSON. What a model has seen most of in its training, it writes best: programs. Where the
//! argument has a `pattern`, too, the program is held to it.
//!
//! Tools behind the one that ends a run are told with the task and not with the others: they differ from run
//! to run, and what is in front of the task is the same in all, so that it is read but once.

mod examples;
mod read;
mod ways;

use std::fmt::Write as _;

use serde_json::{Value, json};

pub use read::{BlockSplitter, parse, salvage};
pub(crate) use ways::is_answered_at_once;
pub use ways::{Way, WayStep, ways};

use super::{Role, Turn, instruct, said_again, sanitise, text_argument, turn};
use crate::{
    label::Label,
    model::{Message, Request, ToolCall},
    tool::{Control, ToolSpec},
};

/// What is before the answer of a run.
const ANSWER: &str = "ANSWER:";
/// The fence around a block.
const FENCE: &str = "```";
/// The language of a block with any other call.
const CALL: &str = "call";
/// Characters of the sentence before a block, at most.
const SENTENCE: usize = 240;
/// The media type of the definition of a tool: a function in JavaScript, and examples of its calls.
pub const DEFINITION: &str = "text/javascript; profile=tool";
/// The language of a block with such a definition.
const TOOL: &str = "tool";

/// Which calls are blocks, for the tools of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    programs: Vec<Program>,
    /// The tool that ends a run, and its argument.
    finish: Option<(String, String)>,
    /// All others.
    others: Vec<ToolSpec>,
    /// The names of those tools, of either kind, that are told with the task.
    late: Vec<String>,
}

/// A tool that takes a program.
#[derive(Debug, Clone, PartialEq)]
struct Program {
    language: &'static str,
    tool: String,
    argument: String,
    description: String,
    /// What the program is held to: a regular expression, all of it.
    pattern: Option<String>,
}

impl Blocks {
    /// Blocks for these tools. None if none of them takes a program in JavaScript: then a step is JSON.
    pub fn of(tools: &[ToolSpec]) -> Option<Self> {
        let mut blocks = Self {
            programs: Vec::new(),
            finish: None,
            others: Vec::new(),
            late: Vec::new(),
        };
        for tool in tools {
            if blocks.finish.is_some() {
                blocks.late.push(tool.name.clone());
            }
            let argument = text_argument(&tool.input);
            match (language(tool), argument) {
                (Some(language), Some(argument)) => blocks.programs.push(Program {
                    language,
                    tool: tool.name.clone(),
                    pattern: pattern(&tool.input, &argument),
                    argument,
                    description: tool.description.clone(),
                }),
                (_, Some(argument)) if tool.control == Some(Control::Finish) => {
                    blocks.finish = Some((tool.name.clone(), argument));
                }
                _ => blocks.others.push(tool.clone()),
            }
        }
        let scripts = blocks.programs.iter().any(|p| p.language == "js");
        scripts.then_some(blocks)
    }

    /// Those of them that are for these tools.
    pub fn among(&self, tools: &[ToolSpec]) -> Self {
        let is_there = |name: &str| tools.iter().any(|tool| tool.name == name);
        let mut few = self.clone();
        few.programs.retain(|program| is_there(&program.tool));
        few.others.retain(|tool| is_there(&tool.name));
        few.finish = few.finish.filter(|(tool, _)| is_there(tool));
        few
    }

    /// The tools that are called by JSON.
    pub fn others(&self) -> &[ToolSpec] {
        &self.others
    }

    /// With these tools called by JSON in place of those that were.
    pub fn with_others(&self, others: Vec<ToolSpec>) -> Self {
        Self {
            others,
            ..self.clone()
        }
    }

    /// The grammar of a reply with one of these tools, in the Lark dialect of llguidance.
    pub fn grammar(&self) -> String {
        let mut kinds: Vec<String> = Vec::new();
        let mut rules = String::new();
        for program in &self.programs {
            let Program {
                language, pattern, ..
            } = program;
            kinds.push(format!("{language}_block"));
            let text = match pattern {
                Some(_) => format!("{language}_text"),
                None => "program".to_owned(),
            };
            let _ = writeln!(rules, "{language}_block: \"{FENCE}{language}\\n\" {text}");
            if let Some(pattern) = pattern {
                let pattern = pattern.replace('/', r"\/");
                let _ = writeln!(rules, "{text}[lazy]: /{pattern}\\n{FENCE}/");
            }
        }
        if !self.others.is_empty() {
            kinds.push("call_block".to_owned());
            let schema = self.calls();
            let _ = writeln!(
                rules,
                "call_block: \"{FENCE}{CALL}\\n\" call \"\\n{FENCE}\"\ncall: %json {schema}"
            );
        }
        if self.finish.is_some() {
            kinds.push("answer".to_owned());
            let _ = writeln!(rules, "answer: \"{ANSWER} \" TEXT");
        }
        // Where it may not answer, a small model writes its answer into a program.
        let first = match self.finish {
            Some(_) => "",
            None => " & ~/AN[^\\n]*/",
        };
        // A program ends with the first fence that begins a line. Line by line, as what may stand in the middle
        // of one is known without a look at every token.
        format!(
            "start: SENTENCE \"\\n\" ({})\n{rules}\
             SENTENCE: /[^\\n`]{{1,{SENTENCE}}}/\n\
             program: FIRST? (\"\\n\" LINE?)* \"\\n\" \"{FENCE}\"\n\
             FIRST: LINE{first}\n\
             LINE: /`{{0,2}}[^`\\n][^\\n]*|`{{1,2}}/\n\
             TEXT: /[^\\n ](.|\\n)*/\n",
            kinds.join(" | ")
        )
    }

    /// The schema of any other call.
    fn calls(&self) -> Value {
        let call = |tool: &ToolSpec| {
            json!({
                "type": "object",
                "properties": {
                    "tool": {"const": tool.name},
                    "args": sanitise::arguments(&tool.input),
                },
                "required": ["tool", "args"],
                "additionalProperties": false,
            })
        };
        let calls: Vec<Value> = self.others.iter().map(call).collect();
        json!({"anyOf": calls, "x-guidance": super::guidance()})
    }

    /// The conversation of a request as turns, and how many of these are the same in every run.
    ///
    /// Behind those are the ways that are like the first task: what follows in a conversation leaves them.
    pub fn turns(&self, request: &Request) -> (Vec<Turn>, usize) {
        let mut turns = self.examples();
        let mut system = String::new();
        let (stable, mut task) = (turns.len() + 1, "");
        if let Some(asked) = request.messages.iter().find_map(asked) {
            turns.extend(ways::turns(asked));
        }
        let mut observing = false;
        turns.extend(self.late_examples());
        if let Some(text) = self.told_late() {
            said(&mut turns, stable, text);
        }
        for message in &request.messages {
            let observation = matches!(message, Message::Tool { .. });
            if observing && !observation {
                nudge(&mut turns, task);
            }
            observing = observation;
            match message {
                Message::System { text } => system.push_str(text),
                Message::User { text, label } => {
                    if *label == Label::User {
                        task = text;
                    }
                    said(&mut turns, stable, text.clone());
                }
                Message::Assistant {
                    thought,
                    text,
                    calls,
                    ..
                } => {
                    let calls = calls.iter().map(|(_, call)| call);
                    turns.push(turn(Role::Assistant, self.wrote(thought, text, calls)));
                }
                Message::Tool { text, ok, .. } => said(&mut turns, stable, observed(text, *ok)),
            }
        }
        if observing {
            nudge(&mut turns, task);
        }
        let system = format!("{system}\n\n{}", self.instructions());
        turns.insert(0, turn(Role::System, system));
        (turns, stable)
    }

    /// A reply, as the model would have written it.
    fn wrote<'a>(
        &self,
        thought: &str,
        text: &str,
        calls: impl Iterator<Item = &'a ToolCall>,
    ) -> String {
        let blocks: Vec<String> = calls.map(|call| self.block(call)).collect();
        let body = match blocks.as_slice() {
            [] => format!("{ANSWER} {}", text.trim()),
            blocks => blocks.join("\n"),
        };
        let sentence = thought.trim().replace(['\n', '`'], " ");
        match sentence.is_empty() {
            true => body,
            false => format!("{sentence}\n{body}"),
        }
    }

    fn block(&self, call: &ToolCall) -> String {
        let argument = |name: &str| call.args.get(name).and_then(Value::as_str);
        let program = self.programs.iter().find(|p| p.tool == call.name);
        if let Some((program, text)) = program.and_then(|p| Some((p, argument(&p.argument)?))) {
            let text = text.trim_end_matches('\n');
            return format!("{FENCE}{}\n{text}\n{FENCE}", program.language);
        }
        match &self.finish {
            Some((tool, name)) if *tool == call.name => {
                format!("{ANSWER} {}", argument(name).unwrap_or_default())
            }
            _ => {
                let call = super::compact(&json!({"tool": call.name, "args": call.args}));
                format!("{FENCE}{CALL}\n{call}\n{FENCE}")
            }
        }
    }

    /// How a reply looks, and what there is to call.
    pub fn instructions(&self) -> String {
        let mut text = "Each of your replies is one short sentence about what you do now, and below it one of these:\n".to_owned();
        self.describe(&mut text, false);
        if self.finish.is_some() {
            let _ = write!(
                text,
                "\n- {ANSWER} the answer, once all that the task asks for is known and done. It ends the task."
            );
        }
        text
    }

    /// What is told with the task; none if there is no such tool.
    fn told_late(&self) -> Option<String> {
        let mut text = String::new();
        self.describe(&mut text, true);
        (!text.is_empty()).then(|| format!("A reply can also be:\n{}", text.trim_end()))
    }

    /// What those tools do that are told with the task, or those that are not.
    fn describe(&self, text: &mut String, late: bool) {
        let is_wanted = |name: &String| self.late.contains(name) == late;
        for program in self.programs.iter().filter(|one| is_wanted(&one.tool)) {
            let Program {
                language,
                description,
                ..
            } = program;
            let _ = write!(
                text,
                "\n- {FENCE}{language} … {FENCE}: {}\n",
                description.trim()
            );
        }
        let others = self.others.iter().filter(|tool| is_wanted(&tool.name));
        for (number, tool) in others.enumerate() {
            if number == 0 {
                let _ = write!(
                    text,
                    "\n- {FENCE}{CALL}\n{{\"tool\":…,\"args\":…}}\n{FENCE}: a call of one of these tools:\n"
                );
            }
            instruct::describe(text, tool);
        }
    }

    /// Bytes of what a model is told of the tools, of the examples, and of the ways that may be shown.
    pub fn size(&self) -> usize {
        let examples = self.examples().into_iter().chain(self.late_examples());
        let examples: usize = examples.map(|turn| turn.text.len()).sum();
        let late = self.told_late().map_or(0, |text| text.len());
        self.instructions().len() + examples + ways::size() + late
    }

    fn examples(&self) -> Vec<Turn> {
        as_turns(examples::all())
    }

    /// A task for which a tool is made, where one can be. Who was never asked for a tool is not shown it.
    fn late_examples(&self) -> Vec<Turn> {
        match self.programs.iter().any(|one| one.language == TOOL) {
            true => as_turns(examples::making()),
            false => Vec::new(),
        }
    }
}

fn as_turns(turns: Vec<(Role, &'static str)>) -> Vec<Turn> {
    let turns = turns.into_iter();
    turns
        .map(|(role, text)| turn(role, text.to_owned()))
        .collect()
}

/// Whether a call of one of these tools is a program in JavaScript, or a tool that is one.
pub fn is_script(tools: &[ToolSpec], call: &ToolCall) -> bool {
    let tool = tools.iter().find(|tool| tool.name == call.name);
    matches!(tool.and_then(language), Some("js" | TOOL))
}

/// Whether a tool takes the definition of a tool.
pub fn makes_tools(tool: &ToolSpec) -> bool {
    language(tool) == Some(TOOL)
}

/// What that argument is held to.
fn pattern(input: &Value, argument: &str) -> Option<String> {
    let pattern = input.get("properties")?.get(argument)?.get("pattern")?;
    let pattern = pattern.as_str()?;
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    Some(pattern.strip_suffix('$').unwrap_or(pattern).to_owned())
}

/// The language of the programs that a tool takes.
fn language(tool: &ToolSpec) -> Option<&'static str> {
    let argument = text_argument(&tool.input)?;
    let media = tool
        .input
        .get("properties")?
        .get(argument)?
        .get("contentMediaType")?;
    match media.as_str()? {
        "text/javascript" => Some("js"),
        "application/x-sh" => Some("sh"),
        DEFINITION => Some(TOOL),
        _ => None,
    }
}

/// What somebody other than the model says: behind what was said before, if that was no reply.
fn said(turns: &mut Vec<Turn>, stable: usize, text: String) {
    let others = turns.len() >= stable;
    match turns
        .last_mut()
        .filter(|last| others && last.role == Role::User)
    {
        Some(last) => {
            last.text.push_str("\n\n");
            last.text.push_str(&text);
        }
        None => turns.push(turn(Role::User, text)),
    }
}

/// What the user asks for in a message.
fn asked(message: &Message) -> Option<&str> {
    match message {
        Message::User { text, label } if *label == Label::User => Some(text),
        _ => None,
    }
}

fn observed(text: &str, ok: bool) -> String {
    let what = if ok { "Output" } else { "Error" };
    format!("{what}:\n{text}")
}

/// Ends the output of a reply's block with the task: a small model loses sight of it.
fn nudge(turns: &mut [Turn], task: &str) {
    let Some(last) = turns.last_mut() else {
        return;
    };
    last.text
        .push_str(&format!("\n\n(The task is: {})", said_again(task)));
}

#[cfg(test)]
mod tests;
