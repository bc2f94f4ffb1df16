//! What a server's failure means.

use std::{error::Error, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use serde_json::Value;

use super::Key;
use crate::model::ModelError;

/// Characters of a server's message that are kept.
const MESSAGE: usize = 400;
/// Characters that two keys have in common, at most: the beginning of a key that a server quotes.
const QUOTED: usize = 6;

/// Why a server gave no reply: what the kernel is told, and what a provider can learn from it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Failure {
    /// The HTTP status, if it was one.
    pub status: Option<u16>,
    /// The member of the request that the server names as wrong.
    pub param: Option<String>,
    /// What the server said, without the key.
    pub message: String,
    /// What it means.
    pub error: ModelError,
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self {
            status: None,
            param: None,
            message: error.to_string(),
            error,
        }
    }
}

/// What a server said of its failure, in the shapes that are in use: `{"error": {"message": …}}`,
/// `{"error": "…"}`, `{"message": …}`, `{"detail": …}`, or plain text.
#[derive(Debug, Default)]
struct Said {
    message: String,
    code: String,
    kind: String,
    param: Option<String>,
    /// Tokens of the window, where they are a member of their own (llama.cpp).
    window: Option<u32>,
}

impl Said {
    fn read(body: &str) -> Self {
        let Ok(value) = serde_json::from_str::<Value>(body) else {
            let message = body.split_whitespace().collect::<Vec<_>>().join(" ");
            return Self {
                message,
                ..Self::default()
            };
        };
        Self::of(&value)
    }

    fn of(value: &Value) -> Self {
        let error = value.get("error").unwrap_or(value);
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = [
            error.as_str().map(str::to_owned),
            Some(text("message")),
            Some(text("detail")),
        ]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty());
        Self {
            message: message.unwrap_or_else(|| error.to_string()),
            code: text("code"),
            kind: text("type"),
            param: Some(text("param")).filter(|param| !param.is_empty()),
            window: error
                .get("n_ctx")
                .and_then(Value::as_u64)
                .and_then(|n| n.try_into().ok()),
        }
    }

    fn says(&self, signs: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        signs
            .iter()
            .any(|sign| self.code == *sign || self.kind == *sign || message.contains(sign))
    }

    fn overflows(&self) -> bool {
        self.says(&[
            "context_length_exceeded",
            "exceed_context_size_error",
            "maximum context length",
            "context size",
            "context window",
            "context length",
            "prompt is too long",
            "too many tokens",
        ])
    }
}

/// What an answer with an HTTP status other than success means. `retry_after` is the header's text,
/// `window` what the model's window is thought to be.
pub(super) fn of_status(
    status: u16,
    retry_after: Option<&str>,
    body: &str,
    key: Option<&Key>,
    window: u32,
    now: Timestamp,
) -> Failure {
    let said = Said::read(body);
    of_said(status, retry_after, said, key, window, now)
}

/// What an error within a stream means; its code takes the place of the HTTP status.
pub(super) fn of_event(event: &Value, key: Option<&Key>, window: u32) -> Failure {
    let said = Said::of(event);
    let status = match said.code.parse() {
        Ok(status) if (400..600).contains(&status) => status,
        _ if said.says(&["rate_limit_exceeded", "rate_limit_error"]) => 429,
        _ if said.overflows() => 400,
        _ if said.says(&["authentication_error", "invalid_api_key"]) => 401,
        _ if said.says(&["invalid_request_error", "invalid_prompt"]) => 400,
        _ => 500,
    };
    of_said(status, None, said, key, window, Timestamp::UNIX_EPOCH)
}

fn of_said(
    status: u16,
    retry_after: Option<&str>,
    said: Said,
    key: Option<&Key>,
    window: u32,
    now: Timestamp,
) -> Failure {
    let scrubbed = cut(&scrub(&said.message, key));
    let message = if scrubbed.is_empty() {
        format!("status {status}")
    } else {
        format!("{scrubbed} (status {status})")
    };
    let after_ms = retry_after.and_then(|text| wait(text, now));
    let error = match status {
        401 | 403 => ModelError::Unauthorized { message },
        407 => ModelError::Unreachable {
            message: format!("the proxy wants a name and a password: {message}"),
        },
        // A quota does not come back by waiting.
        429 if said.says(&["insufficient_quota", "exceeded your current quota"]) => {
            ModelError::Unusable { message }
        }
        429 => ModelError::RateLimited { after_ms },
        503 if after_ms.is_some() => ModelError::RateLimited { after_ms },
        400 | 413 | 422 | 500 if said.overflows() => ModelError::ContextOverflow {
            limit: said
                .window
                .or_else(|| limit_in(&said.message))
                .unwrap_or(window),
        },
        400 | 422
            if said.says(&[
                "content_policy_violation",
                "content_filter",
                "content management policy",
            ]) =>
        {
            ModelError::Refused { message }
        }
        408 | 409 | 425 => ModelError::Overloaded { message },
        501 | 505 => ModelError::Unusable { message },
        500.. => ModelError::Overloaded { message },
        _ => ModelError::Unusable { message },
    };
    Failure {
        status: Some(status),
        param: said.param,
        message: scrubbed,
        error,
    }
}

