//! A component that is ready to be called: each call gets a fresh instance.

use wasmtime::{
    Engine,
    component::{Component, ComponentExportIndex, HasSelf, InstancePre, Linker},
};

use super::{
    Cache, Limits, WasmError,
    asks::Capability,
    bindings::{
        ToolPre,
        gpak::tool::{self as wit, types::Call},
    },
    component::Imports,
    described::{Described, described},
    engine::{Guest, engine},
    host::Host,
    sandbox::Sandbox,
    stop::Stopped,
};

/// A component that is ready to be called.
pub(crate) struct Code {
    engine: &'static Engine,
    pre: ToolPre<Guest<Host>>,
    compensate: Option<ComponentExportIndex>,
    pub(crate) imports: Imports,
}

/// What a guest gave, and what the host had for it.
pub(crate) struct Given<T> {
    pub(crate) result: Result<T, Stopped>,
    pub(crate) host: Host,
}

/// What `invoke` and `compensate` give.
pub(crate) type Said = Result<String, wit::types::Error>;

impl Code {
    /// Compiles a component, or has it from the cache. Takes its time and blocks.
    ///
    /// # Errors
    /// If it is no component of a world of ours.
    pub(crate) fn load(cache: &Cache, bytes: &[u8]) -> Result<Self, WasmError> {
        let engine = engine()?;
        let component = cache.code(engine, bytes)?;
        let imports = Imports::of(engine, &component)?;
        let pre = link(engine, &component, &imports)?;
        Ok(Self {
            engine,
            pre: ToolPre::new(pre).map_err(|why| foreign(&why))?,
            compensate: component.get_export_index(None, "compensate"),
            imports,
        })
    }

    /// What the component says of its tools, with nothing granted.
    ///
    /// # Errors
    /// If it fails, or says what cannot be.
    pub(crate) async fn describe(&self, limits: Limits) -> Result<Vec<Described>, WasmError> {
        let wasi = self.imports.capabilities.contains(&Capability::Wasi);
        let host =
            Host::for_description(wasi).map_err(|why| WasmError::Description(why.to_string()))?;
        let mut sandbox = Sandbox::new(self.engine, host, limits)?;
        let pre = &self.pre;
        let tools = sandbox.run(async |store| {
            let tool = pre.instantiate_async(&mut *store).await?;
            tool.call_describe(store).await
        });
        let tools = tools.await.map_err(|why| {
            WasmError::Description(format!("the component, asked to describe its tools, {why}"))
        })?;
        described(tools, self.compensate.is_some())
    }

    /// Makes a call.
    ///
    /// # Errors
    /// If the engine cannot; what the guest did wrong is in what was given.
    pub(crate) async fn invoke(
        &self,
        host: Host,
        limits: Limits,
        call: &Call,
    ) -> Result<Given<Said>, WasmError> {
        let mut sandbox = Sandbox::new(self.engine, host, limits)?;
        let pre = &self.pre;
        let said = sandbox.run(async |store| {
            let tool = pre.instantiate_async(&mut *store).await?;
            tool.call_invoke(store, call).await
        });
        let result = said.await.and_then(|said| bounded(said, &limits));
        let mut host = sandbox.into_host();
        host.take_printed();
        Ok(Given { result, host })
    }

    /// Undoes a call that gave `output`.
    ///
    /// # Errors
    /// As [`Code::invoke`].
    pub(crate) async fn compensate(
        &self,
        host: Host,
        limits: Limits,
        call: &Call,
        output: &str,
    ) -> Result<Given<Said>, WasmError> {
        let Some(index) = &self.compensate else {
            return Err(WasmError::Component(
                "the component cannot undo its calls".to_owned(),
            ));
        };
        let mut sandbox = Sandbox::new(self.engine, host, limits)?;
        let pre = self.pre.instance_pre();
        let said = sandbox.run(async |store| {
            let instance = pre.instantiate_async(&mut *store).await?;
            let compensate =
                instance.get_typed_func::<(&Call, &str), (Said,)>(&mut *store, index)?;
            let (said,) = compensate.call_async(store, (call, output)).await?;
            Ok(said)
        });
        let result = said.await.and_then(|said| bounded(said, &limits));
        let mut host = sandbox.into_host();
        host.take_printed();
        Ok(Given { result, host })
    }
}

/// Gives the component what it imports and no more.
fn link(
    engine: &Engine,
    component: &Component,
    imports: &Imports,
) -> Result<InstancePre<Guest<Host>>, WasmError> {
    let mut linker = Linker::new(engine);
    let host: fn(&mut Guest<Host>) -> &mut Host = |guest| &mut guest.host;
    for interface in &imports.interfaces {
        let linked = match interface.as_str() {
            "core" => wit::core::add_to_linker::<_, HasSelf<Host>>(&mut linker, host),
            "fs" => wit::fs::add_to_linker::<_, HasSelf<Host>>(&mut linker, host),
            "http" => wit::http::add_to_linker::<_, HasSelf<Host>>(&mut linker, host),
            "kv" => wit::kv::add_to_linker::<_, HasSelf<Host>>(&mut linker, host),
            _ => Ok(()),
        };
        linked.map_err(|why| WasmError::Engine(format!("{why:#}")))?;
    }
    linker
        .instantiate_pre(component)
        .map_err(|why| foreign(&why))
}

fn foreign(why: &wasmtime::Error) -> WasmError {
    WasmError::Component(format!(
        "the component is not of a world of gpak:tool@0.1.0 ({why:#}); build it against the tool.wit that \
         gpak tools new writes"
    ))
}

/// What was said, if it is no more than may be.
fn bounded(said: Said, limits: &Limits) -> Result<Said, Stopped> {
    let length = match &said {
        Ok(text) => text.len(),
        Err(
            wit::types::Error::InvalidInput(text)
            | wit::types::Error::Failed(text)
            | wit::types::Error::Unknown(text),
        ) => text.len(),
    };
    if length > limits.output_bytes() {
        return Err(Stopped::Output(limits.output_kib));
    }
    Ok(said)
}
