//! The one engine of a process, and the clock that its guests are stopped by.
//!
//! Settled by measurement: instances made on demand, with copy-on-write images, beat the pooling
//! allocator where each call gets a fresh one; epochs beat fuel. Code is made by Cranelift and nothing
//! else.

use std::{
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use wasmtime::{Config, Engine, OptLevel, Store, UpdateDeadline};

use super::{
    WasmError,
    limits::{Limits, Meter},
    stop::Ending,
};

/// How often a guest that computes is looked at, and lets others on its thread go first.
const TICK: Duration = Duration::from_millis(5);
/// Stack of a guest, in bytes; a deeper recursion is a trap.
const GUEST_STACK: usize = 1024 * 1024;
/// Stack of a guest and the host functions that it calls, in bytes. Mapped, and used as far as needed.
const STACK: usize = 3 * 1024 * 1024;
/// Resources of the host that a guest may hold at once.
const HANDLES: usize = 1000;

/// The engine.
///
/// # Errors
/// If this machine cannot run it.
pub(crate) fn engine() -> Result<&'static Engine, WasmError> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let made = ENGINE.get_or_init(|| make().map_err(|why| format!("{why:#}")));
    made.as_ref().map_err(|why| WasmError::Engine(why.clone()))
}

fn make() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        // Without it a guest could tell processors apart.
        .relaxed_simd_deterministic(true);
    Engine::new(&config)
}

/// What is known of a guest while it runs: how much it has taken, and what the host gives it.
pub(crate) struct Guest<T> {
    pub(crate) meter: Meter,
    pub(crate) host: T,
}

/// A place for one guest, which is stopped at `deadline`.
pub(crate) fn store<T: Send + 'static>(
    engine: &Engine,
    host: T,
    limits: &Limits,
    deadline: Instant,
) -> Store<Guest<T>> {
    let meter = Meter::new(limits);
    let mut store = Store::new(engine, Guest { meter, host });
    store.limiter(|guest| &mut guest.meter);
    store.set_hostcall_fuel(limits.carried_bytes());
    store.set_max_component_handles(HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(Ending::TimedOut.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// Keeps the clock going for as long as it lives. Every guest needs one to be stopped.
pub(crate) struct Ticking(());

struct Clock {
    /// Guests at work.
    guests: Mutex<usize>,
    wanted: Condvar,
}

static CLOCK: Clock = Clock {
    guests: Mutex::new(0),
    wanted: Condvar::new(),
};

impl Ticking {
    /// Starts the clock if it stands.
    ///
    /// # Errors
    /// If no thread can be had for it.
    pub(crate) fn start(engine: &'static Engine) -> Result<Self, WasmError> {
        static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let clock = thread::Builder::new().name("gpak-wasm-clock".to_owned());
            let spawned = clock.spawn(move || tick(engine));
            spawned.map(drop).map_err(|why| why.to_string())
        });
        if let Err(why) = started {
            return Err(WasmError::Engine(format!(
                "its clock cannot be started: {why}"
            )));
        }
        let mut guests = CLOCK.guests.lock().unwrap_or_else(PoisonError::into_inner);
        *guests += 1;
        if *guests == 1 {
            CLOCK.wanted.notify_one();
        }
        Ok(Self(()))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let mut guests = CLOCK.guests.lock().unwrap_or_else(PoisonError::into_inner);
        *guests = guests.saturating_sub(1);
    }
}

/// Sleeps while there are no guests, so that an idle gpak wakes nobody.
fn tick(engine: &Engine) {
    loop {
        let guests = CLOCK.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = CLOCK.wanted.wait_while(guests, |guests| *guests == 0);
        drop(wanted);
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}
