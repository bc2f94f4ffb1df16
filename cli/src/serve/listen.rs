//! Takes connections: so many at a time, over TLS where that is set up, none of them for ever.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::args::Tls;
use crate::failure::Failure;

/// Connections at a time; more wait to be taken.
const CONNECTIONS: usize = 8192;
/// How long a client may take to say what it wants, and to shake hands before.
const HEADERS: Duration = Duration::from_secs(15);
/// How much of a request's head is read: a longer one is refused.
const HEAD: usize = 64 * 1024;
/// How long to wait after a connection could not be taken (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// How connections are encrypted.
pub fn tls(tls: &Tls) -> Result<Option<TlsAcceptor>, Failure> {
    let (Some(certificate), Some(key)) = (&tls.tls_cert, &tls.tls_key) else {
        return Ok(None);
    };
    let certificates = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable(key, &why.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::new(why.to_string()))?;
    let config = match &tls.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in self::certificates(path)? {
                roots
                    .add(root)
                    .map_err(|why| unusable(path, &why.to_string()))?;
            }
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(
                verifier.map_err(|why| unusable(path, &why.to_string()))?,
            )
        }
    };
    let mut config = config
        .with_single_cert(certificates, key)
        .map_err(|why| unusable(certificate, &why.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|why| unusable(path, &why.to_string()))?;
    match read.is_empty() {
        true => Err(unusable(path, "there is no certificate in it")),
        false => Ok(read),
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::usage(format!("{} cannot be used for TLS: {why}", path.display()))
        .help("give PEM files: the certificate with its chain, and its key")
}

/// Takes connections until `stop`, then lets requests under way be answered for `grace`.
pub async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let taken = tokio::select! {
            taken = take(&listener, &room) => taken,
            () = stop.cancelled() => break,
        };
        let Some((stream, peer, place)) = taken else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, peer, app, stop).await,
                Some(tls) => {
                    let handshake = tokio::time::timeout(HEADERS, tls.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        serve(stream, peer, app, stop).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("{} connections are cut off", connections.len());
    }
}

/// A connection, and the room that it takes.
async fn take(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            // Events are small and wanted at once.
            let _ = stream.set_nodelay(true);
            Some((stream, Peer(address.ip().to_canonical()), place))
        }
        Err(why) => {
            tracing::warn!("a connection could not be taken: {why}");
            None
        }
    }
}

async fn serve<S>(stream: S, peer: Peer, app: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = app.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    // How a connection ends is the client's business.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
