//! What can be typed behind `gpak identity`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gpak_kernel::{
    identity::{ItemId, PublicKey},
    label::Label,
};

use crate::link::LinkArgs;

/// `gpak identity`
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make an identity, with a secret key that only you can read
    Init(InitArgs),
    /// Show who the agent is
    Show {
        /// As of this version [default: the latest]
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
        /// The system prompt that it gives, and what is left out of it
        #[arg(long)]
        prompt: bool,
        /// Tokens of the window that the prompt is for
        #[arg(
            long,
            value_name = "TOKENS",
            default_value_t = 8192,
            requires = "prompt"
        )]
        window: u32,
    },
    /// Change it, which signs a new version
    Edit {
        /// Why, for the log
        #[arg(long, global = true, default_value = "")]
        reason: String,
        #[command(subcommand)]
        #[allow(
            missing_docs,
            reason = "clap shows the doc comment of a subcommand field"
        )]
        edit: EditCommand,
    },
    /// Learn of what was experienced since the last time: what is proposed is tried, and signed if it does no worse
    Reflect(ReflectArgs),
    /// List what reflection proposed and did not sign
    Proposals {
        #[command(subcommand)]
        #[allow(
            missing_docs,
            reason = "clap shows the doc comment of a subcommand field"
        )]
        command: Option<ProposalCommand>,
    },
    /// Ask the core who the agent is, and send it what was learnt, without a run
    Sync(SyncArgs),
    /// List its versions, latest first
    Log {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show what changed between two versions
    Diff {
        /// The earlier one [default: the one before the later one]
        from: Option<u64>,
        /// The later one [default: the latest]
        to: Option<u64>,
    },
    /// Go back to the content of an older version, byte by byte, with a new one
    Revert {
        /// The older version
        version: u64,
        /// Also where pinned items are lost by it
        #[arg(short, long)]
        yes: bool,
    },
    /// Check every version, and say which item of which version was changed
    Verify {
        /// A file that was exported [default: the identity that is here]
        file: Option<PathBuf>,
        /// The key it must be signed with [default: that of the identity that is here]
        #[arg(long, value_name = "KEY", requires = "file")]
        key: Option<PublicKey>,
    },
    /// Write all versions, one a line, without the secret key
    Export {
        /// The file [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take an identity from a file that was exported, or what is new in it
    Import {
        /// The file
        file: PathBuf,
        /// The key it must be signed with, as `gpak identity key` shows it where it was made
        #[arg(long, value_name = "KEY")]
        key: Option<PublicKey>,
    },
    /// Show the name and the public key, or move the secret key
    Key {
        /// Write the secret key to this file, to take it to another machine
        #[arg(long, value_name = "FILE", conflicts_with = "import")]
        export: Option<PathBuf>,
        /// Take the secret key from this file
        #[arg(long, value_name = "FILE")]
        import: Option<PathBuf>,
    },
}

/// `gpak identity init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What it is called
    #[arg(required_unless_present = "from")]
    pub name: Option<String>,
    /// Who it is and how it speaks
    #[arg(long, default_value = "")]
    pub persona: String,
    /// A rule of its constitution, which never changes; may be given again
    #[arg(long)]
    pub rule: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    pub mission: String,
    /// What binds it besides; may be given again
    #[arg(long)]
    pub constraint: Vec<String>,
    /// Take all of that from a TOML file: `name`, `persona`, `constitution`, `mission`, `constraints`
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["name", "persona", "rule", "mission", "constraint"]
    )]
    pub from: Option<PathBuf>,
}

/// `gpak identity reflect`
#[derive(Debug, Args)]
pub struct ReflectArgs {
    /// The model, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The folder with the scenarios, a TOML file each [default: `scenarios` beside the settings]
    #[arg(long, value_name = "FOLDER")]
    pub scenarios: Option<PathBuf>,
    /// Read all experiences again, from the first
    #[arg(long)]
    pub again: bool,
}

/// `gpak identity proposals`
#[derive(Debug, Subcommand)]
pub enum ProposalCommand {
    /// Sign one in spite of what failed
    Accept {
        /// Its number
        number: u32,
    },
    /// Throw one away
    Discard {
        /// Its number
        number: u32,
    },
}

/// `gpak identity sync`
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Tokens of the window that the prompt is for
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub window: u32,
    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub link: LinkArgs,
}

/// `gpak identity edit`
#[derive(Debug, Subcommand)]
pub enum EditCommand {
    /// Add something it learnt
    Add {
        /// What
        text: String,
        /// The entry that shows it, as `RUN:NUMBER`; may be given again
        #[arg(long, value_name = "RUN:NUMBER")]
        evidence: Vec<String>,
        /// Where it came from, as `user`, `tool:NAME` or `web:HOST`
        #[arg(long, default_value = "user")]
        label: Label,
        /// Keep it from being revised and retired
        #[arg(long)]
        pin: bool,
    },
    /// Say an item in other words
    Revise {
        /// The item
        item: ItemId,
        /// What it says from now on
        text: String,
        /// The entry that shows it, as `RUN:NUMBER`; may be given again
        #[arg(long, value_name = "RUN:NUMBER")]
        evidence: Vec<String>,
    },
    /// Take an item out; it stays in the history
    Retire {
        /// The item
        item: ItemId,
        /// The item that says the same
        #[arg(long, value_name = "ITEM")]
        into: Option<ItemId>,
    },
    /// Keep items from being revised and retired
    Pin {
        /// The items
        #[arg(required = true)]
        items: Vec<ItemId>,
    },
    /// Take pins off
    Unpin {
        /// The items
        #[arg(required = true)]
        items: Vec<ItemId>,
    },
    /// Stand by items that came from outside, so that the model is told of them
    Endorse {
        /// The items
        #[arg(required = true)]
        items: Vec<ItemId>,
    },
    /// Set the mission
    Mission {
        /// It; may be empty
        text: String,
    },
    /// Set the constraints
    Constraints {
        /// All of them; none takes those away that are there
        texts: Vec<String>,
    },
}
