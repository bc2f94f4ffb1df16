//! Packages that are scripts: JavaScript in the interpreter that comes with gpak.
//!
//! A script with one tool has a function `invoke(input)`; one with several has a function of the name of
//! each. What it gives is the result; what it throws is the error. It has what components have of the
//! host, as far as it was granted, under the names that scripts know.

use std::{borrow::Cow, path::Path};

use gpak_kernel::tool::{Effect, ToolSpec};
use ignore::overrides::OverrideBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asks, Described, Limits, Manifest, WasmError,
    bindings::gpak::tool::{
        core::{self, Host as _},
        fs::{self, FileKind, Host as _},
        http::{self, Host as _},
        types::{self, Call, Failure, FailureKind},
    },
    code::Given,
    described,
    host::Host,
    limits::HANDED_BYTES,
};
use crate::{
    script::{
        ScriptLimits,
        interpreter::{self, Interpreter, Program, ScriptError},
    },
    text::{Stop, head},
};

/// A script is no longer, in bytes.
pub(crate) const SOURCE_BYTES: usize = 256 * 1024;
/// Globs are told apart from paths as if the workspace were there.
const ROOT: &str = "/w";
/// The function of a script with one tool.
const INVOKE: &str = "invoke";
/// Run behind the source, on its last line: a function is also found that was not declared as one.
const FOUND: &str = "\n;globalThis.invoke = typeof invoke === 'function' ? invoke : undefined;";
/// What scripts of packages find beside the prelude.
const PRELUDE: &str = include_str!("../../script/tool.js");

/// What a script's `tool.toml` says of its tools.
///
/// # Errors
/// What is wrong with that, or with the source.
pub(super) fn described(manifest: &Manifest, source: &[u8]) -> Result<Vec<Described>, WasmError> {
    text(source)?;
    if let Some(what) = not_for_scripts(&manifest.asks) {
        return Err(WasmError::Grant(format!(
            "scripts have clock, files, hosts, private_hosts and secrets, and not {what}; leave that out of \
             [asks], or write a component"
        )));
    }
    let mut tools: Vec<Described> = Vec::new();
    for tool in &manifest.tools {
        described::check(
            &tool.name,
            &tool.description,
            &tool.input,
            tool.output.as_ref(),
        )
        .map_err(WasmError::Description)?;
        if tools.iter().any(|other| other.spec.name == tool.name) {
            return Err(WasmError::Description(format!(
                "there are two [[tools]] named {}",
                tool.name
            )));
        }
        tools.push(Described {
            spec: ToolSpec {
                // What only the host changes is taken back before it is made again.
                resumable: tool.effect == Effect::Reversible,
                ..ToolSpec::new(
                    tool.name.clone(),
                    tool.description.trim(),
                    tool.input.clone(),
                    tool.effect,
                )
            },
            output: tool.output.clone(),
            can_compensate: false,
        });
    }
    Ok(tools)
}

fn text(source: &[u8]) -> Result<&str, WasmError> {
    if source.len() > SOURCE_BYTES {
        return Err(WasmError::File(format!(
            "the script has {} bytes; {SOURCE_BYTES} are allowed",
            source.len()
        )));
    }
    str::from_utf8(source).map_err(|_| WasmError::File("the script is not UTF-8".to_owned()))
}

fn not_for_scripts(asks: &Asks) -> Option<&'static str> {
    let wanted = [
        (asks.random, "random"),
        (!asks.environment.is_empty(), "environment"),
        (asks.kv_kib > 0, "kv_kib"),
        (!asks.invoke.is_empty(), "invoke"),
        (asks.wasi, "wasi"),
    ];
    wanted.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

/// A script that is ready to be called.
pub(super) struct Script {
    interpreter: Interpreter<Granted>,
    source: String,
}

impl Script {
    pub(super) fn new(interpreter: Interpreter<Granted>, source: &[u8]) -> Result<Self, WasmError> {
        Ok(Self {
            interpreter,
            source: text(source)?.to_owned(),
        })
    }

