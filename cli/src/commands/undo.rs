//! `gpak undo`.

use std::{path::Path, sync::Arc};

use gpak_kernel::{
    event::RunId,
    journal::Journal,
    memory::Memory,
    model::CallId,
    run::{
        Driver, Machine, Nobody, Remembering, replay,
        undo::{Undone, undoable},
    },
};
use gpak_tools::UndoStore;

use crate::{
    commands::print_json,
    failure::{DONE, FAILED, Failure},
    home::Home,
    settings::Settings,
    wire,
};

/// `gpak undo`: all or nothing. If anything changed since, it is named and nothing is touched.
pub async fn undo(home: &Home, prefix: Option<&str>, json: bool) -> Result<u8, Failure> {
    let journal = wire::journal(home)?;
    let run = wire::run_id(journal.as_ref(), prefix).await?;
    let settings = Settings::read(home, Path::new("/"))?;
    let memory = wire::memory(home, &settings).await;
    let undone = undone(home, (journal, memory), run).await?;
    if json {
        print_json(&serde_json::json!({
            "run": run,
            "restored": undone.restored,
            "refused": undone.refused,
            "irreversible": undone.irreversible,
            "forgotten": undone.forgotten,
        }));
    } else {
        for line in &undone.restored {
            say!("{line}");
        }
        if undone.forgotten > 0 {
            say!("forgot what it remembered of that ({})", undone.forgotten);
        }
        if undone.restored.is_empty() && undone.refused.is_empty() {
            say!("there was nothing to undo");
        }
        for line in &undone.refused {
            eprintln!("not undone: {line}");
        }
        for line in &undone.irreversible {
            eprintln!("cannot be undone: {line}");
        }
    }
    Ok(if undone.refused.is_empty() {
        DONE
    } else {
        FAILED
    })
}

/// Undoes what a run did, if nothing of it changed since, and forgets what was remembered of it.
pub async fn undone(
    home: &Home,
    (journal, memory): (Arc<dyn Journal>, Option<Arc<dyn Memory>>),
    run: RunId,
) -> Result<Undone, Failure> {
    let entries = journal.read(run, 1).await?;
    let machine = Machine::fold(&entries);
    let state = machine.state();
    let (Some(spec), Some(recorded)) = (&state.spec, replay::Recorded::of(&entries)) else {
        return Err(Failure::usage(format!("run {} never started", run.short())));
    };
    let newest_first = undoable(journal.as_ref(), run, 0).await?;
    let store = UndoStore::new(home.undo());
    check_unchanged(&store, &newest_first, &spec.workspace).await?;
    let (mind, nobody) = (Arc::new(recorded), Arc::new(Nobody));
    let driver = wire::driver_of_none_on(journal, home, mind, nobody, Default::default())?;
    let remembering = memory.map(|memory| Remembering {
        memory,
        namespace: String::new(),
        tokens: 0,
    });
    Ok(Driver {
        remembering,
        ..driver
    }
    .undo(run)
    .await?)
}

/// Fails, and names what changed, if anything did since runs in that workspace made these calls, newest
/// first.
pub async fn check_unchanged(
    store: &UndoStore,
    newest_first: &[(RunId, CallId)],
    workspace: &Path,
) -> Result<(), Failure> {
    let conflicts = store.conflicts_of(newest_first, workspace).await;
    let conflicts = conflicts.map_err(|why| Failure::new(why.to_string()))?;
    if conflicts.is_empty() {
        return Ok(());
    }
    let named = conflicts
        .iter()
        .map(|conflict| format!("  {}: {}", conflict.path, conflict.why));
    Err(Failure::new(format!(
        "nothing was undone, because this changed since the run:\n{}",
        named.collect::<Vec<_>>().join("\n")
    ))
    .help("put these back or move them away, and undo again"))
}
