//! The order of speakers that servers insist on.

use serde_json::Value;

/// Joins what the user says twice in a row. Some models' chat templates refuse it (Mistral's, Gemma's), and
/// what a repository says, the task, and what the user adds to it come one after the other.
pub(crate) fn joined(messages: Vec<Value>) -> Vec<Value> {
    let mut joined: Vec<Value> = Vec::with_capacity(messages.len());
    for message in messages {
        let text = said(&message).map(str::to_owned);
        let before = joined.last().and_then(said);
        let both = before
            .zip(text)
            .map(|(before, text)| format!("{before}\n\n{text}"));
        match (
            both,
            joined.last_mut().and_then(|last| last.get_mut("content")),
        ) {
            (Some(both), Some(content)) => *content = Value::String(both),
            _ => joined.push(message),
        }
    }
    joined
}

/// What a user's message of text only says.
fn said(message: &Value) -> Option<&str> {
    let role = message.get("role")?.as_str()?;
    let text = message.get("content")?.as_str()?;
    (role == "user").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_user_speaks_twice_in_a_row_and_nobody_else_is_touched() {
        let message = |role: &str, text: &str| json!({"role": role, "content": text});
        let messages = vec![
            message("system", "s"),
            message("user", "a"),
            message("user", "b"),
            message("assistant", "c"),
            message("tool", "d"),
            message("tool", "e"),
            message("user", "f"),
        ];
        let mut expected = messages.clone();
        expected.splice(1..3, [message("user", "a\n\nb")]);
        assert_eq!(joined(messages), expected);
    }
}
