//! What the settings say of how gpak is let in by an MCP server: `[mcp.NAME] oauth = { … }`.

use std::sync::Arc;

use gpak_tools::mcp::{Grant, OAuth, Token};
use serde::Deserialize;

use crate::servers::{printed, shown};

/// What the settings say of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuthSettings {
    /// In whose name tokens are asked for.
    pub grant: Option<GrantSetting>,
    /// What gpak is known as, where somebody registered it.
    pub client_id: Option<String>,
    /// A command that prints the secret of that client, as in `pass show issues-client`.
    pub client_secret_cmd: Option<String>,
    /// The address of a page that says who gpak is.
    pub client_metadata_url: Option<String>,
    /// What is asked for; what the server names, where nothing is said.
    pub scopes: Vec<String>,
    /// The port of this machine that a browser is sent back to.
    pub redirect_port: Option<u16>,
    /// Whether the authorization server may be of this machine or its network though the server is not.
    pub private_hosts: bool,
}

/// A grant by the name that OAuth has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSetting {
    /// A person logs in.
    AuthorizationCode,
    /// gpak asks for itself.
    ClientCredentials,
}

impl GrantSetting {
    fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

impl OAuthSettings {
    /// As the MCP client takes it. The error says what is wrong with it.
    pub fn config(&self) -> Result<OAuth, &'static str> {
        let is_own = self.grant == Some(GrantSetting::ClientCredentials);
        if self.client_secret_cmd.is_some() && self.client_id.is_none() {
            return Err("`oauth.client_secret_cmd` is for a `client_id`");
        }
        if is_own && self.client_secret_cmd.is_none() {
            return Err(
                "`oauth.grant = \"client_credentials\"` wants a `client_id` and a `client_secret_cmd`",
            );
        }
        Ok(OAuth {
            grant: if is_own { Grant::Client } else { Grant::Person },
            client_id: self.client_id.clone(),
            client_secret: self.client_secret_cmd.clone().map(|command| -> Token {
                Arc::new(move || {
                    printed("oauth.client_secret_cmd", &command).map_err(|why| why.to_string())
                })
            }),
            client_metadata_url: self.client_metadata_url.clone(),
            scopes: self.scopes.clone(),
            redirect_port: self.redirect_port,
            private_hosts: self.private_hosts,
        })
    }

    /// As TOML, with what is given.
    pub fn line(&self) -> String {
        let text = |text: &String| format!("{text:?}");
        let page = self.client_metadata_url.as_ref();
        let given = [
            (
                "grant",
                self.grant.map(|grant| format!("{:?}", grant.name())),
            ),
            ("client_id", self.client_id.as_ref().map(text)),
            (
                "client_secret_cmd",
                self.client_secret_cmd.as_ref().map(text),
            ),
            ("client_metadata_url", page.map(|url| text(&shown(url)))),
            (
                "scopes",
                (!self.scopes.is_empty()).then(|| format!("{:?}", self.scopes)),
            ),
            (
                "redirect_port",
                self.redirect_port.map(|port| port.to_string()),
            ),
            (
                "private_hosts",
                self.private_hosts.then(|| "true".to_owned()),
            ),
        ];
        let given = given.into_iter();
        let given = given.filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
        format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
    }
}
