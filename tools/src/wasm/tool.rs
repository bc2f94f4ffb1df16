//! A tool of a package, as the kernel calls it.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::{
    label::Label,
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    Described, Kind, Limits, Logged, Package, Packages, WasmError,
    bindings::gpak::tool::types,
    code::{Code as Component, Given, Said},
    compile,
    host::{Calling, Host, House},
    scripted::Script,
    stop::Stopped,
};
use crate::{
    UndoStore,
    builtin::blocking,
    schema,
    staged::{fresh_record, put_back},
    undo::Record,
    workspace::{Temp, Workspace, rejected},
};

/// A package whose component is loaded when one of its tools is first called.
pub(crate) struct Loaded {
    pub(super) package: Package,
    packages: Packages,
    undo: UndoStore,
    house: Arc<House>,
    code: OnceCell<Code>,
    /// The file, where it is in no folder.
    given: Option<Vec<u8>>,
}

/// What a package is made of, ready to be called.
pub(super) enum Code {
    Component(Box<Component>),
    Script(Script),
}

/// A tool of a package.
pub struct PackagedTool {
    described: Described,
    of: Arc<Loaded>,
}

/// What a call of a packaged tool came to, for those who try tools out.
#[derive(Debug)]
pub struct Called {
    /// What the kernel is told.
    pub result: Result<ToolOutput, ToolError>,
    /// What the tool logged.
    pub log: Logged,
}

impl Loaded {
    pub(super) fn new(package: Package, packages: Packages, undo: UndoStore) -> Self {
        Self {
            house: Arc::new(packages.house(&package)),
            package,
            packages,
            undo,
            code: OnceCell::new(),
            given: None,
        }
    }

    /// With the bytes of its file.
    pub(super) fn given(mut self, bytes: Vec<u8>) -> Self {
        self.given = Some(bytes);
        self
    }

    /// The component, if it is what was granted.
    pub(super) async fn code(&self) -> Result<&Code, WasmError> {
        let load = || async {
            let bytes = match &self.given {
                Some(bytes) => bytes.clone(),
                None => self.read().await?,
            };
            if self.package.manifest.kind == Kind::Script {
                let script = Script::new(self.packages.interpreter(), &bytes)?;
                return Ok(Code::Script(script));
            }
            let code = compile::load(bytes, self.packages.cache().clone()).await?;
            let beyond = code.imports.beyond(&self.house.grant);
            if beyond.is_empty() {
                return Ok(Code::Component(Box::new(code)));
            }
            let names: Vec<_> = beyond.iter().map(ToString::to_string).collect();
            Err(WasmError::Grant(format!(
                "the package {} needs what was not granted: {}; add it again to grant it",
                self.package.name(),
                names.join(", ")
            )))
        };
        self.code.get_or_try_init(load).await
    }

    async fn read(&self) -> Result<Vec<u8>, WasmError> {
        let (packages, package) = (self.packages.clone(), self.package.clone());
        let reading = tokio::task::spawn_blocking(move || packages.bytes(&package));
        reading.await.map_err(|why| {
            WasmError::Engine(format!("reading it broke down ({why}); please report this"))
        })?
    }

    fn limits(&self) -> Limits {
        self.package.manifest.limits
    }
}

impl PackagedTool {
    pub(super) fn new(described: Described, of: Arc<Loaded>) -> Self {
        Self { described, of }
    }

    /// What the tool says of itself.
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// Makes a call as the kernel does, and keeps what the tool logs.
    pub async fn call_logged(&self, call: &Call, context: &ToolContext) -> Called {
        let mut log = Logged::default();
        let result = self.make(call, context, &mut log).await;
        Called { result, log }
    }

    async fn make(
        &self,
        call: &Call,
        context: &ToolContext,
        log: &mut Logged,
    ) -> Result<ToolOutput, ToolError> {
        let undo = &self.of.undo;
        let effect = self.described.spec.effect;
        let earlier = match effect {
            Effect::Pure => None,
            _ => undo.get(&context.run, &call.id)?,
        };
        if let Some(record) = earlier {
            if !record.said.is_empty() {
                return self.output(record.said, true);
            }
            self.take_back(record, call, context).await?;
        }
        let mut record = fresh_record(&call.name);
        if effect == Effect::Reversible {
            undo.put(&context.run, &call.id, &record)?;
        }
        let code = self.of.code().await.map_err(|why| self.unusable(&why))?;
        let host = Host::for_call(self.of.house.clone(), self.calling(context))?;
        let asked = self.asked(call, context);
        let limits = self.of.limits();
        let given = match code {
            Code::Component(component) => component.invoke(host, limits, &asked).await,
            Code::Script(script) => {
                let of_one = self.of.package.tools.len() == 1;
                script.invoke(host, limits, &asked, of_one).await
            }
        };
        let Given { result, mut host } = given.map_err(|why| self.unusable(&why))?;
        *log = std::mem::take(&mut host.log);
        let text = self.said(result, host.acted)?;
        let mut output = self.output(text.clone(), host.acted)?;
        output.label = host.web.take().map(Label::Web);
        if let Some(changes) = host.take_changes() {
            let (undo, run, call) = (undo.clone(), context.run, call.id);
            record = blocking(move |_| {
                changes.put_in_place(&undo, &run, &call, &mut record)?;
                Ok(record)
            })
            .await?;
        }
        match effect {
            Effect::Pure => {}
            Effect::Reversible => {
                record.said = text;
                undo.put(&context.run, &call.id, &record)?;
            }
            Effect::Idempotent | Effect::Irreversible => undo.remove(&context.run, &call.id),
        }
        Ok(output)
    }

