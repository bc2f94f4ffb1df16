//! `gpak models`.

use std::path::Path;

use gpak_kernel::model::catalogue::State;

use crate::{
    args::ModelsCommand,
    choice,
    commands::{bench, print_json},
    failure::{DONE, Failure},
    home::Home,
    pulling,
    settings::Settings,
    wire,
};

/// `gpak models`
pub async fn models(home: &Home, command: ModelsCommand, json: bool) -> Result<u8, Failure> {
    match command {
        ModelsCommand::List => {
            list(home, json)?;
            used(home, json).await
        }
        ModelsCommand::Pull { model } => {
            let store = wire::models(home)?;
            let default = store.catalogue().default_entry().map(|entry| entry.id());
            let id = model
                .or(default)
                .ok_or_else(|| Failure::usage("the catalogue has no default model; name one"))?;
            tell(&pulling::pull(store, id).await?, json)
        }
        ModelsCommand::Add { file } => {
            let store = wire::models(home)?;
            tell(&pulling::add(store, file).await?, json)
        }
        ModelsCommand::Bench(args) => bench::bench(home, args, json).await,
    }
}

fn tell(located: &gpak_kernel::model::catalogue::Located, json: bool) -> Result<u8, Failure> {
    if json {
        print_json(&serde_json::json!({"model": located.id, "path": located.path}));
    } else {
        say!("{} is in {}", located.id, located.path.display());
    }
    Ok(DONE)
}

/// Which model a run would use, and why.
async fn used(home: &Home, json: bool) -> Result<u8, Failure> {
    let settings = Settings::read(home, Path::new("."))?;
    let chosen = choice::choose(&settings, &[]).await;
    let (id, why) = (chosen.id_or_default(home)?, chosen.why());
    if json {
        print_json(&serde_json::json!({"used": id, "why": why}));
    } else {
        say!("\na run uses {id}: {why}");
    }
    Ok(DONE)
}

fn list(home: &Home, json: bool) -> Result<(), Failure> {
    for listed in wire::models(home)?.list() {
        let state = match listed.state {
            State::Here { .. } => "here",
            State::Partial { .. } => "in part",
            State::Absent => "can be pulled",
            State::Damaged { .. } => "damaged",
        };
        if json {
            print_json(&serde_json::json!({
                "model": listed.id,
                "path": listed.path,
                "state": state,
                "catalogue": listed.entry,
            }));
            continue;
        }
        let said = listed.entry.map(|entry| {
            let default = if entry.default { ", the default" } else { "" };
            let (megabytes, licence, note) = (entry.bytes / 1_000_000, entry.licence, entry.note);
            format!("{megabytes} MB, {licence}{default}: {note}")
        });
        say!("{:44} {state:14} {}", listed.id, said.unwrap_or_default());
    }
    Ok(())
}
