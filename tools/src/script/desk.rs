//! What a script can ask for: functions with JSON in and out.

use gpak_kernel::tool::ToolError;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    interpreter::{Host, asked},
    nothing,
};
use crate::{
    staged::{Seen, SeenKind, Staged},
    text::head,
    workspace::rejected,
};

/// A file that a script reads, in bytes.
const FILE: usize = 32 * 1024 * 1024;
/// Of a file that was read, so many bytes are remembered.
const BEGINNING: usize = 1024;

/// The workspace, for one script.
pub(super) struct Desk {
    pub(super) staged: Staged,
    /// The files that were read first, each with its beginning.
    pub(super) read: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Asked {
    Now,
    List {
        path: String,
        #[serde(default)]
        recursive: bool,
        glob: Option<String>,
    },
    Stat {
        path: String,
    },
    Read {
        path: String,
    },
    Write {
        path: String,
        text: String,
        #[serde(default)]
        append: bool,
    },
    Folder {
        path: String,
    },
    Remove {
        path: String,
        #[serde(default)]
        recursive: bool,
    },
    Move {
        from: String,
        to: String,
    },
    Copy {
        from: String,
        to: String,
    },
}

impl Host for Desk {
    async fn call(&mut self, function: &str, input: &str) -> Result<String, String> {
        self.answer(asked(function, input)?)
            .map(|answer| answer.to_string())
            .map_err(|why| why.to_string())
    }
}

impl Desk {
    fn remember(&mut self, path: &str, text: &str) {
        let is_known = self.read.iter().any(|(known, _)| known == path);
        if self.read.len() < nothing::FILES && !is_known {
            self.read
                .push((path.to_owned(), head(text, BEGINNING).to_owned()));
        }
    }

    fn answer(&mut self, asked: Asked) -> Result<Value, ToolError> {
        let staged = &mut self.staged;
        match asked {
            Asked::Now => return Ok(Timestamp::now().as_millisecond().into()),
            Asked::List {
                path,
                recursive,
                glob,
            } => {
                let folder = staged.locate(&path, false)?;
                let found = match recursive || glob.is_some() {
                    true => staged.below(&folder, glob.as_deref())?,
                    false => {
                        let names = staged.names(&folder)?;
                        let paths = names.iter().map(|name| folder.join(name));
                        let seen = paths.map(|path| Ok((path.clone(), staged.look(&path)?)));
                        let seen: Vec<_> = seen.collect::<Result<_, ToolError>>()?;
                        let there = |(path, seen): (_, Option<Seen>)| Some((path, seen?));
                        seen.into_iter().filter_map(there).collect()
                    }
                };
                let shown = found.into_iter().map(|(path, seen)| described(&path, seen));
                return Ok(shown.collect());
            }
            Asked::Stat { path } => {
                let path = staged.parse(&path)?;
                let seen = match staged.locate(path.as_str(), false) {
                    Ok(path) => staged.look(&path)?,
                    Err(fatal @ ToolError::Fatal(_)) => return Err(fatal),
                    Err(_) => None,
                };
                return Ok(seen.map_or(Value::Null, |seen| described(&path, seen)));
            }
            Asked::Read { path } => {
                let path = staged.locate(&path, false)?;
                let bytes = staged.read(&path, 0, FILE + 1)?;
                if bytes.len() > FILE {
                    return Err(rejected(format!(
                        "{path} is larger than the {FILE} bytes that a script can read"
                    )));
                }
                let text = String::from_utf8(bytes);
                let text = text.map_err(|_| rejected(format!("{path} is not text in UTF-8")))?;
                self.remember(path.as_str(), &text);
                return Ok(text.into());
            }
            Asked::Write { path, text, append } => {
                let path = staged.locate(&path, true)?;
                match append {
                    true => staged.append(&path, text.as_bytes())?,
                    false => staged.write(&path, text.into_bytes())?,
                }
            }
            Asked::Folder { path } => staged.make_folder(&staged.locate(&path, true)?)?,
            Asked::Remove { path, recursive } => {
                let path = staged.locate(&path, true)?;
                match recursive {
                    true => staged.remove_all(&path)?,
                    false => staged.remove(&path)?,
                }
            }
            Asked::Move { from, to } => {
                let (from, to) = (staged.locate(&from, true)?, staged.locate(&to, true)?);
                if from != to {
                    staged.copy(&from, &to)?;
                    staged.remove_all(&from)?;
                }
            }
            Asked::Copy { from, to } => {
                let (from, to) = (staged.locate(&from, false)?, staged.locate(&to, true)?);
                staged.copy(&from, &to)?;
            }
        }
        Ok(Value::Null)
    }
}

fn described(path: &crate::workspace::Inside, seen: Seen) -> Value {
    match seen.kind {
        SeenKind::Folder => json!({"path": path, "folder": true}),
        SeenKind::File | SeenKind::Other => json!({"path": path, "size": seen.size}),
    }
}
