//! Makes inference share the cores.

/// Candle's worker threads wait for work in a busy loop of this many turns before they sleep. Its
/// default (25,000) takes the cores from the thread they wait for as soon as anything else runs, and
/// inference all but stops. Beside four busy loops on two cores, the default model wrote 3.2 tokens a second
/// with 4,000, 2.3 with 1,000 and 2.1 with 64 (`gpak models bench`; 13.5 alone).
const TURNS: &str = "4000";
const VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// Sets what candle reads from the environment when its threads start. To be called first thing in
/// `main`; does nothing if the user has set it, or if it is too late because there are threads already.
///
/// Says whether it is in effect.
pub fn share_cores() -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    if num_threads::is_single_threaded() != Some(true) {
        return false;
    }
    // SAFETY: the environment may be changed while no other thread can read it, and the line above
    // made sure that there is none.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(VARIABLE, TURNS);
    }
    true
}
