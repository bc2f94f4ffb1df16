//! Log, clock, random bytes, variables of the environment.

use std::time::SystemTime;

use super::Host;
use crate::wasm::{
    asks::Capability,
    bindings::gpak::tool::core::{self, Level},
    stop::Ending,
};

/// Random bytes that are given at once.
const RANDOM: u32 = 65_536;

impl core::Host for Host {
    async fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.log.add(level, &message);
        Ok(())
    }

    async fn now(&mut self) -> wasmtime::Result<u64> {
        self.needs(Capability::Clock)?;
        Ok(milliseconds(SystemTime::now()))
    }

    async fn random(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.needs(Capability::Random)?;
        if count > RANDOM {
            return Err(denied(format!(
                "it wanted {count} random bytes at once, and {RANDOM} are given"
            )));
        }
        let mut bytes = vec![0; count as usize];
        let filled = getrandom::fill(&mut bytes);
        filled.map_err(|why| denied(format!("there are no random bytes here ({why})")))?;
        Ok(bytes)
    }

    async fn variable(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        if !self.grant().environment.contains(&name) {
            return Err(denied(format!(
                "it wanted the environment variable {name}, which it was not granted"
            )));
        }
        Ok(std::env::var(&name).ok())
    }
}

impl Host {
    /// Ends the guest if it was not granted that.
    fn needs(&self, capability: Capability) -> wasmtime::Result<()> {
        if self.grant().has(capability) {
            return Ok(());
        }
        Err(denied(format!(
            "it wanted {capability}, which it was not granted"
        )))
    }
}

fn denied(why: String) -> wasmtime::Error {
    Ending::Denied(why).into()
}

/// Since 1970.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
