//! What a server says that lets others in and not us (HTTP 401 and 403).

use std::fmt;

use rmcp::{ServiceError, service::ClientInitializeError, transport::WWWAuthenticateParams};

use super::{ServerName, config::Transport};

/// What a server was shown when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing that says who calls.
    Nothing,
    /// What the settings give: `token_cmd`, or an `Authorization` among the `headers`.
    Settings,
    /// The login of a person.
    Login,
    /// Nothing any more: there was a login, which is over.
    Lapsed,
    /// A token for gpak itself.
    Client,
}

/// What a server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wants {
    /// To know who calls (401).
    Identity,
    /// That more be allowed to who calls, as far as it says what (403).
    Scopes(Vec<String>),
}

/// A server does not let us do something. As text it says what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    server: ServerName,
    shown: Shown,
    wants: Wants,
    challenge: Option<String>,
}

impl Refused {
    /// Why a request failed, if a server refused it.
    pub(super) fn request(server: &ServerName, shown: Shown, why: &ServiceError) -> Option<Self> {
        let is_401 = why.is_authorization_required() || unchallenged(&why.to_string());
        Self::read(server, shown, is_401, why.auth_challenge())
    }

    /// Why a connection failed, if a server refused it.
    pub(super) fn connection(
        server: &ServerName,
        shown: Shown,
        why: &ClientInitializeError,
    ) -> Option<Self> {
        let is_401 = why.is_authorization_required() || unchallenged(&why.to_string());
        Self::read(server, shown, is_401, why.auth_challenge())
    }

    fn read(
        server: &ServerName,
        shown: Shown,
        is_401: bool,
        challenge: Option<&str>,
    ) -> Option<Self> {
        let wants = match (is_401, challenge) {
            (true, _) => Wants::Identity,
            (false, Some(challenge)) => Wants::Scopes(scopes(challenge)),
            (false, None) => return None,
        };
        Some(Self {
            server: server.clone(),
            shown,
            wants,
            challenge: challenge.map(str::to_owned),
        })
    }

    /// Whether another login, or another token, could be let in.
    pub(super) fn is_about_who(&self) -> bool {
        self.wants == Wants::Identity
    }

    /// Its `WWW-Authenticate`.
    pub(super) fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = format!("gpak tools login {}", self.server);
        match (&self.wants, self.shown) {
            (Wants::Identity, Shown::Nothing) => write!(
                f,
                "it wants to know who calls; the user logs in with `{login}`, or gives it `token_cmd`, \
                 `headers` or `oauth` in its settings"
            ),
            (Wants::Identity, Shown::Settings) => f.write_str(
                "it does not accept the token that `token_cmd` or `headers` in its settings give",
            ),
            (Wants::Identity, Shown::Login | Shown::Lapsed) => write!(
                f,
                "the login to it is over or no longer accepted; the user logs in again with `{login}`"
            ),
            (Wants::Identity, Shown::Client) => f.write_str(
                "it does not accept the token that `oauth` in its settings gets for gpak",
            ),
            (Wants::Scopes(scopes), shown) => {
                f.write_str("who calls may not do this")?;
                if !scopes.is_empty() {
                    write!(f, ": it takes the scopes {}", scopes.join(" "))?;
                }
                match shown {
                    Shown::Settings => f.write_str("; the token in its settings has to allow it"),
                    Shown::Client => f.write_str("; name them in `oauth.scopes` of its settings"),
                    Shown::Nothing | Shown::Login | Shown::Lapsed => {
                        write!(f, "; the user asks for more with `{login}")?;
                        scopes
                            .iter()
                            .try_for_each(|scope| write!(f, " --scope {scope}"))?;
                        f.write_str("`")
                    }
                }
            }
        }
    }
}

/// What the settings themselves show a server.
pub(super) fn shown_by(transport: &Transport) -> Shown {
    match transport {
        Transport::Http { token, headers, .. } => {
            let is_header = |name: &String| name.eq_ignore_ascii_case("authorization");
            match token.is_some() || headers.keys().any(is_header) {
                true => Shown::Settings,
                false => Shown::Nothing,
            }
        }
        Transport::Command { .. } => Shown::Nothing,
    }
}

/// A 401 without the `WWW-Authenticate` that it must have comes as text.
fn unchallenged(why: &str) -> bool {
    why.contains("unexpected server response: HTTP 401")
}

/// The scopes that a challenge names. The user is to type them into a shell, so they have to be plain; RFC
/// 6749 would allow more, which nobody uses.
fn scopes(challenge: &str) -> Vec<String> {
    // Only a pointer to metadata is resolved against an address, and that is not looked at here.
    let Ok(nowhere) = reqwest::Url::parse("http://localhost") else {
        return Vec::new();
    };
    let named = WWWAuthenticateParams::parse(challenge, &nowhere).scope;
    let named = named.unwrap_or_default();
    let scopes: Vec<_> = named.split_whitespace().map(str::to_owned).collect();
    match scopes.iter().all(|scope| is_plain(scope)) {
        true => scopes,
        false => Vec::new(),
    }
}

/// Whether a scope means itself to a shell and to gpak's command line.
pub(super) fn is_plain(scope: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:/+-=,@%".contains(&b);
    scope.len() <= 200 && scope.bytes().all(fits) && !scope.starts_with('-') && !scope.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(shown: Shown, is_401: bool, challenge: &str) -> String {
        let server = "issues".parse().unwrap();
        let refused = Refused::read(&server, shown, is_401, Some(challenge)).unwrap();
        refused.to_string()
    }

    #[test]
    fn each_says_what_the_user_can_do() {
        let bearer = "Bearer error=\"invalid_token\"";
        for (shown, says) in [
            (Shown::Nothing, "logs in with `gpak tools login issues`"),
            (Shown::Settings, "`token_cmd` or `headers`"),
            (Shown::Login, "logs in again with `gpak tools login issues`"),
            (
                Shown::Lapsed,
                "logs in again with `gpak tools login issues`",
            ),
            (Shown::Client, "`oauth` in its settings"),
        ] {
            let said = refused(shown, true, bearer);
            assert!(said.contains(says), "{said}");
        }
        let more = "Bearer error=\"insufficient_scope\", scope=\"files:read files:write\"";
        let said = refused(Shown::Login, false, more);
        let command = "`gpak tools login issues --scope files:read --scope files:write`";
        assert!(said.ends_with(command), "{said}");
        let said = refused(Shown::Client, false, more);
        assert!(said.contains("`oauth.scopes`"), "{said}");
    }

    #[test]
    fn a_scope_that_a_shell_would_take_for_something_else_is_not_named() {
        for scope in [
            "$(reboot)",
            "a;b",
            "`x`",
            "--no-browser",
            "a'b",
            "a\u{1b}[2J",
        ] {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"ok {scope}\"");
            let said = refused(Shown::Login, false, &challenge);
            assert!(said.ends_with("`gpak tools login issues`"), "{said}");
            assert!(!said.contains(scope), "{said}");
        }
    }
}
