//! Compiling within a limit of time.
//!
//! The compiler cannot be interrupted. It works on a thread of its own that nobody waits for once the time
//! is up: not the call, and not the end of the process, which a thread of the runtime's pool would hold up.

use std::{thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{Cache, WasmError, code::Code};

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
    load_within(LIMIT, bytes, cache).await
}

async fn load_within(limit: Duration, bytes: Vec<u8>, cache: Cache) -> Result<Code, WasmError> {
    let loading = timeout(limit, on_a_thread(bytes, cache));
    loading.await.unwrap_or_else(|_| {
        Err(WasmError::Component(format!(
            "the component was not compiled within {} s, and was given up; build it smaller or with simpler \
             functions, or try again when the machine is less busy",
            limit.as_secs()
        )))
    })
}

async fn on_a_thread(bytes: Vec<u8>, cache: Cache) -> Result<Code, WasmError> {
    let broken = |why: String| {
        WasmError::Engine(format!(
            "the compiler broke down ({why}); please report this"
        ))
    };
    // Kept by the thread and not by its call, which may have given up long before.
    let turn = TURNS
        .acquire()
        .await
        .map_err(|why| broken(why.to_string()))?;
    let (made, making) = oneshot::channel();
    let work = move || {
        let _turn = turn;
        // Nobody may be there to have it; it is in the cache then.
        let _ = made.send(Code::load(&cache, &bytes));
    };
    let named = thread::Builder::new().name("gpak-compile".to_owned());
    named
        .spawn(work)
        .map_err(|why| WasmError::Engine(format!("no thread can be had to compile on: {why}")))?;
    making.await.map_err(|why| broken(why.to_string()))?
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use wasmtime::component::Component;

    use super::{super::engine::engine, *};

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

    #[tokio::test]
    async fn a_component_that_takes_too_long_to_compile_is_given_up_and_others_are_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("code"), folder.path().join("key"));
        let given_up = load_within(Duration::ZERO, large(), cache.clone()).await;
        let why = given_up.err().unwrap().to_string();
        assert!(why.contains("not compiled within 0 s"), "{why}");
        let simple = wat::parse_str("(component)").unwrap();
        let other = load_within(LIMIT, simple, cache.clone()).await;
        let why = other.err().map(|why| why.to_string());
        assert!(why.is_some_and(|why| why.contains("not of a world")));
    }

    #[tokio::test]
    async fn a_component_whose_compiling_was_given_up_is_there_when_it_is_next_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("code"), folder.path().join("key"));
        let given_up = load_within(Duration::ZERO, large(), cache.clone()).await;
        assert!(given_up.is_err());
        // All turns are free again once the thread is done.
        let turns = TURNS.acquire_many(AT_ONCE as u32).await.unwrap();
        drop(turns);
        let kept = std::fs::read_dir(folder.path().join("code")).unwrap();
        assert_eq!(kept.count(), 1);
        let engine = engine().unwrap();
        let _: Component = cache.code(engine, &large()).unwrap();
    }
}
