//! `gpak tools`: what a run can call, and the packages that the user adds.

mod login;
mod making;

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    tool::{Call, Effect, Tool as _, ToolContext, ToolError},
};
use gpak_tools::{
    builtin,
    forge::{Kept, MadeStore, MakeTool},
    script::{RunScript, ScriptLimits},
    wasm::{
        Asks, Called, Candidate, Example, Package, PackagedTool, Packages, WasmError, is_same_json,
    },
};
use serde_json::{Value, json};

use crate::{
    args::{Place, ToolsCommand},
    commands::print_json,
    failure::{DONE, FAILED, Failure, NEEDS_APPROVAL},
    home::Home,
    user_space::{self, options},
    wire,
};

/// `gpak tools`
pub async fn tools(home: &Home, command: ToolsCommand, json: bool) -> Result<u8, Failure> {
    let packages = user_space::packages(home, options(home));
    let shelf = |place: &Place| {
        let made = user_space::made(home, &packages);
        let packages = packages.clone();
        wire::workspace(&place.workspace).map(|workspace| Shelf {
            packages,
            made,
            workspace,
        })
    };
    match command {
        ToolsCommand::List { place } => list(&shelf(&place)?, home, json),
        ToolsCommand::Show { name, place } => shelf(&place)?.show(&name, json),
        ToolsCommand::Add { folder, yes } => add(&packages, home, &folder, yes, json).await,
        ToolsCommand::Test { name, place } => test(&shelf(&place)?, &name, json).await,
        ToolsCommand::Call { tool, input, place } => {
            call(shelf(&place)?, &tool, &input, json).await
        }
        ToolsCommand::Export {
            name,
            folder,
            place,
        } => shelf(&place)?.export(&name, &folder, json),
        ToolsCommand::Remove { name, place } => shelf(&place)?.remove(&name, json),
        ToolsCommand::Login(asked) => login::login(home, asked, json).await,
        ToolsCommand::Logout { server, place } => login::logout(home, &server, &place, json),
        ToolsCommand::New { lang, name } => {
            making::new(lang.into(), &name, &user_space::reserved(home), json)
        }
        ToolsCommand::Componentize {
            module,
            wit,
            world,
            output,
        } => making::componentize(&module, wit.as_deref(), world.as_deref(), &output, json),
    }
}

/// All tools that are the user's: the packages, and what runs made in a workspace.
struct Shelf {
    packages: Packages,
    made: MadeStore,
    workspace: PathBuf,
}

impl Shelf {
    /// The tool of that name that was made in the workspace.
    fn made(&self, name: &str) -> Result<Option<Kept>, Failure> {
        Ok(self.made.latest(&self.workspace, name)?)
    }

    /// The tools of the package of that name, or that has a tool of that name, or the tool that was made.
    fn tools(&self, name: &str) -> Result<(Vec<Example>, Vec<Arc<PackagedTool>>), Failure> {
        if let Some(kept) = self.made(name)? {
            let (manifest, _) = self.made.source(&kept.made)?;
            return Ok((manifest.examples, vec![self.made.open(&kept.made)?]));
        }
        let package = self.packages.with_tool(name)?;
        let examples = package.manifest.examples.clone();
        Ok((examples, self.packages.tools_of(package)))
    }

    fn show(&self, name: &str, json: bool) -> Result<u8, Failure> {
        let Some(kept) = self.made(name)? else {
            return show(&self.packages.with_tool(name)?, json);
        };
        let (manifest, source) = self.made.source(&kept.made)?;
        if json {
            print_json(&json!({
                "name": name, "version": kept.made.version, "run": kept.run, "workspace": kept.workspace,
                "time": kept.time, "hash": kept.made.hash, "manifest": manifest, "source": source,
            }));
            return Ok(DONE);
        }
        let spec = &kept.made.spec;
        say!("{name}: {}", spec.description);
        say!("{}, BLAKE3 {}", origin(&kept), kept.made.hash);
        print_asks("granted", &manifest.asks);
        say!("input {}\n\n{}\n", spec.input, source.trim_end());
        for example in &manifest.examples {
            let gives = example.output.as_ref();
            let gives = gives.map_or_else(|| "an error".to_owned(), ToString::to_string);
            say!("{} → {gives}", example.input);
        }
        Ok(DONE)
    }

    fn export(&self, name: &str, folder: &Path, json: bool) -> Result<u8, Failure> {
        if self.made(name)?.is_none() {
            return Err(
                Failure::new(format!("no run made a tool {name} in this workspace"))
                    .help("gpak tools list shows those there are; -C names another workspace"),
            );
        }
        let left_out = self.made.export(&self.workspace, name, folder)?;
        if json {
            print_json(&json!({"exported": name, "folder": folder, "examples_left_out": left_out}));
            return Ok(DONE);
        }
        let folder = folder.display();
        say!("wrote {name} to {folder}; others add it with gpak tools add {folder}");
        if left_out > 0 {
            say!("{left_out} of its examples are not in it, as a tool.toml has no null");
        }
        Ok(DONE)
    }