/// What a failure to connect, to send or to read means.
pub(super) fn of_transport(error: reqwest::Error, to: &str, key: Option<&Key>) -> Failure {
    let error = error.without_url();
    let mut reasons = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        let reason = inner.to_string();
        if reasons.last() != Some(&reason) {
            reasons.push(reason);
        }
        source = inner.source();
    }
    let message = cut(&scrub(&reasons.join(": "), key));
    ModelError::Unreachable {
        message: format!("{to}: {message}; is the server running, and the address right?"),
    }
    .into()
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3), as milliseconds from now.
fn wait(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = Duration::try_from_secs_f64(seconds).ok()?.as_millis();
        return u64::try_from(ms).ok();
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    let ms = at.as_millisecond().saturating_sub(now.as_millisecond());
    Some(u64::try_from(ms).unwrap_or(0))
}

/// The window in `This model's maximum context length is 4096 tokens` and its like: the first whole
/// number after the word `context`.
fn limit_in(message: &str) -> Option<u32> {
    let after = message.to_lowercase();
    let after = after.split_once("context")?.1;
    let number = after
        .split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty());
    number?.parse().ok().filter(|limit| *limit > 0)
}

/// `text` without the key, also where a server quotes its beginning.
pub(super) fn scrub(text: &str, key: Option<&Key>) -> String {
    let Some(key) = key.map(Key::expose).filter(|key| !key.is_empty()) else {
        return text.to_owned();
    };
    let text = text.replace(key, "***");
    let Some(head) = key.get(..QUOTED) else {
        return text;
    };
    let mut scrubbed = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(head) {
        scrubbed.push_str(before);
        scrubbed.push_str("***");
        let end = after.find(|c: char| !(c.is_alphanumeric() || "-_*.".contains(c)));
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default();
    }
    scrubbed.push_str(rest);
    scrubbed
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MESSAGE) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2015-10-21T07:27:00Z".parse().unwrap()
    }

    fn of(status: u16, body: &str) -> ModelError {
        of_status(status, None, body, None, 1000, now()).error
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        assert_eq!(wait("3", now()), Some(3000));
        assert_eq!(wait(" 0.5 ", now()), Some(500));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", now()), Some(60_000));
        assert_eq!(
            wait("Wed, 21 Oct 2015 07:26:00 GMT", now()),
            Some(0),
            "it is over"
        );
        assert_eq!(wait("soon", now()), None);
        assert_eq!(wait("-3", now()), None);
    }

    #[test]
    fn the_window_is_found_where_a_server_says_it() {
        let llama = r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#;
        assert_eq!(of(400, llama), ModelError::ContextOverflow { limit: 4096 });
        let openai = r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 9000.","code":"context_length_exceeded"}}"#;
        assert_eq!(of(400, openai), ModelError::ContextOverflow { limit: 8192 });
        let bare = r#"{"error":"the prompt is too long"}"#;
        assert_eq!(of(400, bare), ModelError::ContextOverflow { limit: 1000 });
    }

    #[test]
    fn a_spent_quota_is_no_reason_to_wait() {
        let body = r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#;
        assert!(!of(429, body).is_transient());
        assert!(of(429, "{}").is_transient());
    }

    #[test]
    fn a_key_is_nowhere_in_what_a_server_says() {
        let key = Key::new("sk-secret-0123456789\n");
        for said in [
            "bad key sk-secret-0123456789!",
            "Incorrect API key provided: sk-secr*****6789. Find yours",
        ] {
            let failure = of_status(401, None, said, Some(&key), 1000, now());
            let shown = format!("{failure:?}{failure}");
            assert!(shown.contains("***"), "{shown}");
            assert!(
                !shown.contains("sk-sec") && !shown.contains("6789"),
                "{shown}"
            );
        }
        assert_eq!(format!("{key:?}"), "***");
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"***\"");
    }
}
