//! Compiling within a limit of time.
//!
//! The compiler cannot be interrupted. It works on a thread of its own that nobody waits for once the time
//! is up: not the call, and not the end of the process, which a thread of the runtime's pool would hold up.

use std::{thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use wasmtime::component::Component;

use super::{Cache, WasmError, code::Code, engine::engine};

/// How long a component may take to compile, waiting for its turn included: one with an interpreter in it (18 MB
/// for Python) takes minutes on a small machine with other work.
const LIMIT: Duration = Duration::from_secs(300);
/// Components that are compiled at once, those that nobody waits for any more among them.
const AT_ONCE: usize = 4;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Compiles a component, or has it from the cache.
///
/// # Errors
/// If it is no component of a world of ours, or takes too long.
pub(super) async fn load(bytes: Vec<u8>, cache: Cache) -> Result<Code, WasmError> {
    load_within(LIMIT, &TURNS, bytes, cache).await
}

/// Compiles a component that comes with gpak, or has it from the cache.
///
/// # Errors
/// If the engine cannot, or takes too long.
pub(crate) async fn own(bytes: &'static [u8], cache: Cache) -> Result<Component, WasmError> {
    let work = move || cache.code(engine()?, bytes);
    timeout(LIMIT, on_a_thread(work)).await.unwrap_or_else(|_| {
        Err(WasmError::Engine(format!(
            "what scripts run in was not compiled within {} s; try again when the machine is less busy",
            LIMIT.as_secs()
        )))
    })
}

async fn load_within(
    limit: Duration,
    turns: &'static Semaphore,
    bytes: Vec<u8>,
    cache: Cache,
) -> Result<Code, WasmError> {
    let loading = async {
        // Kept by the thread and not by its call, which may have given up long before.
        let turn = turns.acquire().await.map_err(broken)?;
        on_a_thread(move || {
            let _turn = turn;
            Code::load(&cache, &bytes)
        })
        .await
    };
    timeout(limit, loading).await.unwrap_or_else(|_| {
        Err(WasmError::Component(format!(
            "the component was not compiled within {} s, and was given up; build it smaller or with simpler \
             functions, or try again when the machine is less busy",
            limit.as_secs()
        )))
    })
}

fn broken(why: impl std::fmt::Display) -> WasmError {
    WasmError::Engine(format!(
        "the compiler broke down ({why}); please report this"
    ))
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WasmError> + Send + 'static,
) -> Result<T, WasmError> {
    let (made, making) = oneshot::channel();
    let work = move || {
        // Nobody may be there to have it; it is in the cache then.
        let _ = made.send(work());
    };
    let named = thread::Builder::new().name("gpak-compile".to_owned());
    named
        .spawn(work)
        .map_err(|why| WasmError::Engine(format!("no thread can be had to compile on: {why}")))?;
    making.await.map_err(broken)?
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// A component that has much to compile, and is of no world of ours.
    fn large() -> Vec<u8> {
        let mut text = "(component (core module".to_owned();
        for _ in 0..200 {
            text.push_str("(func (param i32) (result i32) local.get 0 ");
            for number in 0..400 {
                let _ = write!(text, "i32.const {number} i32.add i32.popcnt ");
            }
            text.push(')');
        }
        wat::parse_str(text + "))").unwrap()
    }

    /// The turns of one test: another's threads do not take them.
    fn turns() -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(AT_ONCE)))
    }

    #[tokio::test]
    async fn a_component_that_takes_too_long_to_compile_is_given_up_and_others_are_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("code"), folder.path().join("key"));
        let turns = turns();
        let given_up = load_within(Duration::ZERO, turns, large(), cache.clone()).await;
        let why = given_up.err().unwrap().to_string();
        assert!(why.contains("not compiled within 0 s"), "{why}");
        let simple = wat::parse_str("(component)").unwrap();
        let other = load_within(LIMIT, turns, simple, cache.clone()).await;
        let why = other.err().map(|why| why.to_string());
        assert!(why.is_some_and(|why| why.contains("not of a world")));
    }

    #[tokio::test]
    async fn a_component_whose_compiling_was_given_up_is_there_when_it_is_next_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("code"), folder.path().join("key"));
        let turns = turns();
        let given_up = load_within(Duration::ZERO, turns, large(), cache.clone()).await;
        assert!(given_up.is_err());
        // All turns are free again once the thread is done.
        drop(turns.acquire_many(AT_ONCE as u32).await.unwrap());
        let kept = std::fs::read_dir(folder.path().join("code")).unwrap();
        assert_eq!(kept.count(), 1);
        let engine = engine().unwrap();
        let _: Component = cache.code(engine, &large()).unwrap();
    }

    #[tokio::test]
    async fn what_comes_with_gpak_waits_for_no_other_component_and_holds_up_no_task() {
        let bytes: &'static [u8] = large().leak();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("code"), folder.path().join("key"));
        let _all = TURNS.acquire_many(AT_ONCE as u32).await.unwrap();
        let compiling = own(bytes, cache);
        tokio::pin!(compiling);
        let first = futures::poll!(compiling.as_mut());
        assert!(first.is_pending(), "it is compiled on another thread");
        assert!(compiling.await.is_ok());
    }
}
