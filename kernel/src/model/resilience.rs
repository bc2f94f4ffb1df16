//! What to do about servers that fail: how long to wait ([`backoff`]), and when to stop asking
//! ([`Breaker`], [`Guarded`]).
//!
//! Both are pure: the attempt, the time and the chance come in. (`backon` draws and waits by itself,
//! and `failsafe` and `recloser` read the clock themselves, so that neither can be replayed.) Trying
//! again is the machine's: it journals each failure.

mod backoff;
mod breaker;
mod guarded;
mod late;

pub use backoff::{LONGEST_WAIT, backoff};
pub use breaker::{Breaker, BreakerSettings, Outcome, Refusal, Ticket};
pub use guarded::Guarded;
pub use late::Late;
