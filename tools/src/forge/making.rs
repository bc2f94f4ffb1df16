//! `make_tool`.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use gpak_kernel::{
    event::RunId,
    label::Label,
    model::{CallId, step::blocks},
    tool::{Call, Effect, Made, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    definition,
    store::{MadeStore, Written},
};
use crate::{
    builtin::{self, arguments},
    schema,
    wasm::{
        Asks, Declared, Example, FileAccess, Kind, Limits, Manifest, PackagedTool, WasmError,
        is_same_json,
    },
    workspace::rejected,
};

/// The name of the tool.
pub const MAKE_TOOL: &str = "make_tool";
/// Examples that a tool has, at least and at most.
const EXAMPLES: std::ops::RangeInclusive<usize> = 2..=20;
/// Bytes of a value that are shown of an example that did not come out.
const SHOWN: usize = 300;

/// What the model says of itself that makes tools by definitions.
const DESCRIPTION: &str = "Make a tool of your own: a line about it, a function in JavaScript that checks its \
input and returns a value, and calls of it with what they give, one of them of bad input. It has no files and no \
network. All these calls are made before the tool counts; then it can be called like any other.";

/// Makes tools.
pub struct MakeTool {
    spec: ToolSpec,
    store: MadeStore,
    reserved: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Args {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) input_schema: Value,
    pub(super) source: String,
    pub(super) examples: Vec<Shown>,
    #[serde(default)]
    pub(super) needs: Option<Asks>,
}

/// An example as the model gives it.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    pub(super) input: Value,
    pub(super) output: Option<Value>,
    #[serde(default)]
    pub(super) error: bool,
    /// The call as it is written in a definition.
    #[serde(skip)]
    pub(super) called: Option<String>,
}

/// A call by a model that works by programs.
#[derive(Deserialize)]
struct Defined {
    definition: String,
}

impl MakeTool {
    /// The tool, which keeps what it makes in `store`; `reserved` are the names of all other tools.
    pub fn new(store: MadeStore, reserved: BTreeSet<String>) -> Self {
        let spec = builtin::spec(
            MAKE_TOOL,
            "Make a tool of your own, in JavaScript. Do so when the same computation recurs, or when counting, dates, parsing or arithmetic must be exact, rather than work it out in your head. It can be called from the next step on, and in later tasks here. Every example is run before it counts.",
            Effect::Idempotent,
            json!({
                "name": {"type": "string", "description": "Like roman_numerals: a to z, 0 to 9 and _."},
                "description": {"type": "string", "minLength": 1, "description": "What it does, in one or two sentences."},
                "input_schema": {"type": "object", "description": "The JSON Schema of its input, of \"type\": \"object\"."},
                "source": {"type": "string", "minLength": 1, "description": "JavaScript with a function invoke(input) that returns JSON, and throws an Error with a helpful message on bad input."},
                "examples": {
                    "type": "array",
                    "description": "At least two, one of them of bad input.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "input": {},
                            "output": {"description": "What invoke returns."},
                            "error": {"type": "boolean", "description": "true, in place of output: invoke throws."},
                        },
                        "required": ["input"],
                        "additionalProperties": false,
                    },
                },
                "needs": {
                    "type": "object",
                    "description": "Leave it out for a tool that computes; the user is asked for what it names.",
                    "properties": {
                        "clock": {"type": "boolean", "description": "The time of day, for Date."},
                        "files": {
                            "type": "array",
                            "description": "Folders of the workspace, for the functions that run_script has.",
                            "items": {
                                "type": "object",
                                "properties": {"path": {"type": "string"}, "access": {"enum": ["read", "write"]}},
                                "required": ["path"],
                                "additionalProperties": false,
                            },
                        },
                        "hosts": {"type": "array", "description": "For fetch, like api.example.com.", "items": {"type": "string"}},
                    },
                    "additionalProperties": false,
                },
            }),
            5,
        );
        Self {
            spec: ToolSpec {
                asks_with: vec!["needs".to_owned()],
                ..spec
            },
            store,
            reserved,
        }
    }

    /// Likewise, for a model that works by programs: it writes a definition (`definition.rs`), and the tool has
    /// the workspace's files and hosts no more than the model has.
    pub fn of_definitions(store: MadeStore, reserved: BTreeSet<String>) -> Self {
        let spec = builtin::spec(
            MAKE_TOOL,
            DESCRIPTION,
            Effect::Idempotent,
            json!({"definition": {
                "type": "string",
                "contentMediaType": blocks::DEFINITION,
                "pattern": definition::pattern(),
                "description": "The tool.",
            }}),
            1,
        );
        Self {
            spec,
            store,
            reserved,
        }
    }

    async fn make(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let args = read(&call.args)?;
        self.check_name(&args.name)?;
        check_examples(&args.examples)?;
        let written = written(&args);
        let tool = self.store.tool(&written).map_err(|why| told(&why))?;
        check_inputs(&args)?;
        for (number, example) in (1..).zip(&args.examples) {
            try_out(&tool, number, example).await?;
        }
        let kept = self.store.keep(&context.workspace, context.run, written);
        let made = kept.map_err(|why| ToolError::Fatal(why.to_string()))?;
        let text = format!(
            "{} is made (version {}): all {} examples came out. {}",
            args.name,
            made.version,
            args.examples.len(),
            how_to_call(&args)
        );
        Ok(ToolOutput {
            made: Some(Box::new(made)),
            ..ToolOutput::text(text)
        })
    }

    fn check_name(&self, name: &str) -> Result<(), ToolError> {
        if !name.starts_with(|first: char| first.is_ascii_lowercase())
            || crate::wasm::manifest::name_fault(name).is_some()
        {
            return Err(rejected(format!(
                "{name:?} is no name for a tool; one has up to 64 of a to z, 0 to 9 and _, and begins with a letter"
            )));
        }
        if name == MAKE_TOOL || self.reserved.contains(name) {
            return Err(rejected(format!(
                "there is a tool {name} already; give yours another name"
            )));
        }
        Ok(())
    }
}