    /// Makes a call in a fresh sandbox; `of_one` is whether it is of the script's only tool.
    ///
    /// # Errors
    /// If the engine cannot; what the script did wrong is in what was given.
    pub(super) async fn invoke(
        &self,
        host: Host,
        limits: Limits,
        call: &Call,
        of_one: bool,
    ) -> Result<Given<super::code::Said>, WasmError> {
        let (name, source) = match of_one {
            true => (INVOKE, Cow::Owned(self.source.clone() + FOUND)),
            false => (call.tool.as_str(), Cow::Borrowed(self.source.as_str())),
        };
        let program = Program {
            before: Some(PRELUDE),
            source: &source,
            function: Some((name, &call.input)),
        };
        let allowed = ScriptLimits {
            time: limits.time(),
            memory_mib: limits.memory_mib,
            output_bytes: limits.output_bytes(),
        };
        let desk = Granted { host };
        // Dropping the future ends it, so nobody else needs to.
        let stop = Stop::default();
        let ran = self.interpreter.run(desk, program, &allowed, &stop).await?;
        let mut host = ran.host.host;
        for line in ran.printed.lines() {
            // Logging needs no grant and does not fail.
            let _ = host.log(core::Level::Info, line.to_owned()).await;
        }
        let result = match ran.result {
            Ok(text) => Ok(Ok(text)),
            Err(ScriptError::Stopped(stopped)) => Err(stopped),
            Err(error) => Ok(Err(types::Error::Failed(
                head(&said(&error, &self.source), limits.output_bytes()).to_owned(),
            ))),
        };
        Ok(Given { result, host })
    }
}

/// What a script failed with, and where.
fn said(error: &ScriptError, source: &str) -> String {
    let ScriptError::Thrown {
        message,
        line: Some(line),
    } = error
    else {
        return error.to_string();
    };
    let at = usize::try_from(*line).unwrap_or_default().saturating_sub(1);
    match source.lines().nth(at) {
        Some(shown) => format!("{message} (line {line}: `{}`)", shown.trim()),
        None => message.clone(),
    }
}

/// The host, as scripts ask it.
pub(super) struct Granted {
    host: Host,
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
    },
    Move {
        from: String,
        to: String,
    },
    Copy {
        from: String,
        to: String,
    },
    Fetch {
        url: String,
        method: String,
        headers: Vec<Pair>,
        body: Option<String>,
    },
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    value: String,
}

impl interpreter::Host for Granted {
    async fn call(&mut self, function: &str, input: &str) -> Result<String, String> {
        let answered = match interpreter::asked(function, input)? {
            Asked::Now => Ok(Value::from(
                self.host.now().await.map_err(|_| NO_CLOCK.to_owned())?,
            )),
            Asked::Fetch {
                url,
                method,
                headers,
                body,
            } => self.fetch(url, method, headers, body).await,
            other => self.files(other).await,
        };
        // What cannot be asked of a component's host either ends the call with these words.
        answered
            .map(|answer| answer.to_string())
            .map_err(|why| why.message)
    }
}

const NO_CLOCK: &str = "the time of day was not granted to this tool";

