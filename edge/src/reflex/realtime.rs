//! The real-time class of a thread, and memory that is never swapped out.

use rustix::mm::{MlockAllFlags, mlockall};

/// The priority of the reflexes among the threads of the real-time class: above what is ordinary there,
/// below the kernel's own (which are at 50 and more).
pub const REFLEXES: i32 = 40;
/// That of those who tell the reflexes something: a parent's heartbeat, a sensor's reader.
pub const TELLERS: i32 = 30;

/// Puts the calling thread into the real-time class (`SCHED_FIFO`). Its children are not in it.
///
/// # Errors
///
/// The system does not grant it: `ulimit -r` is too low, and the process lacks `CAP_SYS_NICE`.
pub fn enter(priority: i32) -> std::io::Result<()> {
    schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority)
}

/// Puts the calling thread back among the others.
///
/// # Errors
///
/// The system refuses, which it has no reason to.
pub fn leave() -> std::io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: i32, priority: i32) -> std::io::Result<()> {
    // SAFETY: a `sched_param` is plain numbers, for which zero is a value.
    #[allow(unsafe_code, reason = "the fields differ between systems")]
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = priority;
    // SAFETY: the thread is this one (0), and `param` lives for the call.
    #[allow(unsafe_code, reason = "scheduling is a raw system call")]
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether the calling thread is in the real-time class now: it can be taken out at any time.
pub fn is_granted() -> bool {
    // SAFETY: it takes a number (0, this thread) and gives one.
    #[allow(unsafe_code, reason = "scheduling is a raw system call")]
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_FIFO
}

/// Locks the memory of this process that is in use, and what comes to be used later. What was mapped and
/// never touched (most of this program) is not brought in for that.
///
/// # Errors
///
/// The system does not grant it: `ulimit -l` is too low.
pub fn lock_memory() -> std::io::Result<()> {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    Ok(mlockall(flags)?)
}
