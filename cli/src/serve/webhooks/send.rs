//! Sends what is due.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::keep::{self, Delivery, Webhook};
use crate::serve::{House, db::now};

/// Deliveries at a time.
const AT_ONCE: usize = 8;
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried: with pauses that grow fivefold from five seconds, for about a day.
const ATTEMPTS: u32 = 8;
/// How long to wait at most before looking again.
const LOOK: Duration = Duration::from_secs(60);

/// Sends, for ever.
pub async fn send(house: &House) {
    loop {
        match keep::due(&house.store, AT_ONCE * 4) {
            Ok((due, _)) if !due.is_empty() => attempt(house, due).await,
            Ok((_, next)) => {
                let wait = next.map_or(LOOK, |next| {
                    let seconds = u64::try_from(next - now()).unwrap_or(0);
                    Duration::from_secs(seconds.max(1)).min(LOOK)
                });
                tokio::select! {
                    () = house.deliveries.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(why) => {
                tracing::error!("nothing is sent to webhooks: {why}");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

async fn attempt(house: &House, due: Vec<Delivery>) {
    let webhooks = keep::list(&house.store).unwrap_or_default();
    let attempts = due.into_iter().map(|delivery| {
        let webhook = webhooks
            .iter()
            .find(|one| one.id == delivery.webhook)
            .cloned();
        async move {
            let Some(webhook) = webhook else { return };
            let (id, attempts) = (delivery.id.clone(), delivery.attempts);
            let posted = tokio::task::spawn_blocking(move || post(&webhook, &delivery)).await;
            let posted = posted.unwrap_or_else(|why| Err(why.to_string()));
            let became = posted.map_err(|why| {
                let pause = house
                    .webhook_pause
                    .saturating_mul(5_u32.saturating_pow(attempts));
                let pause = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
                let again = (attempts + 1 < ATTEMPTS).then(|| now().saturating_add(pause));
                if again.is_none() {
                    tracing::warn!(id, "a webhook is given up: {why}");
                }
                (why, again)
            });
            house.metrics.delivered(became.is_ok());
            if let Err(why) = keep::tried(&house.store, id, became).await {
                tracing::error!("what became of a webhook is not written down: {why}");
            }
        }
    });
    stream::iter(attempts)
        .for_each_concurrent(AT_ONCE, |attempt| attempt)
        .await;
}

/// Posts a message. The error says why it did not arrive.
fn post(webhook: &Webhook, delivery: &Delivery) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        // An address that was agreed to is not left for another.
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let time = now();
    let response = agent
        .post(&webhook.url)
        .header("content-type", "application/json")
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", time.to_string())
        .header(
            "webhook-signature",
            sign(&webhook.secret, &delivery.id, time, &delivery.body),
        )
        .send(&delivery.body);
    let status = response.map_err(|why| why.to_string())?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("it answered {status}")),
    }
}

/// `v1,` and the HMAC of id, time and body, as Standard Webhooks has it.
fn sign(secret: &str, id: &str, time: i64, body: &str) -> String {
    let key = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD.decode(key).unwrap_or_default();
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return String::new();
    };
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_standard_webhooks_has_it() {
        // The example of the specification.
        let signed = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
