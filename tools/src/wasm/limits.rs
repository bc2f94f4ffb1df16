//! What a guest may take.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// Bytes in a MiB, and in a KiB.
const MIB: u64 = 1024 * 1024;
const KIB: u64 = 1024;
/// Entries of all tables of a guest together; each is a pointer of the host's.
const TABLE_ENTRIES: usize = 200_000;
/// Core instances, memories and tables of one guest. Python's have some thirty.
const INSTANCES: usize = 200;
const MEMORIES: usize = 32;
const TABLES: usize = 200;
/// What comes with an output besides its bytes: the arguments of the call, names.
const ENVELOPE: usize = 64 * 1024;
/// Bytes that a guest may hand to the host in one call of a capability.
pub(crate) const HANDED_BYTES: usize = 16 * 1024 * 1024;

/// What a guest may take. The rest of its world is bounded by these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory, in MiB; 1 to 2048.
    pub memory_mib: u32,
    /// Time of a call from its start to its end, in milliseconds; up to 600,000.
    pub time_ms: u32,
    /// What a call may give, in KiB; up to 8192.
    pub output_kib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mib: 64,
            time_ms: 10_000,
            output_kib: 64,
        }
    }
}

impl Limits {
    /// What is wrong with them, if something is.
    pub(crate) fn fault(&self) -> Option<String> {
        let checks = [
            ("memory_mib", self.memory_mib, 2048),
            ("time_ms", self.time_ms, 600_000),
            ("output_kib", self.output_kib, 8192),
        ];
        let wrong = checks
            .into_iter()
            .find(|(_, value, most)| *value == 0 || value > most);
        wrong.map(|(name, value, most)| {
            format!("limits.{name} is {value}; it goes from 1 to {most}")
        })
    }

    /// The time of a call.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms.into())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        usize::try_from(u64::from(self.memory_mib) * MIB).unwrap_or(usize::MAX)
    }

    pub(crate) fn output_bytes(&self) -> usize {
        usize::try_from(u64::from(self.output_kib) * KIB).unwrap_or(usize::MAX)
    }

    /// Bytes that may leave the guest's memory at once. What is more is never copied.
    pub(crate) fn carried_bytes(&self) -> usize {
        (self.output_bytes() + ENVELOPE).max(HANDED_BYTES)
    }
}

/// Counts what a guest takes and refuses what is too much.
#[derive(Debug)]
pub(crate) struct Meter {
    memory: usize,
    most_memory: usize,
    entries: usize,
    /// What the guest was refused, for the one who asks why it failed.
    refused: Option<Refused>,
}

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Memory,
    Table,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: 0,
            most_memory: limits.memory_bytes(),
            entries: 0,
            refused: None,
        }
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Memory taken, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.saturating_add(desired.saturating_sub(current));
        if grown > self.most_memory {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        self.memory = grown;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.entries.saturating_add(desired.saturating_sub(current));
        if grown > TABLE_ENTRIES {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        self.entries = grown;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
