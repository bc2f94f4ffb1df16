//! WASI 0.2, for guests whose language cannot do without it.
//!
//! They see the granted folders, to read; the clock; random bytes; and no network, environment or
//! arguments. What they print is logged.

use std::path::Path;

use gpak_kernel::tool::ToolError;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView, p2::pipe::MemoryOutputPipe};

use super::{Calling, Host};
use crate::{
    wasm::{Asks, bindings::gpak::tool::core::Level, engine::Guest},
    workspace::{Workspace, rejected},
};

/// Bytes that a guest may print in a call, to each of its two streams.
const PRINTED: usize = 32 * 1024;
const RANDOM: u64 = 65_536;

pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    printed: [(Level, MemoryOutputPipe); 2],
}

impl Wasi {
    /// With the folders of `grant`, as the workspace of a call has them; without any while there is no call.
    pub(super) fn new(
        grant: &Asks,
        calling: Option<&Calling>,
        protected: &[std::path::PathBuf],
    ) -> Result<Self, ToolError> {
        let printed =
            [Level::Info, Level::Warn].map(|level| (level, MemoryOutputPipe::new(PRINTED)));
        let [(_, out), (_, errors)] = printed.clone();
        let mut builder = WasiCtx::builder();
        builder.max_random_size(RANDOM).stdout(out).stderr(errors);
        builder.allow_tcp(false).allow_udp(false);
        for folder in &grant.files {
            let Some(calling) = calling else { continue };
            let path = real(&folder.path, calling, protected)?;
            builder
                .preopened_dir(&path, &folder.path, FsPerms::ReadOnly)
                .map_err(|why| {
                    rejected(format!(
                        "the folder {} cannot be opened: {why:#}",
                        folder.path
                    ))
                })?;
        }
        Ok(Self {
            context: builder.build(),
            table: ResourceTable::new(),
            printed,
        })
    }
}

/// Where a granted folder really is. A folder with gpak's own in it would show these.
fn real(
    path: &str,
    calling: &Calling,
    protected: &[std::path::PathBuf],
) -> Result<std::path::PathBuf, ToolError> {
    let real = if Path::new(path).is_absolute() {
        Path::new(path).canonicalize().map_err(|why| {
            rejected(format!(
                "the folder {path}, which the tool was granted, cannot be opened: {why}"
            ))
        })?
    } else {
        let workspace = Workspace::open(&calling.context.workspace, protected)?;
        let inside = workspace.locate(&workspace.parse(path)?)?;
        workspace.real().join(inside.as_path())
    };
    let own = protected
        .iter()
        .filter_map(|folder| folder.canonicalize().ok());
    let overlaps = |own: &std::path::PathBuf| own.starts_with(&real) || real.starts_with(own);
    match own.into_iter().find(overlaps) {
        None => Ok(real),
        Some(own) => Err(rejected(format!(
            "the folder {path} cannot be given to the tool, as {} in it or above it belongs to gpak itself",
            own.display()
        ))),
    }
}

impl Host {
    /// What was printed joins what was logged.
    pub(crate) fn take_printed(&mut self) {
        let Some(wasi) = self.wasi.take() else { return };
        for (level, pipe) in wasi.printed {
            for line in String::from_utf8_lossy(&pipe.contents()).lines() {
                self.log.add(level, line);
            }
        }
    }
}

impl WasiView for Guest<Host> {
    #[allow(
        clippy::expect_used,
        reason = "the trait has no way to fail, and WASI is linked only where it is"
    )]
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.host.wasi.as_mut().expect("WASI is linked");
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut wasi.table,
        }
    }
}
