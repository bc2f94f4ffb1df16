//! The interpreter: a component of the world `script`, a fresh instance of it for each script.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::{
    text::Stop,
    wasm::{
        Cache, Limits, Stopped, WasmError, compile,
        engine::{Guest, engine},
        sandbox::Sandbox,
    },
};

/// Made by `tools/script/build.sh`.
const COMPONENT: &[u8] = include_bytes!("../../script/script.wasm");
/// What the interpreter throws when it is not to go on.
const INTERRUPTED: &str = "InternalError: interrupted";
/// How often it is looked whether somebody still waits for the interpreter to be compiled.
const LOOKS: Duration = Duration::from_millis(20);
/// How long before it is stopped from outside a script is asked to end, so that what it printed is told.
const GRACE: Duration = Duration::from_millis(100);

#[allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "generated"
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "script",
        imports: { "gpak:tool/script-host.call": async },
        exports: { default: async },
    });
}

use bindings::{Script, ScriptPre, gpak::tool::script_host};

/// What a script may take.
#[derive(Debug, Clone, Copy)]
pub struct ScriptLimits {
    /// Time, from its start to its end.
    pub time: Duration,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// What it prints and what it gives, in bytes each.
    pub output_bytes: usize,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(20),
            memory_mib: 256,
            output_bytes: 256 * 1024,
        }
    }
}

/// What a script can call.
pub(crate) trait Host: Send + 'static {
    /// Does `function`, with JSON in and out. Err is thrown in the script.
    fn call(
        &mut self,
        function: &str,
        input: &str,
    ) -> impl Future<Output = Result<String, String>> + Send;
}

/// What a script asks for: the function's name as the member `do`, beside those of its input.
///
/// # Errors
/// Why that cannot be understood, for the script.
pub(crate) fn asked<T: DeserializeOwned>(function: &str, input: &str) -> Result<T, String> {
    let asked: Value = serde_json::from_str(input).map_err(|why| why.to_string())?;
    let mut asked = match asked {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    asked.insert("do".to_owned(), function.into());
    serde_json::from_value(Value::Object(asked))
        .map_err(|why| format!("{function} cannot be done so: {why}"))
}

/// What is run of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    /// Run before it, if there is something.
    pub(crate) before: Option<&'a str>,
    /// The source.
    pub(crate) source: &'a str,
    /// The function that is called then, with JSON; its value is the program's, in place of that of the
    /// last expression.
    pub(crate) function: Option<(&'a str, &'a str)>,
}

/// Why a script came to no good end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It threw, or is no JavaScript.
    #[error("{message}")]
    Thrown {
        /// What it threw.
        message: String,
        /// Where, from 1.
        line: Option<u32>,
    },
    /// It was stopped.
    #[error("the script {0}")]
    Stopped(Stopped),
}

/// What a script gave before it ended, well or not.
pub(crate) struct Ran<H> {
    /// JSON of its last value.
    pub(crate) result: Result<String, ScriptError>,
    pub(crate) printed: String,
    pub(crate) host: H,
}

pub(crate) struct Running<H> {
    host: H,
    printed: String,
    room: usize,
    until: Instant,
    stop: Stop,
}

impl<H: Host> script_host::Host for Running<H> {
    async fn call(&mut self, function: String, input: String) -> Result<String, String> {
        self.host.call(&function, &input).await
    }

    fn print(&mut self, line: String) {
        if self.printed.len() < self.room {
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
    }

    fn go_on(&mut self, _: u32) -> bool {
        Instant::now() < self.until && self.stop.check().is_ok()
    }
}

/// Runs scripts, which have an `H`.
pub(crate) struct Interpreter<H: Host> {
    cache: Cache,
    ready: Arc<OnceCell<Ready<H>>>,
}

/// The interpreter, compiled and bound to what its host gives.
type Ready<H> = ScriptPre<Guest<Running<H>>>;

impl<H: Host> Clone for Interpreter<H> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            ready: Arc::clone(&self.ready),
        }
    }
}

