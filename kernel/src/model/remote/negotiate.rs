//! Asking a server for less where it refuses what can be left out.

use super::Failure;
use crate::model::{ModelError, probe::Manner};

/// Words by which a server says that it cannot constrain text.
const CONSTRAINT: [&str; 7] = [
    "response_format",
    "text.format",
    "json_schema",
    "json_object",
    "grammar",
    "schema",
    "structured output",
];

/// The manner that leaves out what a failure says is refused, of the members that are `optional` or of
/// the constraint. Each leaves out something more, so this comes to an end.
pub(crate) fn less(manner: &Manner, failure: &Failure, optional: &[&str]) -> Option<Manner> {
    let refused = matches!(failure.status, Some(400 | 404 | 422 | 500 | 501));
    if !refused || matches!(failure.error, ModelError::ContextOverflow { .. }) {
        return None;
    }
    let message = failure.message.to_lowercase();
    let mut less = manner.clone();
    let param = failure.param.as_deref().unwrap_or_default();
    let named = |member: &&&str| param == **member || is_named(&message, member);
    if failure.status != Some(500)
        && let Some(member) = optional.iter().find(named)
        && less.unwanted.insert((*member).to_owned())
    {
        return Some(less);
    }
    let constraint = CONSTRAINT
        .iter()
        .any(|word| message.contains(word) || param.starts_with(word));
    if constraint && !manner.native_tools {
        less.format = manner.format.weaker()?;
        return Some(less);
    }
    None
}

/// Whether a message has `member` as a word of its own.
fn is_named(message: &str, member: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    message.split(|c| !part(c)).any(|word| word == member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probe::Format;

    fn refused(status: u16, message: &str) -> Failure {
        Failure {
            status: Some(status),
            param: None,
            message: message.to_owned(),
            error: ModelError::Unusable {
                message: message.to_owned(),
            },
        }
    }

    fn refuse(manner: &Manner, failure: &Failure) -> Option<Manner> {
        less(manner, failure, &["seed", "temperature"])
    }

    #[test]
    fn what_a_server_refuses_is_left_out_and_nothing_else() {
        let manner = Manner::default();
        let next = refuse(
            &manner,
            &refused(400, "Unsupported value: 'temperature' is fixed"),
        )
        .unwrap();
        assert_eq!(next.unwanted, ["temperature".to_owned()].into());
        let again = refuse(
            &next,
            &refused(400, "Unsupported value: 'temperature' is fixed"),
        );
        assert_eq!(again, None, "it was left out already");
        assert_eq!(refuse(&manner, &refused(400, "the seeds are stored")), None);
        assert_eq!(
            refuse(&manner, &refused(429, "'temperature' is high")),
            None
        );
    }

    #[test]
    fn a_constraint_is_weakened_step_by_step() {
        let failure = refused(400, "response_format json_schema is not supported");
        let json = refuse(&Manner::default(), &failure).unwrap();
        assert_eq!(json.format, Format::Json);
        let text = refuse(&json, &failure).unwrap();
        assert_eq!(text.format, Format::Text);
        assert_eq!(refuse(&text, &failure), None);
    }
}
