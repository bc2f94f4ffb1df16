//! `gpak identity`.

pub mod args;
mod exchange;
pub mod superego;
mod tell;

use args::{EditCommand, IdentityCommand, InitArgs};
use gpak_kernel::{
    identity::{
        Core, Edit, Founding, History, ITEMS, ItemId, MOST_BYTES, SecretKey, Share, compile,
    },
    label::Label,
    memory::Origin,
};
use gpak_memory::{IdentityError, IdentityStore};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{
    commands::print_json,
    failure::{DONE, Failure, NEEDS_APPROVAL, file},
    home::Home,
    link, who, wire,
};

/// `gpak identity`
pub async fn identity(home: &Home, command: IdentityCommand, json: bool) -> Result<u8, Failure> {
    let store = who::store(home);
    match command {
        IdentityCommand::Init(args) => init(&store, args, json),
        IdentityCommand::Show {
            version,
            prompt: true,
            window,
        } => prompt(&history(&store)?, version, window, json),
        IdentityCommand::Show { version, .. } => tell::show(&history(&store)?, version, json),
        IdentityCommand::Edit { reason, edit } => {
            let asked = Asked::of(home, edit).await?;
            change(&store, &reason, asked, json)
        }
        IdentityCommand::Reflect(args) => superego::reflect(home, args, json).await,
        IdentityCommand::Proposals { command } => superego::proposals(home, command, json),
        IdentityCommand::Sync(args) => link::sync(home, args, json).await,
        IdentityCommand::Log { limit } => tell::log(&history(&store)?, limit, json),
        IdentityCommand::Diff { from, to } => tell::diff(&history(&store)?, from, to, json),
        IdentityCommand::Revert { version, yes } => revert(&store, version, yes, json),
        IdentityCommand::Verify { file, key } => {
            exchange::verify(&store, file.as_deref(), key, json)
        }
        IdentityCommand::Export { output } => exchange::export(&store, output.as_deref(), json),
        IdentityCommand::Import { file, key } => exchange::import(&store, &file, key, json),
        IdentityCommand::Key { export, import } => {
            exchange::key(&store, export.as_deref(), import.as_deref(), json)
        }
    }
}

fn history(store: &IdentityStore) -> Result<History, Failure> {
    let history = store.history()?;
    Ok(history.ok_or(IdentityError::None)?)
}

/// A file that an identity is made from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    name: String,
    #[serde(default)]
    persona: String,
    #[serde(default)]
    constitution: Vec<String>,
    #[serde(default)]
    mission: String,
    #[serde(default)]
    constraints: Vec<String>,
}

impl Said {
    fn of(args: InitArgs) -> Result<Self, Failure> {
        let Some(path) = args.from else {
            return Ok(Self {
                name: args.name.unwrap_or_default(),
                persona: args.persona,
                constitution: args.rule,
                mission: args.mission,
                constraints: args.constraint,
            });
        };
        let text = std::fs::read_to_string(&path).map_err(file(&path))?;
        toml::from_str(&text).map_err(|why| {
            Failure::usage(format!("{} cannot be read:\n{why}", path.display())).help(
                "it says `name`, and may say `persona`, `constitution` (a list), `mission` and \
                 `constraints` (a list)",
            )
        })
    }
}

fn init(store: &IdentityStore, args: InitArgs, json: bool) -> Result<u8, Failure> {
    let said = Said::of(args)?;
    let founding = Founding {
        core: Core {
            name: said.name,
            persona: said.persona,
            constitution: said.constitution,
        },
        mission: said.mission,
        constraints: said.constraints,
    };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|why| Failure::new(format!("this machine gives gpak no randomness: {why}")))?;
    let secret = SecretKey::from_bytes(&bytes);
    let history = History::found(&secret, founding, Timestamp::now())?;
    store.found(&secret, &history)?;
    if json {
        print_json(&tell::name(&history));
    } else {
        say!("{} is {}", history.capsule().core.name, history.identity());
        say!("public key {}", history.key());
        say!(
            "the secret key is in {}; keep a copy: `gpak identity key --export FILE`",
            store.key_file().display()
        );
    }
    Ok(DONE)
}

fn prompt(history: &History, version: Option<u64>, window: u32, json: bool) -> Result<u8, Failure> {
    let capsule = tell::at(history, version)?;
    let told = compile(&capsule, Share::of(window))?;
    let tokens = told.text.len().div_ceil(3);
    if json {
        print_json(&json!({"text": told.text, "tokens": tokens, "left_out": told.left_out}));
        return Ok(DONE);
    }
    say!("{}", told.text);
    let left: Vec<String> = told.left_out.iter().map(ItemId::to_string).collect();
    eprintln!("about {tokens} tokens of {window}");
    if !left.is_empty() {
        eprintln!("left out: items {}", left.join(", "));
    }
    Ok(DONE)
}

