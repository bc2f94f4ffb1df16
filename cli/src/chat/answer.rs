//! The answer within a call that finishes, while the call is being written.

/// What comes before the text of an answer, blanks left out.
const BEFORE: [&str; 5] = ["finish", "{", "\"answer\"", ":", "\""];

/// Takes the pieces of a call as they come, and gives what is new of its answer if it is one that
/// finishes.
#[derive(Debug, Default)]
pub struct Answer {
    written: String,
    told: usize,
}

impl Answer {
    /// Takes another piece.
    pub fn push(&mut self, piece: &str) -> String {
        self.written.push_str(piece);
        let known = decoded(&self.written).unwrap_or_default();
        let fresh = known.get(self.told..).unwrap_or_default().to_owned();
        self.told += fresh.len();
        fresh
    }
}

/// The answer as far as it is written; None if there is none yet, or the call is another.
fn decoded(written: &str) -> Option<String> {
    let mut rest = written;
    for part in BEFORE {
        rest = rest.trim_start().strip_prefix(part)?;
    }
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let mut body = rest.get(..end.unwrap_or(rest.len()))?;
    // An escape may not be whole yet: at most two units of six characters each.
    for _ in 0..=12 {
        match serde_json::from_str(&format!("\"{body}\"")) {
            Ok(text) => return Some(text),
            Err(_) => {
                let last = body.char_indices().next_back()?.0;
                body = body.get(..last)?;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_told_as_it_is_written() {
        let text = "Two \"lines\":\n\\ é 😀 end";
        let written = format!("finish {}", json!({"answer": text}));
        let ascii = written
            .replace('😀', "\\ud83d\\ude00")
            .replace('é', "\\u00e9");
        for written in [written, ascii] {
            let mut answer = Answer::default();
            let (mut told, mut pieces) = (String::new(), 0);
            for c in written.chars() {
                let fresh = answer.push(&c.to_string());
                pieces += usize::from(!fresh.is_empty());
                told.push_str(&fresh);
            }
            assert_eq!(told, text);
            assert!(pieces > 15, "{pieces} pieces");
        }
    }

    #[test]
    fn other_calls_tell_nothing() {
        for written in [
            r#"write_file {"path": "a", "content": "x"}"#,
            r#"finish {"result": "x"}"#,
            r#"finish_it {"answer": "x"}"#,
        ] {
            assert_eq!(Answer::default().push(written), "", "{written}");
        }
    }
}
