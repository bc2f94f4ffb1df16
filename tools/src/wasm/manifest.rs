//! `tool.toml`: what a package is, and what it asks for.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Asks, Limits, WasmError};

/// The name of the file.
pub const MANIFEST: &str = "tool.toml";
/// It may be so large, in bytes.
const MANIFEST_BYTES: usize = 256 * 1024;

/// What `tool.toml` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The package's name: `[a-z0-9_]+`.
    pub name: String,
    /// Its version, as its author counts.
    pub version: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is in the file.
    #[serde(default)]
    pub kind: Kind,
    /// The component or script, relative to the folder of `tool.toml`.
    pub file: String,
    /// What it asks for; nothing if it only computes.
    #[serde(default, skip_serializing_if = "Asks::is_empty")]
    pub asks: Asks,
    /// What a call may take.
    #[serde(default)]
    pub limits: Limits,
    /// Calls that show what it does, and that `gpak tools test` makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// What a script says of its tools. A component says it itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Declared>,
}

/// What a package is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A component of a world in `tools/wit`.
    #[default]
    Component,
    /// JavaScript for the interpreter that comes with gpak.
    Script,
}

/// A call and what comes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Which tool; may be left out where there is one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The arguments.
    pub input: Value,
    /// What it gives, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Words of the error that it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether two values are the same JSON; 2 and 2.0 are.
pub fn is_same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| is_same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, one)| {
                other
                    .get(name)
                    .is_some_and(|other| is_same_json(one, other))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// A tool of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Its name: `[a-z0-9_]+`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub input: Value,
    /// The JSON Schema of its results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What a call does to the world.
    #[serde(default = "pure")]
    pub effect: gpak_kernel::tool::Effect,
}

fn pure() -> gpak_kernel::tool::Effect {
    gpak_kernel::tool::Effect::Pure
}

impl Manifest {
    /// Reads the `tool.toml` in a folder.
    ///
    /// # Errors
    /// If it is not there or not right.
    pub fn read(folder: &Path) -> Result<(Self, String), WasmError> {
        let path = folder.join(MANIFEST);
        let text = super::files::read_bounded(&path, MANIFEST_BYTES)?;
        let fault = |why: String| WasmError::Manifest {
            path: path.display().to_string(),
            why,
        };
        let text = String::from_utf8(text).map_err(|_| fault("it is not UTF-8".to_owned()))?;
        let manifest = Self::parse(&text).map_err(fault)?;
        Ok((manifest, text))
    }

    /// Reads the text of a `tool.toml`. The error says what is wrong.
    ///
    /// # Errors
    /// If it is not right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|why| why.to_string())?;
        manifest.fault().map_or(Ok(manifest), Err)
    }

    pub(super) fn fault(&self) -> Option<String> {
        if let Some(why) = name_fault(&self.name) {
            return Some(why);
        }
        let file = Path::new(&self.file);
        let plain = file
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if self.file.is_empty() || !plain {
            return Some(format!(
                "file is {:?}; name a file in the folder of tool.toml, like \"{}.wasm\"",
                self.file, self.name
            ));
        }
        let outcomes = self
            .examples
            .iter()
            .enumerate()
            .find(|(_, example)| example.output.is_some() == example.error.is_some());
        if let Some((at, _)) = outcomes {
            return Some(format!(
                "example {} needs one of `output` (what the call gives) and `error` (words of its error)",
                at + 1
            ));
        }
        match self.kind {
            Kind::Script if self.tools.is_empty() => {
                return Some(
                    "a script needs a [[tools]] entry for each of its tools: name, description, input"
                        .to_owned(),
                );
            }
            Kind::Component if !self.tools.is_empty() => {
                return Some(
                    "a component describes its tools itself; leave the [[tools]] entries out"
                        .to_owned(),
                );
            }
            _ => {}
        }
        self.limits.fault().or_else(|| self.asks.fault())
    }
}

/// What is wrong with a name, if something is.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    const LONGEST: usize = 64;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let good = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(plain);
    (!good).then(|| {
        let shown: String = name.chars().take(LONGEST).collect();
        format!(
            "the name {shown:?} is not one: it has 1 to {LONGEST} of the characters a to z, 0 to 9 and _"
        )
    })
}