    /// Takes back what a call left behind that a crash interrupted.
    async fn take_back(
        &self,
        record: Record,
        call: &Call,
        context: &ToolContext,
    ) -> Result<Vec<String>, ToolError> {
        if record.changes.is_empty() && record.folders.is_empty() {
            return Ok(Vec::new());
        }
        let (undo, protected) = (self.of.undo.clone(), self.of.house.protected.clone());
        let (context, call) = (context.clone(), call.id);
        blocking(move |_| {
            let _alone = undo.lock();
            let workspace = Workspace::open(&context.workspace, &protected)?;
            put_back(&workspace, &undo, &record, &Temp::new(&context.run, &call))
        })
        .await
    }

    fn calling(&self, context: &ToolContext) -> Calling {
        Calling {
            context: context.clone(),
            effect: self.described.spec.effect,
            can_compensate: self.described.can_compensate,
        }
    }

    fn asked(&self, call: &Call, context: &ToolContext) -> types::Call {
        types::Call {
            id: format!("{}/{}", context.run, call.id),
            attempt: call.attempt,
            tool: call.name.clone(),
            input: call.args.to_string(),
        }
    }

    /// What the guest said, or why it did not.
    fn said(&self, result: Result<Said, Stopped>, acted: bool) -> Result<String, ToolError> {
        let name = &self.described.spec.name;
        match result {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(types::Error::InvalidInput(why) | types::Error::Failed(why))) => {
                Err(rejected(format!("{name}: {why}")))
            }
            Ok(Err(types::Error::Unknown(why))) => {
                Err(ToolError::Unknown(format!("{name}: {why}")))
            }
            Err(why) => Err(in_doubt(format!("{name} {why}"), acted)),
        }
    }

    fn output(&self, text: String, acted: bool) -> Result<ToolOutput, ToolError> {
        let name = &self.described.spec.name;
        let value: Value = serde_json::from_str(&text).map_err(|why| {
            in_doubt(
                format!("{name} is broken: what it gave is no JSON ({why}); use another way"),
                acted,
            )
        })?;
        if let Some(output) = &self.described.output {
            schema::holds(output, &value).map_err(|why| {
                in_doubt(format!(
                    "{name} is broken: what it gave is not what it promises ({why}); use another way"
                ), acted)
            })?;
        }
        let text = value.as_str().map_or(text, str::to_owned);
        Ok(ToolOutput {
            text,
            data: Some(value),
            ..ToolOutput::default()
        })
    }

    fn unusable(&self, why: &WasmError) -> ToolError {
        rejected(format!(
            "{} cannot be used: {why}",
            self.described.spec.name
        ))
    }
}

#[async_trait]
impl Tool for PackagedTool {
    fn spec(&self) -> &ToolSpec {
        &self.described.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        self.call_logged(call, context).await.result
    }

    async fn compensate(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        let name = &self.described.spec.name;
        let Some(mut record) = self.of.undo.get(&context.run, &call.id)? else {
            return Err(rejected(format!(
                "call {} of {name} cannot be undone: what undo needs was not kept",
                call.id
            )));
        };
        if record.undone {
            return Ok(format!("{name} was undone already"));
        }
        let mut said = Vec::new();
        if self.described.can_compensate
            && let Code::Component(code) =
                self.of.code().await.map_err(|why| self.unusable(&why))?
        {
            let host = Host::for_call(self.of.house.clone(), self.calling(context))?;
            let asked = self.asked(call, context);
            let given = code
                .compensate(host, self.of.limits(), &asked, &record.said)
                .await;
            let given = given.map_err(|why| self.unusable(&why))?;
            said.push(self.said(given.result, given.host.acted)?);
        }
        said.extend(self.take_back(record.clone(), call, context).await?);
        if said.is_empty() {
            said.push(format!("nothing to undo: {name} changed nothing"));
        }
        record.undone = true;
        self.of.undo.put(&context.run, &call.id, &record)?;
        Ok(said.join("; "))
    }
}

/// For a call that went wrong on the way.
fn in_doubt(message: String, acted: bool) -> ToolError {
    if acted {
        return ToolError::Unknown(format!("{message}. It may have been done or not"));
    }
    rejected(message)
}
