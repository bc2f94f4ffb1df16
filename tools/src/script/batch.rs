//! Many changes made as one call: recorded before the first is made, finished after a crash, and undone.

use std::io::Cursor;

use gpak_kernel::tool::{Call, ToolContext, ToolError};

use super::staged::Leaves;
use crate::{
    builtin::{remove_folders, restore},
    text::many,
    undo::{Change, Manner, Record, UndoStore, What, look},
    workspace::{Inside, Temp, Workspace, rejected},
};

/// Where changes are made.
pub(super) struct Batch<'a> {
    pub(super) undo: &'a UndoStore,
    pub(super) workspace: &'a Workspace,
    pub(super) call: &'a Call,
    pub(super) context: &'a ToolContext,
}

impl Batch<'_> {
    /// Finishes what an earlier attempt of the call had begun, and says what that was to say. None if
    /// none had.
    pub(super) fn finish(&self) -> Result<Option<String>, ToolError> {
        let Some(record) = self.undo.get(&self.context.run, &self.call.id)? else {
            return Ok(None);
        };
        self.make_all(&record)?;
        Ok(Some(record.said))
    }

    /// Makes the changes. What each replaces, and what it leaves, is on disk before the first is made.
    pub(super) fn make(
        &self,
        changes: impl IntoIterator<Item = (Inside, Leaves)>,
        said: &str,
    ) -> Result<(), ToolError> {
        let mut record = Record {
            tool: self.call.name.clone(),
            manner: Manner::Replace,
            changes: Vec::new(),
            folders: Vec::new(),
            said: said.to_owned(),
            undone: false,
        };
        for (path, leaves) in changes {
            let place = self.workspace.place(&path)?;
            let before = self.undo.save(&place)?;
            let after = match leaves {
                Leaves::File { bytes, .. } => Some(What::File(self.undo.keep_bytes(&bytes)?)),
                Leaves::Folder => Some(What::Folder),
                Leaves::Nothing => None,
            };
            record.folders.extend(place.missing_folders());
            record.changes.push(Change {
                path: place.path().clone(),
                before,
                after,
            });
        }
        // Folders go once what is in them has gone, and come before what is put into them.
        record
            .changes
            .sort_by(|one, other| match (&one.after, &other.after) {
                (None, None) => other.path.cmp(&one.path),
                (None, Some(_)) => std::cmp::Ordering::Less,
                (Some(_), None) => std::cmp::Ordering::Greater,
                (Some(_), Some(_)) => one.path.cmp(&other.path),
            });
        record.folders.sort();
        record.folders.dedup();
        self.undo.put(&self.context.run, &self.call.id, &record)?;
        self.make_all(&record)
    }

    fn make_all(&self, record: &Record) -> Result<(), ToolError> {
        let temp = Temp::new(&self.context.run, &self.call.id);
        for change in &record.changes {
            self.make_one(change, &temp)?;
        }
        Ok(())
    }

    /// Makes one change, unless it was made.
    fn make_one(&self, change: &Change, temp: &Temp) -> Result<(), ToolError> {
        let mut place = self.workspace.place_again(&change.path)?;
        let now = look(&place)?;
        if now == change.after {
            return Ok(());
        }
        if now.as_ref() != change.was() {
            return Err(ToolError::Unknown(format!(
                "{} was changed by something else while the script's changes were put in place; look at it",
                change.path
            )));
        }
        match &change.after {
            None if now == Some(What::Folder) => place.remove_folder(),
            None => place.remove_file(),
            Some(What::Folder) => {
                place.make_folders()?;
                place.make_folder(0o755)
            }
            Some(What::File(hash)) => {
                let bytes = self.undo.saved(hash)?;
                let mode = change.before.as_ref().map(|saved| saved.mode);
                place.make_folders()?;
                place.replace(&mut Cursor::new(bytes), mode, temp)
            }
        }
    }

    /// Undoes the call, as far as it was made.
    pub(super) fn take_back(&self) -> Result<String, ToolError> {
        let (run, id) = (&self.context.run, &self.call.id);
        let Some(mut record) = self.undo.get(run, id)? else {
            return Ok("the script had changed nothing".to_owned());
        };
        if record.undone {
            return Ok(format!("{} was undone already", record.paths()));
        }
        let mut made = Vec::new();
        for change in &record.changes {
            match look(&self.workspace.place_again(&change.path)?)? {
                now if now == change.after => made.push(change),
                now if now.as_ref() == change.was() => {}
                _ => {
                    return Err(rejected(format!(
                        "{} was changed since, so nothing of the script's {} was put back",
                        change.path,
                        many(record.changes.len() as u64, "change")
                    )));
                }
            }
        }
        let temp = Temp::new(run, id);
        let mut said = Vec::new();
        for change in made.into_iter().rev() {
            said.push(self.put_back(change, &temp)?);
        }
        remove_folders(self.workspace, &record);
        record.undone = true;
        self.undo.put(run, id, &record)?;
        Ok(match said.as_slice() {
            [] => "nothing was left to put back".to_owned(),
            said => said.join("; "),
        })
    }

    fn put_back(&self, change: &Change, temp: &Temp) -> Result<String, ToolError> {
        if change.before.is_none() && change.after == Some(What::Folder) {
            let place = self.workspace.place_again(&change.path)?;
            place.remove_folder()?;
            return Ok(format!("removed the folder {}", change.path));
        }
        restore(self.workspace, self.undo, change, temp)
    }
}