impl<H: Host> Interpreter<H> {
    /// One whose compiled code is kept in `cache`. It is made ready when it is first needed.
    pub(crate) fn new(cache: Cache) -> Self {
        Self {
            cache,
            ready: Arc::default(),
        }
    }

    /// Runs a program.
    ///
    /// # Errors
    /// If this machine cannot run scripts at all.
    pub(crate) async fn run(
        &self,
        host: H,
        program: Program<'_>,
        limits: &ScriptLimits,
        stop: &Stop,
    ) -> Result<Ran<H>, WasmError> {
        let engine = engine()?;
        let ready = self.ready(stop).await?;
        let guest = guest_limits(limits);
        let running = Running {
            host,
            printed: String::new(),
            room: limits.output_bytes,
            until: Instant::now() + limits.time,
            stop: stop.clone(),
        };
        let mut sandbox = Sandbox::new(engine, running, guest)?;
        let ran = sandbox.run(async |store| {
            let script: Script = ready.instantiate_async(&mut *store).await?;
            if let Some(before) = program.before
                && let Err(error) = script.call_load(&mut *store, before).await?
            {
                return Ok(Err(error));
            }
            let loaded = script.call_load(&mut *store, program.source).await?;
            match (loaded, program.function) {
                (Ok(_), Some((name, input))) => script.call_invoke(store, name, input).await,
                (loaded, _) => Ok(loaded),
            }
        });
        let result = match ran.await {
            Ok(Ok(value)) if value.len() > limits.output_bytes => {
                Err(ScriptError::Stopped(Stopped::Output(guest.output_kib)))
            }
            Ok(Ok(value)) => Ok(value),
            // An endless loop shows no line worth telling.
            Ok(Err(error)) if error.message == INTERRUPTED => {
                Err(ScriptError::Stopped(Stopped::TimedOut(guest.time_ms)))
            }
            Ok(Err(error)) => Err(ScriptError::Thrown {
                message: error.message,
                line: error.line,
            }),
            Err(stopped) => Err(ScriptError::Stopped(stopped)),
        };
        let Running { host, printed, .. } = sandbox.into_host();
        Ok(Ran {
            result,
            printed,
            host,
        })
    }

    /// The interpreter, as long as somebody waits for it to be compiled.
    async fn ready(&self, stop: &Stop) -> Result<&Ready<H>, WasmError> {
        let making = self
            .ready
            .get_or_try_init(async || bound(&compile::own(COMPONENT, self.cache.clone()).await?));
        tokio::pin!(making);
        loop {
            if let Ok(made) = tokio::time::timeout(LOOKS, making.as_mut()).await {
                return made;
            }
            let cancelled = stop.check();
            cancelled.map_err(|why| WasmError::Engine(why.to_string()))?;
        }
    }
}

fn bound<H: Host>(component: &Component) -> Result<Ready<H>, WasmError> {
    let mut linker = Linker::new(component.engine());
    script_host::add_to_linker::<_, HasSelf<Running<H>>>(
        &mut linker,
        |guest: &mut Guest<Running<H>>| &mut guest.host,
    )
    .and_then(|()| linker.instantiate_pre(component))
    .and_then(ScriptPre::new)
    .map_err(|why| WasmError::Engine(format!("{why:#}")))
}

fn guest_limits(limits: &ScriptLimits) -> Limits {
    let time = limits.time + GRACE;
    Limits {
        memory_mib: limits.memory_mib,
        time_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
        output_kib: u32::try_from(limits.output_bytes / 1024).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_that_instances_begin_with_is_the_one_in_its_file() {
        let prelude = include_bytes!("../../script/prelude.js");
        assert!(
            COMPONENT
                .windows(prelude.len())
                .any(|bytes| bytes == prelude),
            "run tools/script/build.sh and commit what it makes"
        );
    }
}
