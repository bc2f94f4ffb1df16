//! How long a model stays loaded.

use serde::{Deserialize, Serialize};

/// How long a model stays loaded after a reply, as Ollama's API takes it: seconds as a number, or a
/// duration with its units as text (`10m`, `1h30m`). 0 unloads it at once, anything below 0 never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Said", untagged)]
pub enum KeepAlive {
    /// Seconds.
    Seconds(i64),
    /// A duration as Go's `time.ParseDuration` reads it, which is what Ollama calls.
    Text(String),
}

/// What somebody wrote.
#[derive(Deserialize)]
#[serde(untagged, expecting = "seconds as a number, or text like \"10m\"")]
enum Said {
    Seconds(i64),
    Text(String),
}

/// Longer ones overflow the nanoseconds that Ollama counts in.
const MOST_SECONDS: f64 = 9.2e9;

impl TryFrom<Said> for KeepAlive {
    type Error = String;

    fn try_from(said: Said) -> Result<Self, String> {
        let seconds = match &said {
            Said::Seconds(seconds) => Some(*seconds as f64),
            Said::Text(text) => seconds(text),
        };
        match (said, seconds) {
            (said, Some(seconds)) if seconds.abs() > MOST_SECONDS => Err(format!(
                "{} is too long; -1 keeps the model for ever",
                said.text()
            )),
            (Said::Seconds(seconds), Some(_)) => Ok(Self::Seconds(seconds)),
            (Said::Text(text), Some(_)) => Ok(Self::Text(text)),
            (said, None) => Err(format!(
                "`{}` is no time to keep a model; give seconds as a number (300), or text with units \
                 (\"10m\", \"1h30m\"); 0 unloads it at once, -1 never",
                said.text()
            )),
        }
    }
}

impl Said {
    fn text(&self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The seconds in a duration as Go writes it: a sign, then numbers each with a unit.
fn seconds(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0.0);
    }
    let (mut rest, mut all) = (unsigned, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let number: f64 = number.parse().ok()?;
        all += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = after;
    }
    (!unsigned.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_time_is_sent_as_it_was_said() {
        for said in [
            json!(300),
            json!(0),
            json!(-1),
            json!("10m"),
            json!("1h30m"),
            json!("-1m"),
            json!("1.5h"),
            json!("0"),
        ] {
            let read: KeepAlive = serde_json::from_value(said.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), said);
        }
    }

    #[test]
    fn what_ollama_would_refuse_is_refused_before() {
        for (said, part) in [
            (json!("300"), "give seconds as a number"),
            (json!("10 minutes"), "give seconds as a number"),
            (json!(""), "give seconds as a number"),
            (json!("-"), "give seconds as a number"),
            (json!("1d"), "give seconds as a number"),
            (json!("1.2.3s"), "give seconds as a number"),
            (json!(99_999_999_999_i64), "too long"),
            (json!("9999999h"), "too long"),
            (json!(true), "seconds as a number"),
            (Value::Null, "seconds as a number"),
        ] {
            let why = serde_json::from_value::<KeepAlive>(said.clone()).unwrap_err();
            assert!(why.to_string().contains(part), "{said}: {why}");
        }
    }
}
