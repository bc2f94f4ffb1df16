//! Where logins are kept: a file for each server, which only the user can read.
//!
//! A login belongs to the address of a server, whatever the settings call it, and to the authorization
//! server that issued it: rmcp drops it when the MCP server names another.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use oauth2::TokenResponse as _;
use reqwest::Url;
use rmcp::transport::{AuthError, CredentialRefreshGuard, CredentialStore, StoredCredentials};
use serde::{Deserialize, Serialize};

use crate::mcp::locked;

/// How long another process may take to renew a token.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it did.
const LOOK: Duration = Duration::from_millis(50);

/// The login to one server.
#[derive(Clone)]
pub(super) struct Store {
    path: PathBuf,
    server: String,
    /// The secret of a client that registered itself.
    secret: std::sync::Arc<Mutex<Option<String>>>,
}

/// What is kept of a login.
#[derive(Serialize, Deserialize)]
pub(super) struct Login {
    server: String,
    /// The secret that was given to gpak when it registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_secret: Option<String>,
    pub(super) credentials: StoredCredentials,
}

impl Store {
    /// The login to that server, in a folder of logins.
    pub(super) fn new(folder: &Path, server: &Url) -> Self {
        let name = blake3::hash(server.as_str().as_bytes()).to_hex();
        Self {
            path: folder.join("logins").join(format!("{name}.json")),
            server: server.to_string(),
            secret: std::sync::Arc::default(),
        }
    }

    /// From now on the login is that of a client with this secret.
    pub(super) fn with_secret(self, secret: Option<String>) -> Self {
        *locked(&self.secret) = secret;
        self
    }

    /// What is kept, if anything is.
    ///
    /// # Errors
    /// If the file cannot be read, or is no login to this server.
    pub(super) fn read(&self) -> io::Result<Option<Login>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(self.at(&why.to_string())),
        };
        // What a broken file says is in no error: it is secret.
        let login = serde_json::from_slice::<Login>(&bytes).ok();
        let login = login.filter(|login| login.server == self.server);
        match login {
            Some(login) => Ok(Some(login)),
            None => {
                Err(self.at("it is not a login to this server; `gpak tools logout` removes it"))
            }
        }
    }

    fn write(&self, credentials: StoredCredentials) -> io::Result<()> {
        let login = Login {
            server: self.server.clone(),
            client_secret: locked(&self.secret).clone(),
            credentials,
        };
        let text = serde_json::to_vec(&login)?;
        let folder = self.folder()?;
        let written = || -> io::Result<()> {
            // Such files are made for their owner alone.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|why| why.error)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|why| self.at(&why.to_string()))
    }

    /// Removes it. Tells whether there was one.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(why) => Err(self.at(&why.to_string())),
        }
    }

    /// The folder that it is in, made where it is not.
    fn folder(&self) -> io::Result<&Path> {
        let folder = self.path.parent().unwrap_or(&self.path);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|why| self.at(&why.to_string()))?;
        Ok(folder)
    }

    fn at(&self, why: &str) -> io::Error {
        io::Error::other(format!("{}: {why}", self.path.display()))
    }

    /// Waits until no other process renews this login. Held as long as what is given is.
    async fn alone(&self, patience: Duration) -> io::Result<File> {
        self.folder()?;
        let path = self.path.with_extension("lock");
        let mut options = fs::OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let begun = tokio::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(why)) => return Err(why),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self.at("another process has been renewing it for long"));
                }
            }
        }
    }
}

fn failed(why: io::Error) -> AuthError {
    AuthError::CredentialStoreError(why.to_string())
}

#[async_trait]
impl CredentialStore for Store {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let Some(login) = self.read().map_err(failed)? else {
            return Ok(None);
        };
        *locked(&self.secret) = login.client_secret;
        Ok(Some(login.credentials))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        self.write(credentials).map_err(failed)
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.remove().map(|_| ()).map_err(failed)
    }

    /// Forgets the tokens of a login that is over, so that nothing tries them again.
    async fn on_refresh_token_rejected(&self, used: &StoredCredentials) -> Result<(), AuthError> {
        let Some(kept) = self.load().await? else {
            return Ok(());
        };
        if renewal(&kept) != renewal(used) {
            return Ok(());
        }
        let over = StoredCredentials::new(kept.client_id, None, kept.granted_scopes, None);
        self.save(over.with_issuer(kept.issuer)).await
    }

    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        let alone = self.alone(PATIENCE).await.map_err(failed)?;
        Ok(Some(CredentialRefreshGuard::new(alone)))
    }
}

/// The token that renews a login.
fn renewal(credentials: &StoredCredentials) -> Option<&String> {
    let token = credentials.token_response.as_ref()?.refresh_token()?;
    Some(token.secret())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    fn credentials(refresh: &str) -> StoredCredentials {
        let token = json!({"access_token": "a", "token_type": "Bearer", "refresh_token": refresh});
        let token = serde_json::from_value(token).unwrap();
        StoredCredentials::new(
            "me".to_owned(),
            Some(token),
            vec!["read".to_owned()],
            Some(1),
        )
    }

    fn store(folder: &tempfile::TempDir, server: &str) -> Store {
        Store::new(folder.path(), &Url::parse(server).unwrap())
    }

    #[tokio::test]
    async fn a_login_is_read_by_nobody_else_and_for_no_other_server() {
        let folder = tempfile::tempdir().unwrap();
        let one = store(&folder, "https://one.example/mcp").with_secret(Some("s".to_owned()));
        one.save(credentials("r1")).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&one.path), 0o600);
        assert_eq!(mode(one.path.parent().unwrap()), 0o700);
        let again = store(&folder, "https://one.example/mcp")
            .read()
            .unwrap()
            .unwrap();
        assert_eq!(again.client_secret.as_deref(), Some("s"));
        let two = store(&folder, "https://two.example/mcp");
        assert!(two.read().unwrap().is_none());
        fs::copy(&one.path, &two.path).unwrap();
        let why = two.read().err().unwrap().to_string();
        assert!(why.contains("not a login to this server"), "{why}");
        assert!(one.remove().unwrap() && !one.remove().unwrap());
    }

    #[tokio::test]
    async fn a_refused_login_is_forgotten_unless_it_was_renewed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, "https://one.example/mcp");
        store.save(credentials("new")).await.unwrap();
        store
            .on_refresh_token_rejected(&credentials("old"))
            .await
            .unwrap();
        let kept = store.load().await.unwrap().unwrap();
        assert_eq!(renewal(&kept).unwrap(), "new");
        store
            .on_refresh_token_rejected(&credentials("new"))
            .await
            .unwrap();
        let kept = store.load().await.unwrap().unwrap();
        assert!(kept.token_response.is_none() && kept.granted_scopes == ["read"]);
        assert!(!fs::read_to_string(&store.path).unwrap().contains("new"));
    }

    #[tokio::test]
    async fn a_login_is_renewed_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, "https://one.example/mcp");
        let held = store.acquire_refresh_guard().await.unwrap();
        let why = store.alone(Duration::ZERO).await.unwrap_err().to_string();
        assert!(why.contains("another process"), "{why}");
        drop(held);
        store.alone(Duration::ZERO).await.unwrap();
    }
}
