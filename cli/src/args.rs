//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gpak_kernel::{
    event::Choice,
    identity::Policy,
    memory::{EpisodeId, Kind},
    policy::{Access, Rule},
    run::Status,
};
use gpak_tools::{mcp::ServerName, wasm::Language};

use crate::{
    commands::{
        core::CoreArgs, identity::args::IdentityCommand, reflexd::ReflexdArgs,
        robot::args::RobotCommand,
    },
    link::LinkArgs,
    serve::args::ServeArgs,
    settings::BudgetChange,
};

/// gpak: an agent kernel. It runs a task in a folder, with tools, and loses nothing.
#[derive(Debug, Parser)]
#[command(
    name = "gpak",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Prints JSON, one object a line, on standard output
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a task in a folder until it is done
    Run(RunArgs),
    /// Talk with a model that works in a folder: messages, approvals, undo; standard input where there is no terminal
    Chat(ChatArgs),
    /// Go on with a run that was interrupted, is out of budget, or waits for somebody
    Resume(ResumeArgs),
    /// Look at runs: list, show, events, fork, replay, verify, export
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Put back every file that a run changed
    Undo {
        /// The run, or the beginning of its id [default: the latest]
        run: Option<String>,
    },
    /// The tools that runs can call: list, show, add, test, call, export, remove, login, logout, new, componentize
    #[command(subcommand)]
    Tools(ToolsCommand),
    /// The models of this machine: list, pull, add, bench
    #[command(subcommand)]
    Models(ModelsCommand),
    /// What is remembered: add, search, list, show, forget, stats, export, import, bench
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Who the agent is: init, show, edit, reflect, proposals, log, diff, revert, verify, sync, export, import, key
    #[command(subcommand)]
    Identity(Box<IdentityCommand>),
    /// Be the core of nodes: tell them who they are, and take in what they learnt; enrol, forget
    Core(Box<CoreArgs>),
    /// Be driven by an editor, over standard input and output (Agent Client Protocol)
    Acp(AcpArgs),
    /// Be an MCP server over standard input and output: the tools, memory, and tasks for the agent
    Mcp(McpArgs),
    /// Serve runs over HTTP, to programs and people of this machine: REST, OpenAI's protocol, MCP
    Serve(Box<ServeArgs>),
    /// A robot's body: run, sim, status, stop, release, peers, replay
    #[command(subcommand)]
    Robot(Box<RobotCommand>),
    /// The reflexes of a robot, in a process of their own (`gpak robot run` starts it); measures them
    Reflexd(Box<ReflexdArgs>),
    /// Compare strategies on the evaluation set: what each solves, and what it takes
    Eval(EvalArgs),
    /// The settings, and where each came from
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what is there and what to do about what is not
    Doctor(Place),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The folder that is worked in.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The folder to work in
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub workspace: PathBuf,
}

/// What bounds a run.
#[derive(Debug, Clone, Args)]
pub struct Bounds {
    /// Do without asking what would be asked for; what the policy denies stays denied
    #[arg(short, long)]
    pub yes: bool,

    /// Bounds, as in `steps=60,minutes=30,tokens=500000,cost=0.5`
    #[arg(long, value_name = "BOUNDS", value_parser = BudgetChange::parse)]
    pub budget: Option<BudgetChange>,

    /// Allow a tool: `TOOL` or `TOOL:ARGUMENT=PATTERN`, as in `run_command:command=cargo *`
    #[arg(long, value_name = "RULE", value_parser = allow)]
    pub allow: Vec<Rule>,

    /// Deny a tool, likewise
    #[arg(long, value_name = "RULE", value_parser = deny)]
    pub deny: Vec<Rule>,

    /// How the active and the core self share the work: local-first, cloud-first, local-only, cloud-only or
    /// cascade
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<Policy>,

    /// Recall nothing of earlier runs, and remember nothing of this one
    #[arg(long)]
    pub no_memory: bool,
}

/// `gpak run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The task, in your words; read from standard input where it is not given or is `-`
    #[arg(value_name = "TASK")]
    pub task: Vec<String>,

    /// The model, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    /// A command that must succeed before an answer counts, as in `cargo test`; may be given again
    ///
    /// It is run in the workspace, by `sh`, without asking. Given as nothing, none of the settings is run.
    #[arg(long, value_name = "COMMAND")]
    pub check: Vec<String>,

    /// How to do it; `auto` lets the model choose [default: react]
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyArg>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub place: Place,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub link: LinkArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// The strategies that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyArg {
    /// The model chooses, and it changes where it does not help
    Auto,
    /// Answer at once, without tools
    Direct,
    /// Look and act, step by step
    React,
    /// Keep a plan, whose items end with evidence
    Plan,
    /// Try several ways in copies of the workspace, and keep the best
    Search,
}

