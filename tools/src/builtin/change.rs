//! How every reversible tool changes the workspace: plan, save, act; and back.
//!
//! A planner only reads and says what is to be done. Then, in this order: what will be replaced is
//! saved, the record of the change is written, the change is made in one instant. So whenever the
//! process dies, the record and the workspace together tell whether the change was made.

use std::{io::Cursor, sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::{
    event::RunId,
    model::CallId,
    tool::{Call, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::Value;
use similar::TextDiff;

use super::{Desk, blocking};
use crate::{
    text::{Content, Stop, head, many, sniff},
    undo::{Change, Manner, Record, Saved, Stands, UndoStore, What, look},
    workspace::{Place, Temp, Workspace, rejected},
};

/// Files over this are not shown as a diff.
const DIFFED: u64 = 1024 * 1024;

/// What a call will do, and what the model is told once it is done.
pub(super) struct Plan {
    pub(super) said: String,
    pub(super) act: Act,
}

pub(super) enum Act {
    Nothing,
    Write { place: Place, bytes: Vec<u8> },
    Remove { place: Place },
    Move { from: Place, to: Place },
}

type Planner = fn(&Workspace, &Value) -> Result<Plan, ToolError>;

/// A tool that changes the workspace and can put it back.
pub(super) struct Changing {
    spec: ToolSpec,
    desk: Arc<Desk>,
    plan: Planner,
}

impl Changing {
    pub(super) fn new(desk: &Arc<Desk>, spec: ToolSpec, plan: Planner) -> Self {
        Self {
            spec,
            desk: Arc::clone(desk),
            plan,
        }
    }

    fn job(&self, call: &Call, context: &ToolContext) -> Job {
        Job {
            desk: Arc::clone(&self.desk),
            plan: self.plan,
            call: call.clone(),
            context: context.clone(),
        }
    }
}

#[async_trait]
impl Tool for Changing {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let job = self.job(call, context);
        blocking(move |stop| job.make(stop))
            .await
            .map(ToolOutput::text)
    }

    async fn preview(&self, call: &Call, context: &ToolContext) -> Option<String> {
        let job = self.job(call, context);
        let preview = blocking(move |_| job.preview()).await;
        Some(preview.unwrap_or_else(|e| format!("this call would fail: {e}")))
    }

    async fn compensate(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        let job = self.job(call, context);
        blocking(move |_| job.undo()).await
    }
}

/// One call, on a thread that may block.
struct Job {
    desk: Arc<Desk>,
    plan: Planner,
    call: Call,
    context: ToolContext,
}

impl Job {
    fn run(&self) -> &RunId {
        &self.context.run
    }

    fn id(&self) -> &CallId {
        &self.call.id
    }

    fn temp(&self) -> Temp {
        Temp::new(self.run(), self.id())
    }

    fn make(&self, stop: &Stop) -> Result<String, ToolError> {
        let undo = &self.desk.undo;
        let _alone = undo.lock();
        stop.check()?;
        let workspace = self.desk.open(&self.context)?;
        let earlier = undo.get(self.run(), self.id())?;
        if let Some(record) = &earlier {
            match record.stands(&workspace).unwrap_or(Stands::Neither) {
                Stands::After => return Ok(record.said.clone()),
                Stands::Before => {}
                Stands::Neither => return Err(self.in_doubt(record)),
            }
        }
        let plan = (self.plan)(&workspace, &self.call.args)?;
        let mut record = self.record(&plan)?;
        // Folders that the interrupted attempt had made already are still the call's own.
        record
            .folders
            .extend(earlier.map(|record| record.folders).unwrap_or_default());
        record.folders.sort();
        record.folders.dedup();
        undo.put(self.run(), self.id(), &record)?;
        match self.act(plan.act) {
            Ok(()) => Ok(plan.said),
            Err(e) => {
                self.take_back(&workspace, &record, &e);
                Err(e)
            }
        }
    }

    fn record(&self, plan: &Plan) -> Result<Record, ToolError> {
        let undo = &self.desk.undo;
        let mut folders = Vec::new();
        let mut manner = Manner::Replace;
        let changes = match &plan.act {
            Act::Nothing => Vec::new(),
            Act::Write { place, bytes } => {
                folders = place.missing_folders();
                let after = Some(What::File(blake3::hash(bytes).to_hex().to_string()));
                vec![Change {
                    path: place.path().clone(),
                    before: undo.save(place)?,
                    after,
                }]
            }
            Act::Remove { place } => {
                vec![Change {
                    path: place.path().clone(),
                    before: undo.save(place)?,
                    after: None,
                }]
            }
            Act::Move { from, to } => {
                folders = to.missing_folders();
                manner = Manner::Move;
                // It is moved and not replaced, so there is nothing to save but what it is.
                let what =
                    look(from)?.ok_or_else(|| rejected(format!("{} is gone", from.path())))?;
                let before = Some(Saved {
                    what: what.clone(),
                    mode: 0,
                });
                vec![
                    Change {
                        path: from.path().clone(),
                        before,
                        after: None,
                    },
                    Change {
                        path: to.path().clone(),
                        before: None,
                        after: Some(what),
                    },
                ]
            }
        };
        let (tool, said) = (self.call.name.clone(), plan.said.clone());
        Ok(Record {
            tool,
            manner,
            changes,
            folders,
            said,
            undone: false,
        })
    }

    fn act(&self, act: Act) -> Result<(), ToolError> {
        match act {
            Act::Nothing => Ok(()),
            Act::Write { mut place, bytes } => {
                use cap_std::fs::MetadataExt as _;
                place.make_folders()?;
                let mode = place.metadata()?.map(|metadata| metadata.mode());
                place.replace(&mut Cursor::new(bytes), mode, &self.temp())
            }
            Act::Remove { place } => match place.metadata()? {
                Some(metadata) if metadata.is_dir() => place.remove_folder(),
                _ => place.remove_file(),
            },
            Act::Move { from, mut to } => {
                to.make_folders()?;
                from.move_to(&to)
            }
        }
    }

    /// After a failure that the model is told of, nothing is left of the attempt. A run that stops
    /// keeps the record: the call is made again when it goes on.
    fn take_back(&self, workspace: &Workspace, record: &Record, error: &ToolError) {
        if matches!(error, ToolError::Rejected(_))
            && record
                .stands(workspace)
                .is_ok_and(|stands| stands == Stands::Before)
        {
            tidy(workspace, record, &self.temp());
            self.desk.undo.remove(self.run(), self.id());
        }
    }

    fn in_doubt(&self, record: &Record) -> ToolError {
        ToolError::Unknown(format!(
            "{} was interrupted, and {} is neither as it was before nor as the call leaves it: something else changed it; look at it before you go on",
            self.call.name,
            record.paths()
        ))
    }

    fn undo(&self) -> Result<String, ToolError> {
        let undo = &self.desk.undo;
        let _alone = undo.lock();
        let workspace = self.desk.open(&self.context)?;
        let Some(mut record) = undo.get(self.run(), self.id())? else {
            return Err(rejected(format!(
                "call {} cannot be undone: what undo needs was not kept",
                self.id()
            )));
        };
        if record.changes.is_empty() {
            return Ok(format!("nothing to undo: {}", record.said));
        }
        let said = match record.stands(&workspace)? {
            _ if record.undone => format!("{} was undone already", record.paths()),
            Stands::After => self.put_back(&workspace, &record)?,
            Stands::Before => format!("{} is already as it was", record.paths()),
            Stands::Neither => {
                return Err(rejected(format!(
                    "{} was changed since {} in call {}, so it was left alone",
                    record.paths(),
                    record.tool,
                    self.id()
                )));
            }
        };
        tidy(&workspace, &record, &self.temp());
        record.undone = true;
        undo.put(self.run(), self.id(), &record)?;
        Ok(said)
    }

    fn put_back(&self, workspace: &Workspace, record: &Record) -> Result<String, ToolError> {
        if let (Manner::Move, [from, to]) = (record.manner, record.changes.as_slice()) {
            let mut home = workspace.place_again(&from.path)?;
            home.make_folders()?;
            workspace.place_again(&to.path)?.move_to(&home)?;
            return Ok(format!("moved {} back to {}", to.path, from.path));
        }
        let mut said = Vec::new();
        for change in record.changes.iter().rev() {
            said.push(restore(workspace, &self.desk.undo, change, &self.temp())?);
        }
        Ok(said.join("; "))
    }

    fn preview(&self) -> Result<String, ToolError> {
        let workspace = self.desk.open(&self.context)?;
        let plan = (self.plan)(&workspace, &self.call.args)?;
        match plan.act {
            Act::Nothing => Ok(plan.said),
            Act::Move { from, to } => Ok(format!("move {} to {}", from.path(), to.path())),
            Act::Remove { place } => self.diff(&place, None),
            Act::Write { place, bytes } => self.diff(&place, Some(&bytes)),
        }
    }

    /// A unified diff, bounded; or in words what cannot be shown as one.
    fn diff(&self, place: &Place, after: Option<&[u8]>) -> Result<String, ToolError> {
        let path = place.path();
        let metadata = place.metadata()?;
        if metadata.as_ref().is_some_and(|metadata| metadata.is_dir()) {
            return Ok(format!("delete the empty folder {path}"));
        }
        let size = metadata.as_ref().map(|metadata| metadata.len());
        let new_size = after.map(|bytes| bytes.len() as u64);
        let sizes = match (size, new_size) {
            (None, new) => format!("write {path} ({})", many(new.unwrap_or_default(), "byte")),
            (Some(old), None) => format!("delete {path} ({})", many(old, "byte")),
            (Some(old), Some(new)) => format!(
                "replace {path} ({} with {})",
                many(old, "byte"),
                many(new, "byte")
            ),
        };
        if size.max(new_size).is_some_and(|size| size > DIFFED) {
            return Ok(format!("{sizes}; too large to show"));
        }
        let before = match size {
            Some(_) => read_all(place)?,
            None => Vec::new(),
        };
        let binary = |bytes: &[u8]| matches!(sniff(bytes), Content::Binary(_));
        if binary(&before) || after.is_some_and(binary) {
            return Ok(format!("{sizes}; binary"));
        }
        let old_name = if size.is_some() {
            format!("a/{path}")
        } else {
            "/dev/null".to_owned()
        };
        let new_name = if after.is_some() {
            format!("b/{path}")
        } else {
            "/dev/null".to_owned()
        };
        let (before, after) = (
            String::from_utf8_lossy(&before),
            String::from_utf8_lossy(after.unwrap_or_default()),
        );
        let diff = TextDiff::configure()
            .timeout(Duration::from_millis(500))
            .diff_lines(before.as_ref(), after.as_ref())
            .unified_diff()
            .header(&old_name, &new_name)
            .to_string();
        let shown = head(&diff, self.desk.output_bytes);
        let rest = diff.len() - shown.len();
        Ok(if rest == 0 {
            diff
        } else {
            format!("{shown}\n…truncated: {rest} more bytes of diff")
        })
    }
}

/// All of a file that is small enough to be saved.
pub(super) fn read_all(place: &Place) -> Result<Vec<u8>, ToolError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    place
        .open()?
        .take(crate::undo::SAVED_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| rejected(format!("cannot read {}: {e}", place.path())))?;
    Ok(bytes)
}

/// Puts back what was at one path, and says so.
pub(crate) fn restore(
    workspace: &Workspace,
    undo: &UndoStore,
    change: &Change,
    temp: &Temp,
) -> Result<String, ToolError> {
    let mut place = workspace.place_again(&change.path)?;
    Ok(match &change.before {
        None => {
            place.remove_file()?;
            format!("removed {}", change.path)
        }
        Some(Saved {
            what: What::Folder,
            mode,
        }) => {
            place.make_folders()?;
            place.make_folder(*mode)?;
            format!("made the folder {} again", change.path)
        }
        Some(Saved {
            what: What::File(hash),
            mode,
        }) => {
            let bytes = undo.saved(hash)?;
            place.make_folders()?;
            place.replace(&mut Cursor::new(bytes), Some(*mode), temp)?;
            format!("restored {}", change.path)
        }
    })
}

/// Removes what a call leaves besides its changes: a file it was writing when it was cut off, and the folders that it
/// made, as far as they are empty.
pub(crate) fn tidy(workspace: &Workspace, record: &Record, temp: &Temp) {
    for change in &record.changes {
        if let Ok(place) = workspace.place_again(&change.path) {
            place.remove_half_written(temp);
        }
    }
    for folder in record.folders.iter().rev() {
        let removed = workspace
            .place_again(folder)
            .and_then(|place| place.remove_folder());
        if removed.is_err() {
            break;
        }
    }
}
