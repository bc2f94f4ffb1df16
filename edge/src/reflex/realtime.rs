//! The real-time class of a thread, memory that is never swapped out, and processors that do not fall asleep.

use std::{fs::File, io::Write as _, num::NonZeroU64};

use rustix::{
    mm::{MlockAllFlags, mlockall},
    thread::set_current_timer_slack,
};

/// The priority of the reflexes among the threads of the real-time class: above what is ordinary there,
/// below the kernel's own (which are at 50 and more).
pub const REFLEXES: i32 = 40;
/// That of those who tell the reflexes something: a parent's heartbeat, a sensor's reader.
pub const TELLERS: i32 = 30;
/// That of those who hear what other robots warn of: below the parent's heartbeat, which a peer that floods must not
/// delay.
pub const HEARERS: i32 = 20;

/// Puts the calling thread into the real-time class (`SCHED_FIFO`). Its children are not in it. Whether that is
/// granted or not, its timers are exact from now on: the system may make others up to 50 µs late.
///
/// # Errors
///
/// The system does not grant it: `ulimit -r` is too low, and the process lacks `CAP_SYS_NICE`.
pub fn enter(priority: i32) -> std::io::Result<()> {
    // Without it the thread is later, and nothing else.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
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

/// A wish for processors that wake up soon, as long as it is kept.
#[derive(Debug)]
pub struct Awake {
    _file: File,
}

/// Wishes that an idle processor takes so long at most to wake up (`/dev/cpu_dma_latency`, the kernel's PM
/// QoS): it does not sleep as deep, and takes more power. With 0 it does not sleep at all.
///
/// # Errors
///
/// The system does not let this user.
pub fn stay_awake(at_most_us: i32) -> std::io::Result<Awake> {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency")?;
    file.write_all(&at_most_us.to_ne_bytes())?;
    Ok(Awake { _file: file })
}