impl From<StrategyArg> for Choice {
    fn from(strategy: StrategyArg) -> Self {
        match strategy {
            StrategyArg::Auto => Self::Auto,
            StrategyArg::Direct => Self::Direct,
            StrategyArg::React => Self::React,
            StrategyArg::Plan => Self::Plan,
            StrategyArg::Search => Self::Search,
        }
    }
}

/// `gpak chat`
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// The first message, in your words; without one you are asked for it
    #[arg(value_name = "MESSAGE")]
    pub message: Vec<String>,

    /// Go on with this conversation [default: the latest]
    #[arg(short, long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,

    /// The model, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub place: Place,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// `gpak acp`
#[derive(Debug, Args)]
pub struct AcpArgs {
    /// The model, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// `gpak mcp`
#[derive(Debug, Args)]
pub struct McpArgs {
    /// The model that does tasks, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub place: Place,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// `gpak resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run, or the beginning of its id [default: the latest]
    pub run: Option<String>,

    /// Another model than before
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub link: LinkArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// `gpak tools login`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The server's name in the settings: [mcp.NAME]
    pub server: ServerName,
    /// Ask that this be allowed, too, as an error named it; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Print the address, and open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// Seconds that the login may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    #[command(flatten)]
    pub place: Place,
}

/// `gpak tools`
#[derive(Debug, Subcommand)]
pub enum ToolsCommand {
    /// List all tools, and where each comes from
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show a package: its tools, what it was granted, where it is from; or a tool that a run made here
    Show {
        /// The package, or one of its tools
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Add the package in a folder, once you grant what it asks for
    Add {
        /// The folder with its tool.toml
        folder: PathBuf,
        /// Grant all that it asks for, without asking
        #[arg(short, long)]
        yes: bool,
    },
    /// Make the examples of a package, and say which do not come out as they should
    Test {
        /// The package, or one of its tools
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Call a tool of a package
    Call {
        /// The tool
        tool: String,
        /// Its arguments, as JSON
        input: String,
        #[command(flatten)]
        place: Place,
    },
    /// Write a tool that a run made here into a folder, which others can add
    Export {
        /// The tool
        name: String,
        /// The folder, which is made
        folder: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a package, or a tool that runs made here with all its versions
    Remove {
        /// The package or tool
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Log in to an MCP server of the settings, in a browser
    Login(LoginArgs),
    /// Forget the login to an MCP server
    Logout {
        /// The server's name in the settings: [mcp.NAME]
        server: ServerName,
        #[command(flatten)]
        place: Place,
    },
    /// Make a project of a tool, in a folder of its name: a small tool that builds, with examples
    New {
        /// What it is written in
        #[arg(long, value_enum)]
        lang: LanguageArg,
        /// The tool's name: a to z, 0 to 9 and _
        name: String,
    },
    /// Make a component of a core module, as C, Rust and WAT give it
    Componentize {
        /// The module, or its text (WAT)
        module: PathBuf,
        /// The folder with the WIT of its world [default: gpak's own]
        #[arg(long, value_name = "FOLDER")]
        wit: Option<PathBuf>,
        /// Its world [default: the one that the module names, else `tool`]
        #[arg(long, value_name = "WORLD")]
        world: Option<String>,
        /// The file to write
        #[arg(short, long, value_name = "COMPONENT")]
        output: PathBuf,
    },
}

/// What a tool can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    /// Rust, with wit-bindgen
    Rust,
    /// C, without a library
    C,
    /// JavaScript, run as it is by the interpreter that comes with gpak
    Js,
    /// Python, with componentize-py
    Python,
    /// The text of Wasm
    Wat,
}

impl From<LanguageArg> for Language {
    fn from(language: LanguageArg) -> Self {
        match language {
            LanguageArg::Rust => Self::Rust,
            LanguageArg::C => Self::C,
            LanguageArg::Js => Self::JavaScript,
            LanguageArg::Python => Self::Python,
            LanguageArg::Wat => Self::Wat,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first
    List {
        /// Only those that are
        #[arg(long, value_enum)]
        status: Option<StatusArg>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a run as a tree of steps
    Show {
        /// The run, or the beginning of its id [default: the latest]
        run: Option<String>,
        /// Show results whole, not their first lines
        #[arg(long)]
        full: bool,
    },
    /// Print the entries of a run
    Events {
        /// The run, or the beginning of its id [default: the latest]
        run: Option<String>,
        /// From this number on
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Go on as entries are written, until the run ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Make a run that shares the entries of another up to a point; `gpak resume` goes on from there
    Fork {
        /// The run, or the beginning of its id
        run: String,
        /// The last entry to share [default: the last there is before its end]
        #[arg(long, value_name = "NUMBER")]
        at: Option<u64>,
        /// The folder the fork works in [default: the same]
        #[arg(short = 'C', long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Check that the same replies still lead to the same decisions, or do a run again
    Replay {
        /// The run, or the beginning of its id [default: the latest]
        run: Option<String>,
        /// Do it again for real in this folder, with the recorded replies
        #[arg(short = 'C', long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Check that no entry was changed after it was written
    Verify {
        /// The run, or the beginning of its id [default: all]
        run: Option<String>,
    },
    /// Write a run as JSON lines, one entry each
    Export {
        /// The run, or the beginning of its id [default: the latest]
        run: Option<String>,
        /// The file [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// The statuses of a run.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "each is the status of that name")]
pub enum StatusArg {
    Pending,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl From<StatusArg> for Status {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Pending => Self::Pending,
            StatusArg::Running => Self::Running,
            StatusArg::Waiting => Self::Waiting,
            StatusArg::Completed => Self::Completed,
            StatusArg::Failed => Self::Failed,
            StatusArg::Cancelled => Self::Cancelled,
        }
    }
}

/// `gpak models`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the models that are here and those that can be pulled
    List,
    /// Fetch a model, once
    Pull {
        /// The model [default: the default model]
        model: Option<String>,
    },
    /// Add a model from a file that is already here
    Add {
        /// The GGUF file
        file: PathBuf,
    },
    /// Measure a model: how fast it is, how well it calls tools, how well it does tasks
    Bench(BenchArgs),
}

/// `gpak memory`
#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// Remember a text
    Add(AddArgs),
    /// Find what fits a question, and say why it was found
    Search(SearchArgs),
    /// List what is remembered, latest first
    List {
        /// Of this namespace only
        #[arg(long)]
        namespace: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Also what was true once and is not any more, and what was merged into another one
        #[arg(long)]
        past: bool,
    },
    /// Show all that is known of one memory
    Show {
        /// Its id
        id: EpisodeId,
    },
    /// Delete memories for good: their text is nowhere in the file afterwards
    Forget {
        /// Their ids
        #[arg(required_unless_present = "namespace")]
        ids: Vec<EpisodeId>,
        /// All of this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Put in order what is new: merge what says the same, end what is not true any more, let what is never
    /// used matter less
    Consolidate {
        /// And let this model find facts in the latest runs, as `provider/name` or `embedded`
        #[arg(short, long, value_name = "MODEL")]
        model: Option<String>,
        /// So many of the latest runs
        #[arg(long, default_value_t = 10, requires = "model")]
        runs: usize,
    },
    /// Make the vectors of another embedder again, after `memory.embedder` was changed
    ///
    /// May be interrupted at any time, and goes on where it was. Meanwhile what has no vector yet is found by
    /// its words.
    Reembed,
    /// Count what is remembered
    Stats,
    /// Write memories as JSON, one a line, with their vectors
    Export {
        /// Of this namespace only
        #[arg(long)]
        namespace: Option<String>,
        /// The file to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read memories that were exported
    Import {
        /// The file
        file: PathBuf,
    },
    /// Measure how much of what is looked for is found, or how fast
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Bench {
        /// How much is found: conversations in LoCoMo's format, as in `locomo10.json`
        #[arg(long, value_name = "FILE", group = "what")]
        dataset: Option<PathBuf>,
        /// How fast: so many made-up episodes
        #[arg(long, value_name = "EPISODES", group = "what")]
        synthetic: Option<usize>,
        /// What the made-up episodes are made from
        #[arg(long, default_value_t = 1, conflicts_with = "dataset")]
        seed: u64,
        /// The folder for the store of the bench, which must be empty [default: one that is removed afterwards]
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

/// `gpak memory add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The text; read from standard input where it is not given or is `-`
    pub text: Vec<String>,
    /// The namespace: separate agents and users have separate ones
    #[arg(long, default_value = "")]
    pub namespace: String,
    /// `episodic` (what happened), `semantic` (what is true) or `procedural` (how it is done)
    #[arg(long, default_value = "semantic")]
    pub kind: Kind,
    /// When it happened, as in `2026-11-26T10:00:00Z` [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<jiff::Timestamp>,
    /// How much it matters, from 0 to 1
    #[arg(long, default_value_t = 0.5)]
    pub importance: f32,
    /// A word to find it by; may be given again
    #[arg(long)]
    pub tag: Vec<String>,
}

/// `gpak memory search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The question, or words of what is looked for
    #[arg(required = true)]
    pub text: Vec<String>,
    /// The namespace
    #[arg(long, default_value = "")]
    pub namespace: String,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 10)]
    pub limit: usize,
    /// At most so many tokens together
    #[arg(long)]
    pub tokens: Option<usize>,
    /// So many turns before and after each hit, too
    #[arg(long, default_value_t = 0)]
    pub neighbours: usize,
    /// Of this kind only; may be given again
    #[arg(long)]
    pub kind: Vec<Kind>,
    /// With this tag only; may be given again
    #[arg(long)]
    pub tag: Vec<String>,
}

/// `gpak models bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The model [default: as for `run`]
    #[arg(short, long)]
    pub model: Option<String>,
    /// Measure a llama.cpp server with the same texts in turn, and print the ratios
    ///
    /// Start it on the same file: `llama-server -m FILE --port 8080`, or after `pip install xllamacpp`:
    /// `python -c "import xllamacpp as x; p = x.CommonParams(); p.model.path = 'FILE'; p.n_ctx = 8192;
    /// p.n_parallel = 1; p.port = 8080; s = x.Server(p); input()"`. Nothing else should run meanwhile.
    #[arg(long, value_name = "URL", conflicts_with_all = ["agent", "bfcl"])]
    pub peer: Option<String>,
    /// Run our agent tasks
    #[arg(long)]
    pub agent: bool,
    /// The agent tasks of this folder, not the built-in ones
    #[arg(long, value_name = "DIR", requires = "agent")]
    pub tasks: Option<PathBuf>,
    /// Only these tasks
    #[arg(long, value_name = "ID", requires = "agent")]
    pub only: Vec<String>,
    /// Only one half of the tasks
    #[arg(long, value_enum, requires = "agent")]
    pub half: Option<Half>,
    /// Run the first so many cases of each part of the Berkeley Function Calling data
    #[arg(long, value_name = "CASES", num_args = 0..=1, default_missing_value = "100")]
    pub bfcl: Option<usize>,
}

/// `gpak eval`
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The model [default: as for `run`]
    #[arg(short, long)]
    pub model: Option<String>,
    /// What to compare; `chosen` lets the model choose for each task
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub strategies: Vec<Compared>,
    /// Compare these policies of a mind of two instead, each with what it takes of the core self: `local-only`, `cascade`,
    /// `cloud-only` and so on; `[mind]` in the settings names the two selves
    #[arg(
        long,
        value_name = "POLICY",
        value_delimiter = ',',
        conflicts_with_all = ["strategies", "model"]
    )]
    pub policies: Vec<Policy>,
    /// The tasks of this folder, not the built-in ones
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
    /// Only these tasks
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Only one half of the tasks
    #[arg(long, value_enum)]
    pub half: Option<Half>,
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[allow(missing_docs, reason = "each is the strategy of that name")]
pub enum Compared {
    Direct,
    React,
    Plan,
    Search,
    Chosen,
    All,
}

/// The halves of a set of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Half {
    /// May be looked at to make the agent better
    Tuning,
    /// Is only measured
    HeldOut,
}

/// `gpak config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings
    Show {
        /// Say where each came from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        #[allow(
            missing_docs,
            reason = "clap shows the doc comment of a flattened field"
        )]
        place: Place,
    },
    /// Print where settings, data and models are kept
    Paths,
}

/// `TOOL` or `TOOL:ARGUMENT=PATTERN`, allowed.
pub fn allow(text: &str) -> Result<Rule, String> {
    rule(Access::Allow, text)
}

fn deny(text: &str) -> Result<Rule, String> {
    rule(Access::Deny, text)
}

/// `TOOL` or `TOOL:ARGUMENT=PATTERN`.
fn rule(access: Access, text: &str) -> Result<Rule, String> {
    let (tool, arg) = match text.split_once(':') {
        Some((tool, arg)) => (tool, Some(arg)),
        None => (text, None),
    };
    let mut args = serde_json::Map::new();
    if let Some(arg) = arg {
        let (name, pattern) = arg
            .split_once('=')
            .ok_or("after `:` comes ARGUMENT=PATTERN, as in `run_command:command=cargo *`")?;
        args.insert(name.to_owned(), pattern.into());
    }
    if tool.is_empty() {
        return Err("it begins with the name of a tool, or `*`".to_owned());
    }
    Ok(Rule {
        access,
        tool: Some(tool.to_owned()),
        effect: None,
        args,
    })
}
