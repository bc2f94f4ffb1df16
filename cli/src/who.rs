//! Who the agent is, for the models that speak for it.

use gpak_edge::link::client::{self, LinkError};
use gpak_kernel::identity::{EditError, Refusal, TooSmall};
use gpak_memory::{IdentityError, IdentityStore};

use crate::{failure::Failure, home::Home};

/// The identity of this machine's agent.
pub fn store(home: &Home) -> IdentityStore {
    IdentityStore::new(&home.data)
}

/// The instructions, behind what the identity says to a model with such a window; as they are where there is
/// no identity.
///
/// # Errors
/// If the identity is not what was signed, or does not fit: an agent without its constitution is another one.
pub fn introduced(home: &Home, window: u32, instructions: String) -> Result<String, Failure> {
    let Some(told) = client::stored(&store(home), window)? else {
        return Ok(instructions);
    };
    Ok(introducing(&told.text, &instructions))
}

/// The instructions, behind what an identity says.
pub fn introducing(told: &str, instructions: &str) -> String {
    // It has a name of its own.
    let instructions = instructions.replacen("You are gpak, an agent that works", "You work", 1);
    format!("{told}\n\n{instructions}")
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Store(why) => why.into(),
            LinkError::TooSmall(why) => why.into(),
            LinkError::Address(_) | LinkError::NoKey => Self::usage(error.to_string()),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused(why) => why.into(),
            IdentityError::None | IdentityError::Exists(_) => Self::usage(error.to_string()),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let is_changed = matches!(
            refusal,
            Refusal::Tampered { .. } | Refusal::Unreadable { .. }
        );
        let failure = Self::new(refusal.to_string());
        match is_changed {
            true => failure.help(
                "if it is the identity that is here: `gpak identity import FILE` brings it back from a copy \
                 that `gpak identity export` made",
            ),
            false => failure,
        }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<TooSmall> for Failure {
    fn from(error: TooSmall) -> Self {
        Self::new(error.to_string())
    }
}
