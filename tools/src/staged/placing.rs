//! How staged changes are put in place, and taken back.

use std::io::Cursor;

use cap_std::fs::MetadataExt as _;
use gpak_kernel::{event::RunId, model::CallId, tool::ToolError};

use super::{Staged, Staging};
use crate::{
    builtin::{restore, tidy},
    undo::{Change, Manner, Record, UndoStore, What, look},
    workspace::{Inside, Temp, Workspace, rejected},
};

impl Staged {
    /// Makes all changes, or none. `record` is kept with them.
    pub(crate) fn put_in_place(
        self,
        undo: &UndoStore,
        run: &RunId,
        call: &CallId,
        record: &mut Record,
    ) -> Result<(), ToolError> {
        let _alone = undo.lock();
        let temp = Temp::new(run, call);
        let steps = self.steps(undo, record)?;
        undo.put(run, call, record)?;
        for step in steps {
            if let Err(why) = step.make(&self.workspace, &temp) {
                // The record stays where the taking back fails, and says what is half done.
                put_back(&self.workspace, undo, record, &temp)?;
                undo.remove(run, call);
                return Err(why);
            }
        }
        Ok(())
    }

    /// What is to be done, in an order that works: folders and files from the outside in, then removals
    /// from the inside out. Notes it in `record`.
    fn steps<'a>(
        &'a self,
        undo: &UndoStore,
        record: &mut Record,
    ) -> Result<Vec<Step<'a>>, ToolError> {
        let mut steps = Vec::new();
        let mut removals = Vec::new();
        for (path, staging) in &self.paths {
            let place = self.place(path)?;
            let before = undo.save(&place)?;
            let was = before.as_ref().map(|saved| saved.what.clone());
            let after = match staging {
                Staging::File { content, .. } => {
                    Some(What::File(blake3::hash(content).to_hex().to_string()))
                }
                Staging::Folder => {
                    record.folders.extend(place.missing_folders());
                    if was.is_none() {
                        record.folders.push(path.clone());
                        steps.push(Step { path, staging });
                    }
                    continue;
                }
                Staging::Gone => None,
            };
            if was == after {
                continue;
            }
            match staging {
                Staging::Gone => removals.push(Step { path, staging }),
                _ => {
                    record.folders.extend(place.missing_folders());
                    steps.push(Step { path, staging });
                }
            }
            record.changes.push(Change {
                path: path.clone(),
                before,
                after,
            });
        }
        record.folders.sort();
        record.folders.dedup();
        steps.extend(removals.into_iter().rev());
        Ok(steps)
    }
}

struct Step<'a> {
    path: &'a Inside,
    staging: &'a Staging,
}

impl Step<'_> {
    fn make(&self, workspace: &Workspace, temp: &Temp) -> Result<(), ToolError> {
        let mut place = workspace.place(self.path)?;
        let there = place.metadata()?;
        match self.staging {
            Staging::Folder => {
                place.make_folders()?;
                place.make_folder(0o777)
            }
            Staging::File { content, mode } => {
                place.make_folders()?;
                let mode = there.map(|metadata| metadata.mode()).or(*mode);
                place.replace(&mut Cursor::new(content), mode, temp)
            }
            Staging::Gone if there.is_some_and(|metadata| metadata.is_dir()) => {
                place.remove_folder()
            }
            Staging::Gone => place.remove_file(),
        }
    }
}

/// Puts back what a record says was there, wherever that is not so; says what was put back. Nothing is
/// touched if something else changed one of the paths.
pub(crate) fn put_back(
    workspace: &Workspace,
    undo: &UndoStore,
    record: &Record,
    temp: &Temp,
) -> Result<Vec<String>, ToolError> {
    let mut changed = Vec::new();
    for change in &record.changes {
        let now = look(&workspace.place_again(&change.path)?)?;
        if now.as_ref() == change.was() {
            continue;
        }
        if now != change.after {
            return Err(rejected(format!(
                "{} was changed since {}, so it was left alone",
                change.path, record.tool
            )));
        }
        changed.push(change);
    }
    let mut said = Vec::new();
    // A removed folder comes before what was in it.
    let (gone, there): (Vec<_>, Vec<_>) = changed
        .into_iter()
        .partition(|change| change.after.is_none());
    for change in gone.into_iter().chain(there.into_iter().rev()) {
        said.push(restore(workspace, undo, change, temp)?);
    }
    tidy(workspace, record, temp);
    Ok(said)
}

/// A record of changes that are still to be made.
pub(crate) fn fresh_record(tool: &str) -> Record {
    Record {
        tool: tool.to_owned(),
        manner: Manner::Replace,
        changes: Vec::new(),
        folders: Vec::new(),
        said: String::new(),
        undone: false,
    }
}