/// What the user asks for, with its evidence found.
struct Asked {
    edit: EditCommand,
    evidence: Vec<Origin>,
}

impl Asked {
    async fn of(home: &Home, edit: EditCommand) -> Result<Self, Failure> {
        let (EditCommand::Add { evidence, .. } | EditCommand::Revise { evidence, .. }) = &edit
        else {
            let evidence = Vec::new();
            return Ok(Self { edit, evidence });
        };
        let mut found = Vec::new();
        for place in evidence {
            found.push(entry(home, place).await?);
        }
        let evidence = found;
        Ok(Self { edit, evidence })
    }

    /// The edits, for the history as it is now.
    fn edits(self, history: &History) -> Vec<Edit> {
        let evidence = self.evidence;
        match self.edit {
            EditCommand::Add {
                text, label, pin, ..
            } => {
                let id = history.next_item();
                let add = Edit::Add {
                    id,
                    text,
                    evidence,
                    label,
                };
                let pin = pin.then_some(Edit::Pin { id });
                std::iter::once(add).chain(pin).collect()
            }
            EditCommand::Revise { item, text, .. } => vec![Edit::Revise {
                id: item,
                text,
                evidence,
                label: Label::User,
            }],
            EditCommand::Retire { item, into } => vec![Edit::Retire { id: item, into }],
            EditCommand::Pin { items } => each(items, |id| Edit::Pin { id }),
            EditCommand::Unpin { items } => each(items, |id| Edit::Unpin { id }),
            EditCommand::Endorse { items } => each(items, |id| Edit::Endorse { id }),
            EditCommand::Mission { text } => vec![Edit::Mission { text }],
            EditCommand::Constraints { texts } => vec![Edit::Constraints { texts }],
        }
    }
}

fn each(items: Vec<ItemId>, edit: impl Fn(ItemId) -> Edit) -> Vec<Edit> {
    items.into_iter().map(edit).collect()
}

/// The entry that `RUN:NUMBER` names, which must be there.
async fn entry(home: &Home, place: &str) -> Result<Origin, Failure> {
    let wrong = || {
        Failure::usage(format!("`{place}` names no entry"))
            .help("an entry is RUN:NUMBER, as in `1a2b3c4d:7`; `gpak runs events RUN` shows them")
    };
    let (run, number) = place.split_once(':').ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let journal = wire::journal(home)?;
    let run = wire::run_id(journal.as_ref(), Some(run)).await?;
    let entries = journal.read(run, number.max(1)).await?;
    match entries.first() {
        Some(found) if found.seq == number => Ok(Origin { run, entry: number }),
        _ => Err(wrong()),
    }
}

fn change(store: &IdentityStore, reason: &str, asked: Asked, json: bool) -> Result<u8, Failure> {
    let secret = store.secret()?;
    let history = store.extend(|history| {
        let edits = asked.edits(history);
        let edits = history.with_room(&Label::User, edits, ITEMS, MOST_BYTES)?;
        let now = Timestamp::now();
        let version = history.sign(&secret, Label::User, reason, now, edits)?;
        Ok::<_, Failure>(history.take(version)?)
    })?;
    tell::latest(&history, json)
}

fn revert(store: &IdentityStore, to: u64, yes: bool, json: bool) -> Result<u8, Failure> {
    let secret = store.secret()?;
    let history = store.extend(|history| {
        let now = history.capsule();
        let older = tell::at(history, Some(to))?;
        let is_lost = |id| older.item(id).is_none_or(|older| !older.pinned);
        let pinned = now.learned.iter().filter(|item| item.pinned);
        let lost: Vec<String> = pinned
            .filter(|item| is_lost(item.id))
            .map(|item| item.id.to_string())
            .collect();
        if !lost.is_empty() && !yes {
            let message = format!(
                "version {to} does not have these pinned items, or not pinned: {}",
                lost.join(", ")
            );
            let mut failure = Failure::new(message).help("`--yes` goes back all the same");
            failure.code = NEEDS_APPROVAL;
            return Err(failure);
        }
        let (edits, time) = (vec![Edit::Revert { to }], Timestamp::now());
        let version = history.sign(&secret, Label::User, "", time, edits)?;
        Ok(history.take(version)?)
    })?;
    tell::latest(&history, json)
}
