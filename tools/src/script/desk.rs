//! What a script can ask for: functions with JSON in and out.

use gpak_kernel::tool::ToolError;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    interpreter::Host,
    staged::{Is, Staged},
};

/// The workspace, for one script.
pub(super) struct Desk {
    pub(super) staged: Staged,
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
    fn call(&mut self, function: &str, input: &str) -> Result<String, String> {
        let mut asked: Value = serde_json::from_str(input).map_err(|why| why.to_string())?;
        if !asked.is_object() {
            asked = json!({});
        }
        asked["do"] = function.into();
        let asked = serde_json::from_value(asked)
            .map_err(|why| format!("{function} cannot be done so: {why}"))?;
        self.answer(asked)
            .map(|answer| answer.to_string())
            .map_err(|why| why.to_string())
    }
}

impl Desk {
    fn answer(&mut self, asked: Asked) -> Result<Value, ToolError> {
        let staged = &mut self.staged;
        Ok(match asked {
            Asked::Now => Timestamp::now().as_millisecond().into(),
            Asked::List {
                path,
                recursive,
                glob,
            } => {
                let folder = staged.parse(&path)?;
                let listed = staged.list(&folder, recursive, glob.as_deref())?;
                let shown = listed.into_iter().map(|(path, is)| match is {
                    Is::File { size } => json!({"path": path, "size": size}),
                    Is::Folder => json!({"path": path, "folder": true}),
                });
                shown.collect()
            }
            Asked::Stat { path } => match staged.look(&staged.parse(&path)?)? {
                Some(Is::File { size }) => json!({"size": size}),
                Some(Is::Folder) => json!({"folder": true}),
                None => Value::Null,
            },
            Asked::Read { path } => {
                let path = staged.parse(&path)?;
                let (bytes, _) = staged.read(&path)?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    ToolError::Rejected(format!(
                        "{path} is not text in UTF-8, so it cannot be read"
                    ))
                })?;
                text.into()
            }
            Asked::Write { path, text, append } => {
                let path = staged.parse(&path)?;
                let before = match append && staged.look(&path)?.is_some() {
                    true => staged.read(&path)?.0,
                    false => Vec::new(),
                };
                staged.write(&path, [before, text.into_bytes()].concat(), None)?;
                Value::Null
            }
            Asked::Folder { path } => {
                staged.make_folder(&staged.parse(&path)?)?;
                Value::Null
            }
            Asked::Remove { path, recursive } => {
                staged.remove(&staged.parse(&path)?, recursive)?;
                Value::Null
            }
            Asked::Move { from, to } => {
                staged.carry(&staged.parse(&from)?, &staged.parse(&to)?, false)?;
                Value::Null
            }
            Asked::Copy { from, to } => {
                staged.carry(&staged.parse(&from)?, &staged.parse(&to)?, true)?;
                Value::Null
            }
        })
    }
}
