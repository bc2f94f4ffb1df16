//! Brings what a try changed into the workspace, and back.
//!
//! The record of all changes is written before the first is made, so that a call that a crash
//! interrupted finishes what it began, file by file, and undoing it puts back whatever it had come to.

use std::{fs, io::Cursor};

use gpak_kernel::tool::{Call, ToolContext, ToolError, ToolOutput};

use super::{Copies, compare::Changed, mode};
use crate::{
    builtin::{restore, tidy},
    text::{Stop, many},
    undo::{Change, Manner, Record, SAVED_LIMIT, What, look},
    workspace::{Inside, Temp, Workspace, rejected},
};

impl Copies {
    pub(super) fn adopt(
        &self,
        call: &Call,
        context: &ToolContext,
        stop: &Stop,
    ) -> Result<ToolOutput, ToolError> {
        let _alone = self.undo.lock();
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let record = match self.undo.get(&context.run, &call.id)? {
            Some(record) => record,
            None => {
                let record = self.record(call, context, &workspace, stop)?;
                self.undo.put(&context.run, &call.id, &record)?;
                record
            }
        };
        let temp = Temp::new(&context.run, &call.id);
        for change in &record.changes {
            self.make(change, call, context, &workspace, &temp)?;
        }
        self.remove_emptied(&record, call, context, &workspace);
        Ok(ToolOutput::text(record.said))
    }

    /// What is to be changed, with what it replaces saved. Nothing is, if anything in its way is not
    /// what was copied.
    fn record(
        &self,
        call: &Call,
        context: &ToolContext,
        workspace: &Workspace,
        stop: &Stop,
    ) -> Result<Record, ToolError> {
        let (manifest, copy) = self.opened(context.run, &call.args)?;
        let changed = self.changes(&manifest, &copy, stop)?;
        let mut record = Record {
            tool: call.name.clone(),
            manner: Manner::Replace,
            changes: Vec::new(),
            folders: Vec::new(),
            said: said(&changed),
            undone: false,
        };
        let mut conflicts = Vec::new();
        for Changed {
            path,
            before,
            after,
        } in changed
        {
            if let Some(why) = workspace.protection(&path) {
                return Err(rejected(why));
            }
            let place = workspace.place_again(&path)?;
            let after = after.map(What::File);
            let now = look(&place)?;
            if now != before.map(What::File) && now != after {
                conflicts.push(path.to_string());
                continue;
            }
            let size = fs::metadata(copy.real().join(path.as_path())).map_or(0, |file| file.len());
            if size > SAVED_LIMIT {
                return Err(rejected(format!("{path} is too large to be brought over")));
            }
            record.folders.extend(place.missing_folders());
            record.changes.push(Change {
                path,
                before: self.undo.save(&place)?,
                after,
            });
        }
        if !conflicts.is_empty() {
            return Err(rejected(format!(
                "what was tried cannot be brought over, as these changed in the workspace meanwhile: {}",
                conflicts.join(", ")
            )));
        }
        record.folders.sort();
        record.folders.dedup();
        Ok(record)
    }

    /// Makes one change, unless it was made.
    fn make(
        &self,
        change: &Change,
        call: &Call,
        context: &ToolContext,
        workspace: &Workspace,
        temp: &Temp,
    ) -> Result<(), ToolError> {
        let mut place = workspace.place_again(&change.path)?;
        let now = look(&place)?;
        if now == change.after {
            return Ok(());
        }
        if now.as_ref() != change.was() {
            return Err(ToolError::Unknown(format!(
                "{} was changed by something else while it was brought over; look at it",
                change.path
            )));
        }
        let Some(What::File(hash)) = &change.after else {
            return place.remove_file();
        };
        let (_, copy) = self.opened(context.run, &call.args)?;
        let file = copy.real().join(change.path.as_path());
        let unread = |e| rejected(format!("cannot read {}: {e}", file.display()));
        let bytes = fs::read(&file).map_err(unread)?;
        if blake3::hash(&bytes).to_hex().as_str() != hash {
            return Err(rejected(format!(
                "{} changed in its copy after it was looked at",
                change.path
            )));
        }
        place.make_folders()?;
        place.replace(&mut Cursor::new(bytes), mode(&file), temp)
    }

    /// A folder that the try emptied and removed goes too.
    fn remove_emptied(
        &self,
        record: &Record,
        call: &Call,
        context: &ToolContext,
        workspace: &Workspace,
    ) {
        let Ok((_, copy)) = self.opened(context.run, &call.args) else {
            return;
        };
        let gone = record
            .changes
            .iter()
            .filter(|change| change.after.is_none());
        for change in gone {
            let mut folder = change.path.parent();
            while let Some(path) = folder.filter(|path| !path.is_root()) {
                let stays = copy.real().join(path.as_path()).exists();
                let removed = !stays
                    && workspace
                        .place_again(&path)
                        .and_then(|place| place.remove_folder())
                        .is_ok();
                if !removed {
                    break;
                }
                folder = path.parent();
            }
        }
    }

    /// Undoes it, as far as it was made.
    pub(super) fn take_back(
        &self,
        call: &Call,
        context: &ToolContext,
    ) -> Result<String, ToolError> {
        let _alone = self.undo.lock();
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let Some(mut record) = self.undo.get(&context.run, &call.id)? else {
            return Ok("nothing had been brought over".to_owned());
        };
        let mut made: Vec<(&Change, bool)> = Vec::new();
        let mut conflicts: Vec<&Inside> = Vec::new();
        for change in &record.changes {
            match look(&workspace.place_again(&change.path)?)? {
                now if now == change.after => made.push((change, true)),
                now if now.as_ref() == change.was() => made.push((change, false)),
                _ => conflicts.push(&change.path),
            }
        }
        if let (Some(first), false) = (conflicts.first(), record.undone) {
            return Err(rejected(format!(
                "{first} was changed since, so nothing of the {} was put back",
                many(record.changes.len() as u64, "file")
            )));
        }
        let temp = Temp::new(&context.run, &call.id);
        let mut said = Vec::new();
        for (change, _) in made
            .iter()
            .rev()
            .filter(|(_, is_made)| *is_made && !record.undone)
        {
            said.push(restore(&workspace, &self.undo, change, &temp)?);
        }
        tidy(&workspace, &record, &temp);
        record.undone = true;
        self.undo.put(&context.run, &call.id, &record)?;
        Ok(match said.as_slice() {
            [] => "nothing was left to put back".to_owned(),
            said => said.join("; "),
        })
    }
}

fn said(changed: &[Changed]) -> String {
    const SHOWN: usize = 12;
    let named: Vec<_> = changed
        .iter()
        .map(|change| change.path.to_string())
        .collect();
    match named.len() {
        0 => "the best way changed nothing".to_owned(),
        count if count <= SHOWN => format!("changed {}", named.join(", ")),
        count => format!(
            "changed {} and {} more",
            named
                .iter()
                .take(SHOWN)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            count - SHOWN
        ),
    }
}