    fn remove(&self, name: &str, json: bool) -> Result<u8, Failure> {
        if !self.made.remove(&self.workspace, name)? {
            self.packages.remove(name)?;
        }
        if json {
            print_json(&json!({"removed": name}));
        } else {
            say!("removed {name}");
        }
        Ok(DONE)
    }
}

/// Where a made tool is from.
fn origin(kept: &Kept) -> String {
    let run = kept.run.short();
    format!("made here, run {run}, version {}", kept.made.version)
}

fn list(shelf: &Shelf, home: &Home, json: bool) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    for tool in builtin::all(&options(home)) {
        rows.push((tool.spec().clone(), "gpak".to_owned()));
    }
    let cache = user_space::code_cache(home);
    let scripts = RunScript::new(&options(home), cache, ScriptLimits::default());
    rows.push((scripts.spec().clone(), "gpak".to_owned()));
    let maker = MakeTool::new(shelf.made.clone(), BTreeSet::new());
    rows.push((maker.spec().clone(), "gpak".to_owned()));
    let listed = shelf.packages.list()?;
    for package in &listed.packages {
        let of = format!("{} {}", package.name(), package.manifest.version);
        let tools = package.tools.iter();
        rows.extend(tools.map(|tool| (tool.spec.clone(), of.clone())));
    }
    let mut broken = Vec::new();
    for name in shelf.made.names(&shelf.workspace) {
        match shelf.made(&name) {
            Ok(Some(kept)) => rows.push((kept.made.spec.clone(), origin(&kept))),
            Ok(None) => {}
            Err(why) => broken.push(why),
        }
    }
    for (spec, of) in &rows {
        if json {
            print_json(
                &json!({"name": spec.name, "effect": spec.effect, "from": of, "description": spec.description}),
            );
        } else {
            let effect = named(spec.effect);
            let first = spec.description.lines().next().unwrap_or_default();
            let first = crate::show::shorten(first, 70);
            say!("{:20} {effect:13} {of:18} {first}", spec.name);
        }
    }
    for unusable in &listed.unusable {
        eprintln!(
            "gpak: the package {} cannot be used: {}",
            unusable.name, unusable.why
        );
    }
    for why in &broken {
        eprintln!("gpak: {why}");
    }
    Ok(if listed.unusable.is_empty() && broken.is_empty() {
        DONE
    } else {
        FAILED
    })
}

/// An effect by the name that it has everywhere.
fn named(effect: Effect) -> String {
    let name = serde_json::to_value(effect).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn show(package: &Package, json: bool) -> Result<u8, Failure> {
    if json {
        print_json(package);
        return Ok(DONE);
    }
    say!("{} {}", package.name(), package.manifest.version);
    if !package.manifest.description.is_empty() {
        say!("{}", package.manifest.description);
    }
    say!("from {}, BLAKE3 {}", package.origin.display(), package.hash);
    print_asks("granted", &package.grant);
    for tool in &package.tools {
        say!("\n{}: {}", tool.spec.name, tool.spec.description);
        say!("  input {}", tool.spec.input);
    }
    Ok(DONE)
}

fn print_asks(what: &str, asks: &Asks) {
    let lines = asks.lines();
    if lines.is_empty() {
        say!("{what}: nothing; it can compute and nothing else");
    } else {
        say!("{what}:");
    }
    for line in lines {
        say!("  {line}");
    }
}

async fn add(
    packages: &Packages,
    home: &Home,
    folder: &Path,
    yes: bool,
    json: bool,
) -> Result<u8, Failure> {
    let candidate = packages.read(folder).await?;
    let asks = &candidate.manifest.asks;
    if json {
        let tools: Vec<_> = candidate.tools.iter().map(|tool| &tool.spec).collect();
        print_json(&json!({
            "name": candidate.manifest.name, "version": candidate.manifest.version,
            "hash": candidate.hash, "asks": asks, "asks_in_words": asks.lines(), "tools": tools,
        }));
    } else {
        tell(&candidate);
    }
    if !yes && !agreed(json)? {
        eprintln!(
            "gpak: nothing was added; gpak tools add --yes {} grants this",
            folder.display()
        );
        return Ok(NEEDS_APPROVAL);
    }
    let package = packages.add(&candidate, asks.clone(), &user_space::reserved(home))?;
    if json {
        print_json(&json!({"added": package.name()}));
    } else {
        say!(
            "added {}; gpak tools test {0} makes its examples",
            package.name()
        );
    }
    Ok(DONE)
}

fn tell(candidate: &Candidate) {
    say!("{} {}", candidate.manifest.name, candidate.manifest.version);
    for tool in &candidate.tools {
        let effect = named(tool.spec.effect);
        say!("  {} ({effect}): {}", tool.spec.name, tool.spec.description);
    }
    print_asks("it asks for", &candidate.manifest.asks);
}

/// Asks at a terminal; elsewhere nobody agrees.
fn agreed(json: bool) -> Result<bool, Failure> {
    if json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("Grant this and add it? [y/N] ");
    let unread = |why: std::io::Error| Failure::new(format!("the terminal cannot be read: {why}"));
    std::io::stderr().flush().map_err(unread)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(unread)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn test(shelf: &Shelf, name: &str, json: bool) -> Result<u8, Failure> {
    let (examples, tools) = shelf.tools(name)?;
    if examples.is_empty() {
        return Err(Failure::new(format!("{name} has no examples to make"))
            .help("write some as [[examples]] with input and output in its tool.toml, and add it again"));
    }
    // What examples do to files stays in a folder of their own.
    let folder = tempfile::tempdir()
        .map_err(|why| Failure::new(format!("no folder for the examples can be made: {why}")))?;
    let mut failed = 0;
    for (number, example) in (1..).zip(&examples) {
        let tool = tool_of(&tools, example)?;
        let called = made(tool, &example.input, folder.path().to_owned(), number).await;
        let why = judge(example, &called);
        let name = &tool.described().spec.name;
        if json {
            print_json(
                &json!({"tool": name, "input": example.input, "passed": why.is_none(), "why": why}),
            );
        } else {
            match &why {
                None => say!("✓ {name} {}", example.input),
                Some(why) => say!("✗ {name} {}: {why}", example.input),
            }
        }
        failed += usize::from(why.is_some());
    }
    Ok(if failed == 0 { DONE } else { FAILED })
}

fn tool_of<'a>(
    tools: &'a [std::sync::Arc<PackagedTool>],
    example: &Example,
) -> Result<&'a PackagedTool, Failure> {
    let is_it = |tool: &&std::sync::Arc<PackagedTool>| {
        let name = &tool.described().spec.name;
        example.tool.as_ref().is_none_or(|wanted| wanted == name)
    };
    let found = tools.iter().find(is_it).map(AsRef::as_ref);
    found.ok_or_else(|| Failure::new("an example names a tool that the package does not have"))
}