impl Granted {
    async fn files(&mut self, asked: Asked) -> Result<Value, Failure> {
        let host = &mut self.host;
        match asked {
            Asked::List {
                path,
                recursive,
                glob,
            } => return self.list(path, recursive, glob.as_deref()).await,
            Asked::Stat { path } => {
                return match flat(host.stat(path.clone()).await) {
                    Ok(entry) => Ok(shown(&path, &entry)),
                    Err(why) if why.kind == FailureKind::NotFound => Ok(Value::Null),
                    Err(why) => Err(why),
                };
            }
            Asked::Read { path } => {
                let bytes = self.read(path.clone()).await?;
                let text = String::from_utf8(bytes);
                return text.map(Value::from).map_err(|_| Failure {
                    kind: FailureKind::Invalid,
                    message: format!("{path} is not text in UTF-8"),
                });
            }
            Asked::Write { path, text, append } => match append {
                true => flat(fs::Host::append(host, path, text.into_bytes()).await)?,
                false => flat(fs::Host::write(host, path, text.into_bytes()).await)?,
            },
            Asked::Folder { path } => flat(host.make_folder(path).await)?,
            Asked::Remove { path } => flat(host.remove(path).await)?,
            Asked::Move { from, to } => flat(host.move_(from, to).await)?,
            Asked::Copy { from, to } => {
                let bytes = self.read(from).await?;
                flat(fs::Host::write(&mut self.host, to, bytes).await)?;
            }
            Asked::Now | Asked::Fetch { .. } => {}
        }
        Ok(Value::Null)
    }

    /// A whole file.
    async fn read(&mut self, path: String) -> Result<Vec<u8>, Failure> {
        let most = u32::try_from(HANDED_BYTES).unwrap_or(u32::MAX);
        let bytes = flat(fs::Host::read(&mut self.host, path.clone(), 0, most).await)?;
        if bytes.len() < HANDED_BYTES {
            return Ok(bytes);
        }
        Err(Failure {
            kind: FailureKind::TooLarge,
            message: format!("{path} is larger than what a script can read"),
        })
    }

    async fn list(
        &mut self,
        path: String,
        recursive: bool,
        glob: Option<&str>,
    ) -> Result<Value, Failure> {
        let matcher = |glob: &str| OverrideBuilder::new(ROOT).add(glob)?.build();
        let glob = glob.map(matcher).transpose().map_err(|why| Failure {
            kind: FailureKind::Invalid,
            message: why.to_string(),
        })?;
        let fits = |path: &str| {
            let path = Path::new(ROOT).join(path);
            glob.as_ref()
                .is_none_or(|glob| !glob.matched(path, false).is_ignore())
        };
        let (mut found, mut folders) = (Vec::new(), vec![path]);
        while let Some(folder) = folders.pop() {
            for entry in flat(fs::Host::list(&mut self.host, folder.clone()).await)? {
                let path = match folder.as_str() {
                    "." | "" | "./" => entry.name.clone(),
                    folder => format!("{}/{}", folder.trim_end_matches('/'), entry.name),
                };
                if recursive && entry.kind == FileKind::Folder {
                    folders.push(path.clone());
                }
                if fits(&path) {
                    found.push((path.clone(), shown(&path, &entry)));
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found.into_iter().map(|(_, shown)| shown).collect())
    }

    async fn fetch(
        &mut self,
        url: String,
        method: String,
        headers: Vec<Pair>,
        body: Option<String>,
    ) -> Result<Value, Failure> {
        let headers = headers.into_iter().map(|pair| http::Header {
            name: pair.name,
            value: pair.value,
        });
        let request = http::Request {
            method,
            url,
            headers: headers.collect(),
            body: body.map(String::into_bytes),
            timeout_ms: None,
        };
        let response = flat(self.host.send(request).await)?;
        let headers = response.headers.iter();
        let headers: Vec<_> = headers
            .map(|header| json!({"name": header.name, "value": header.value}))
            .collect();
        Ok(json!({
            "status": response.status,
            "url": response.url,
            "headers": headers,
            "body": String::from_utf8_lossy(&response.body),
        }))
    }
}

/// A fault of the host itself is one of the call to a script.
fn flat<T>(answered: wasmtime::Result<Result<T, Failure>>) -> Result<T, Failure> {
    answered.unwrap_or_else(|why| {
        Err(Failure {
            kind: FailureKind::Unavailable,
            message: why.to_string(),
        })
    })
}

fn shown(path: &str, entry: &fs::Entry) -> Value {
    match entry.kind {
        FileKind::Folder => json!({"path": path, "folder": true}),
        FileKind::File | FileKind::Other => json!({"path": path, "size": entry.size}),
    }
}
