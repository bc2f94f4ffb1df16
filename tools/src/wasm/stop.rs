//! Why a guest came to no good end.

use wasmtime::Trap;

use super::limits::{Limits, Meter, Refused};

/// Why a guest was stopped. Its text is for the model and follows the name of the tool: `shout ran for…`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It took too long.
    #[error("was stopped: it ran for more than {0} ms; ask it for less at once")]
    TimedOut(u32),
    /// It wanted too much memory.
    #[error("was stopped: it wanted more than its {0} MiB of memory; ask it for less at once")]
    Memory(u32),
    /// It wanted too large a table.
    #[error(
        "was stopped: it wanted larger tables than a tool may have; it is broken, use another way"
    )]
    Table,
    /// It gave too much.
    #[error("was stopped: it gave more than {0} KiB; ask it for less at once")]
    Output(u32),
    /// It went too deep.
    #[error("was stopped: it called itself too deeply; ask it for something simpler")]
    Stack,
    /// It broke down by itself.
    #[error("broke down: {0}; try other arguments or another way")]
    Trap(String),
    /// It used something that it may not.
    #[error("was stopped: {0}")]
    Denied(String),
}

/// What the host ends a guest with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    #[error("its time is up")]
    TimedOut,
    #[error("{0}")]
    Denied(String),
}

/// Why a guest failed with `error`.
pub(crate) fn stopped(error: &wasmtime::Error, meter: &Meter, limits: &Limits) -> Stopped {
    if let Some(ending) = error.downcast_ref::<Ending>() {
        return match ending {
            Ending::TimedOut => Stopped::TimedOut(limits.time_ms),
            Ending::Denied(why) => Stopped::Denied(why.clone()),
        };
    }
    // A guest that is refused memory gives up in its own way, mostly by a trap.
    match meter.refused() {
        Some(Refused::Memory) => return Stopped::Memory(limits.memory_mib),
        Some(Refused::Table) => return Stopped::Table,
        None => {}
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Stopped::Trap(format!("it ended itself with exit code {}", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Stopped::Stack,
        Some(trap) => Stopped::Trap(trap.to_string()),
        // The type of this error is the engine's own.
        None if error
            .root_cause()
            .to_string()
            .contains("fuel allocated for hostcalls") =>
        {
            Stopped::Output(limits.output_kib)
        }
        None => Stopped::Trap(error.root_cause().to_string()),
    }
}
