//! How often somebody may ask.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock, clock::DefaultClock};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::serve::problem::Problem;
use axum::http::StatusCode;

/// Logins and refreshes that an address may ask for at once, and then one every six seconds.
const LOGINS: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
const LOGIN_EVERY: Duration = Duration::from_secs(6);
/// Passwords that are hashed at a time: each takes 19 MiB and a core.
const HASHES: usize = 2;
/// After so many requests, what is known of those who were not seen for long is forgotten.
const SWEEP: u32 = 4096;

/// The limits, and who has come how near to them.
pub struct Limits {
    requests: DefaultKeyedRateLimiter<i64>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
    hashes: Semaphore,
    clock: DefaultClock,
    seen: AtomicU32,
}

impl Limits {
    /// So many requests a second for each user, and twice as many at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        let requests = Quota::per_second(per_second).allow_burst(per_second.saturating_mul(TWO));
        let seldom = Quota::with_period(LOGIN_EVERY).unwrap_or(Quota::per_minute(LOGINS));
        Self {
            requests: RateLimiter::keyed(requests),
            logins: RateLimiter::keyed(seldom.allow_burst(LOGINS)),
            hashes: Semaphore::new(HASHES),
            clock: DefaultClock::default(),
            seen: AtomicU32::new(0),
        }
    }

    /// Lets a request of that user through, or says when to come back.
    pub fn admit(&self, user: i64) -> Result<(), Problem> {
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.requests.retain_recent();
            self.logins.retain_recent();
        }
        let admitted = self.requests.check_key(&user);
        admitted.map_err(|until| too_many(until.wait_time_from(self.clock.now())))
    }

    /// Lets somebody at that address try to log in, or says when to come back.
    pub async fn login(&self, from: IpAddr) -> Result<SemaphorePermit<'_>, Problem> {
        let admitted = self.logins.check_key(&from);
        admitted.map_err(|until| too_many(until.wait_time_from(self.clock.now())))?;
        self.hashes.acquire().await.map_err(Problem::internal)
    }
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

fn too_many(wait: Duration) -> Problem {
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::new(status, "too-many-requests", "that was too often")
        .help("wait as long as Retry-After says")
        .after(wait.as_secs() + 1)
}
