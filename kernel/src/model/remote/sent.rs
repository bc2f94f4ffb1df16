//! Whether a request says what it was to say.

use crate::model::{ModelError, Request};

/// Fails if a tool of `request` is not among the `sent` ones: a model that is not shown a tool cannot
/// call it, and everything else would seem to work.
pub(crate) fn check_sent(
    request: &Request,
    is_sent: impl Fn(&str) -> bool,
) -> Result<(), ModelError> {
    match request.tools.iter().find(|tool| !is_sent(&tool.name)) {
        None => Ok(()),
        Some(tool) => Err(ModelError::Unusable {
            message: format!(
                "the tool {} is missing in the request to the model's server; please report it",
                tool.name
            ),
        }),
    }
}
