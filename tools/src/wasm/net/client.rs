//! The client that requests of tools go through.
//!
//! Addresses are judged where a connection is made, so that a name cannot stand for one address when it
//! is looked at and for another when it is used. There is no proxy, which would resolve names itself, and
//! redirects are not followed here, as each must be judged like a request.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::address::is_public;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Finds the addresses of names.
#[async_trait]
pub trait Names: Send + Sync {
    /// The addresses of a host.
    ///
    /// # Errors
    /// If it has none, or nobody can be asked.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the operating system.
#[derive(Debug)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What requests are sent with; made when first needed.
pub(crate) struct Network {
    names: Arc<dyn Names>,
    open: OnceLock<Result<reqwest::Client, String>>,
    private: OnceLock<Result<reqwest::Client, String>>,
}

/// Where a host may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On the open network.
    Open,
    /// Anywhere.
    Private,
}

/// A name had no address that may be used.
#[derive(Debug, thiserror::Error)]
#[error("{0} is of this machine or its network, which takes a grant of its own (private_hosts)")]
pub(crate) struct Barred(pub(crate) String);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    pub(crate) fn new(names: Arc<dyn Names>) -> Self {
        Self {
            names,
            open: OnceLock::new(),
            private: OnceLock::new(),
        }
    }

    pub(crate) fn client(&self, reach: Reach) -> Result<&reqwest::Client, &str> {
        let client = match reach {
            Reach::Open => &self.open,
            Reach::Private => &self.private,
        };
        let made = client.get_or_init(|| {
            let judge = Judge {
                names: self.names.clone(),
                reach,
            };
            make(judge).map_err(|why| why.to_string())
        });
        made.as_ref().map_err(String::as_str)
    }
}

fn make(judge: Judge) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .user_agent(concat!("gpak/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .dns_resolver(judge)
        .build()
        .map_err(Into::into)
}

/// TLS by ring, trusting whom the system trusts. A system without certificates trusts nobody, and plain
/// requests will do there.
pub(crate) fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
    };
    let trusting = match builder()?.with_platform_verifier() {
        Ok(trusting) => trusting,
        Err(why) => {
            tracing::warn!(%why, "no certificates are trusted; install the system's (ca-certificates)");
            builder()?.with_root_certificates(rustls::RootCertStore::empty())
        }
    };
    Ok(trusting.with_no_client_auth())
}

/// Resolves names to the addresses that may be used.
struct Judge {
    names: Arc<dyn Names>,
    reach: Reach,
}

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, reach) = (self.names.clone(), self.reach);
        Box::pin(async move {
            let host = name.as_str();
            let found = names.addresses(host).await?;
            let usable: Vec<_> = found
                .iter()
                .copied()
                .filter(|address| reach == Reach::Private || is_public(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if let (true, Some(private)) = (usable.is_empty(), found.first()) {
                return Err(Barred(format!("{host} stands for {private}, which")).into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}