/// The tool that a call is about, in either form.
fn read(args: &Value) -> Result<Args, ToolError> {
    match Defined::deserialize(args) {
        Ok(defined) => definition::read(&defined.definition)
            .map_err(|why| rejected(format!("the tool was not made: {why}"))),
        Err(_) => arguments(args),
    }
}

/// What is said of calls: a small model would write a program that has the name of the tool in it.
fn how_to_call(args: &Args) -> String {
    let good = args.examples.iter().find(|example| !example.error);
    match good.filter(|example| example.called.is_some()) {
        Some(example) => {
            let call = json!({"tool": args.name, "args": example.input});
            format!(
                "Call it like any other tool, and not in a program, as in\n```call\n{call}\n```"
            )
        }
        None => "Call it like any other tool.".to_owned(),
    }
}

/// Whether there are examples of both kinds.
fn check_examples(examples: &[Shown]) -> Result<(), ToolError> {
    if !EXAMPLES.contains(&examples.len()) {
        return Err(rejected(format!(
            "there are {} examples; give {} to {}",
            examples.len(),
            EXAMPLES.start(),
            EXAMPLES.end()
        )));
    }
    let both = |example: &Shown| example.error == example.output.is_some();
    if let Some(at) = examples.iter().position(both) {
        return Err(rejected(format!(
            "example {}: give one of output (what invoke returns, and not null) and \"error\": true (it throws)",
            at + 1
        )));
    }
    if examples.iter().all(|example| example.error) {
        return Err(rejected(
            "no example shows what it gives; add one with an output".to_owned(),
        ));
    }
    if !examples.iter().any(|example| example.error) {
        return Err(rejected(
            "no example is of bad input; add one that invoke throws on: {\"input\": …, \"error\": true}"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Whether the schema accepts the inputs that are good.
fn check_inputs(args: &Args) -> Result<(), ToolError> {
    let good = args.examples.iter().enumerate();
    for (at, example) in good.filter(|(_, example)| !example.error) {
        schema::holds(&args.input_schema, &example.input).map_err(|why| {
            rejected(format!(
                "example {}: its input is not what input_schema says: {why}",
                at + 1
            ))
        })?;
    }
    Ok(())
}

/// The package that the arguments say.
fn written(args: &Args) -> Written {
    let asks = args.needs.clone().unwrap_or_default();
    let examples = args.examples.iter().map(|example| Example {
        tool: None,
        input: example.input.clone(),
        output: example.output.clone(),
        // Any error will do.
        error: example.error.then(String::new),
    });
    let tool = Declared {
        name: args.name.clone(),
        description: args.description.clone(),
        input: args.input_schema.clone(),
        output: None,
        effect: effect(&asks),
    };
    Written {
        manifest: Manifest {
            name: args.name.clone(),
            version: String::new(),
            description: String::new(),
            kind: Kind::Script,
            file: format!("{}.js", args.name),
            asks,
            limits: Limits::default(),
            examples: examples.collect(),
            tools: vec![tool],
        },
        source: args.source.clone(),
    }
}

/// What calls of a tool that needs this do to the world. What reaches a host is beyond undoing.
fn effect(asks: &Asks) -> Effect {
    let writes = |asks: &Asks| {
        let mut access = asks.files.iter().map(|folder| folder.access);
        access.any(|access| access == FileAccess::Write)
    };
    if !asks.hosts.is_empty() || !asks.private_hosts.is_empty() {
        Effect::Irreversible
    } else if writes(asks) {
        Effect::Reversible
    } else {
        Effect::Pure
    }
}

/// Makes the call of an example. What it does to files stays in a folder of its own.
async fn try_out(tool: &PackagedTool, number: u32, example: &Shown) -> Result<(), ToolError> {
    let folder = tempfile::tempdir()
        .map_err(|why| ToolError::Fatal(format!("no folder for examples can be made: {why}")))?;
    let called = called(tool, number, &example.input, folder.path()).await;
    let in_another_way = || "write the function in another way".to_owned();
    let fault = match (called, &example.output) {
        (Ok(output), Some(wanted)) => {
            let given = output.data.unwrap_or_default();
            let differs = !is_same_json(&given, wanted);
            let given = short(&given);
            let written = example.called.as_deref().unwrap_or_default();
            let mend = format!("if {given} is right, write {written} => {given}; if it is not, ");
            differs.then(|| {
                let why = format!("expected {}, got {given}", short(wanted));
                (why, mend + &in_another_way())
            })
        }
        (Ok(output), None) => {
            let given = short(&output.data.unwrap_or_default());
            let why =
                format!("expected an error, got {given}; throw an Error when the input is bad");
            Some((
                why,
                "let the check throw on that, or give other bad input".to_owned(),
            ))
        }
        (Err(fatal @ ToolError::Fatal(_)), _) => return Err(fatal),
        (Err(why), None) if is_thrown(tool, &why) => None,
        (Err(why), Some(wanted)) => {
            let why = format!("expected {}, got an error: {why}", short(wanted));
            Some((why, in_another_way()))
        }
        (Err(why), None) => {
            let why = format!("expected an error that it throws, got: {why}");
            Some((why, in_another_way()))
        }
    };
    let Some((why, mend)) = fault else {
        return Ok(());
    };
    Err(rejected(match &example.called {
        None => format!("the tool was not made. example {number}: {why}"),
        // A small model does not see what it wrote before.
        Some(called) => format!(
            "the tool was not made. example {number}, {called}: {why}.\nWrite the whole tool again: {mend}"
        ),
    }))
}

/// Whether a call failed with what the source threw, and was not stopped.
fn is_thrown(tool: &PackagedTool, why: &ToolError) -> bool {
    let name = &tool.described().spec.name;
    why.to_string().starts_with(&format!("{name}: "))
}

async fn called(
    tool: &PackagedTool,
    number: u32,
    input: &Value,
    folder: &Path,
) -> Result<ToolOutput, ToolError> {
    let call = Call {
        id: CallId {
            reply: number,
            index: 0,
        },
        name: tool.described().spec.name.clone(),
        args: input.clone(),
        attempt: 1,
    };
    let context = ToolContext {
        run: RunId::random(),
        workspace: folder.to_owned(),
        trust: Label::Own,
        may_change: true,
    };
    tool.call_logged(&call, &context).await.result
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let head = crate::text::head(&text, SHOWN);
    match head.len() == text.len() {
        true => text,
        false => format!("{head}…"),
    }
}

fn told(why: &WasmError) -> ToolError {
    rejected(format!("the tool was not made: {why}"))
}

#[async_trait]
impl Tool for MakeTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        self.make(call, context).await
    }

    fn open_made(&self, made: &Made) -> Result<Arc<dyn Tool>, ToolError> {
        let tool = self.store.open(made).map_err(|why| told(&why))?;
        Ok(tool)
    }

    async fn preview(&self, call: &Call, _: &ToolContext) -> Option<String> {
        let args = read(&call.args).ok()?;
        let asks = args.needs.unwrap_or_default();
        let lines = asks.lines().join("\n  ");
        Some(format!(
            "the tool {} needs:\n  {lines}\n\n{}",
            args.name, args.source
        ))
    }
}
