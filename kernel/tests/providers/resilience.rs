//! A model behind a breaker.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gpak_kernel::model::{
    Model, ModelError,
    resilience::{Breaker, BreakerSettings, Guarded},
    scripted::{Line, Scripted},
};

use super::support::asks;

#[tokio::test]
async fn a_server_that_fails_is_left_alone_for_a_while() {
    let broken = || {
        let message = "broken".to_owned();
        Line::error(ModelError::Overloaded { message })
    };
    let script = vec![broken(), broken(), broken(), Line::text("Well again.")];
    let settings = BreakerSettings {
        failures: 2,
        first: Duration::from_secs(10),
        longest: Duration::from_secs(60),
    };
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&seconds);
    let breaker = Arc::new(Mutex::new(Breaker::new(settings)));
    let now = move || Duration::from_secs(clock.load(Ordering::Relaxed));
    let model = Guarded::sharing(Scripted::new(script), breaker, now);
    let request = asks("Hi", vec![]);
    let failed = async |part: &str| {
        let error = model.reply(&request, &mut ()).await.unwrap_err();
        assert!(matches!(error, ModelError::Overloaded { .. }));
        assert!(error.to_string().contains(part), "{error}");
    };
    failed("broken").await;
    failed("broken").await;
    failed("is not asked again for 10 s, until 2").await;
    seconds.store(10, Ordering::Relaxed);
    failed("broken").await;
    failed("is not asked again for 20 s").await;
    seconds.store(30, Ordering::Relaxed);
    let reply = model.reply(&request, &mut ()).await;
    assert_eq!(reply.unwrap().text, "Well again.");
}