/// Why an example did not come out as it says, if so.
fn judge(example: &Example, called: &Called) -> Option<String> {
    match (&called.result, &example.error) {
        (Ok(given), None) => {
            let wanted = example.output.as_ref()?;
            let given = given.data.as_ref().unwrap_or(&Value::Null);
            (!is_same_json(given, wanted)).then(|| format!("it gave {given} and not {wanted}"))
        }
        (Ok(given), Some(error)) => Some(format!(
            "it gave {} and not the error {error:?}",
            given.text
        )),
        (Err(why), Some(error)) if why.to_string().contains(error) => None,
        (Err(why), _) => Some(why.to_string()),
    }
}

async fn call(shelf: Shelf, name: &str, input: &str, json: bool) -> Result<u8, Failure> {
    let input: Value = serde_json::from_str(input).map_err(|why| {
        Failure::usage(format!("the input is no JSON: {why}")).help(format!(
            "it looks like gpak tools call {name} '{{\"text\": \"…\"}}'"
        ))
    })?;
    let (_, tools) = shelf.tools(name)?;
    let Some(tool) = tools.iter().find(|tool| tool.described().spec.name == name) else {
        let names: Vec<_> = tools
            .iter()
            .map(|tool| tool.described().spec.name.as_str())
            .collect();
        return Err(Failure::usage(format!(
            "{name} is a package; name one of its tools: {}",
            names.join(", ")
        )));
    };
    let called = made(tool, &input, shelf.workspace, 1).await;
    for line in &called.log.lines {
        eprintln!("{}: {}", line.level, line.message);
    }
    match called.result {
        Ok(output) if json => print_json(&json!({"output": output.data, "text": output.text})),
        Ok(output) => say!("{}", output.text),
        Err(why) => return Err(Failure::new(why.to_string())),
    }
    Ok(DONE)
}

/// Makes a call whose arguments the tool's schema accepts, as a run of its own.
async fn made(tool: &PackagedTool, input: &Value, workspace: PathBuf, number: u32) -> Called {
    let spec = &tool.described().spec;
    if let Err(why) = jsonschema::validate(&spec.input, input) {
        let why = format!("the input is not what {} takes: {why}", spec.name);
        return Called {
            result: Err(ToolError::Rejected(why)),
            log: Default::default(),
        };
    }
    let call = Call {
        id: CallId {
            reply: number,
            index: 0,
        },
        name: spec.name.clone(),
        args: input.clone(),
        attempt: 1,
    };
    let context = ToolContext {
        run: RunId::random(),
        workspace,
        trust: Label::Own,
        may_change: true,
    };
    tool.call_logged(&call, &context).await
}

impl From<WasmError> for Failure {
    fn from(error: WasmError) -> Self {
        Self::new(error.to_string())
    }
}
