//! Secrets, which tools name and never see.

use std::fmt;

/// Knows secrets by name.
pub trait Secrets: Send + Sync {
    /// The secret of that name; None if the user has set none.
    fn get(&self, package: &str, name: &str) -> Option<Secret>;
}

/// A secret. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with that value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secret `NAME` is what gpak's environment variable `NAME` says.
#[derive(Debug)]
pub struct EnvironmentSecrets;

impl Secrets for EnvironmentSecrets {
    fn get(&self, _: &str, name: &str) -> Option<Secret> {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .map(Secret)
    }
}
