//! Who may speak on the link: a core's own authority, and the certificates it gives to its nodes.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::node::{NodeError, NodeId};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// It could not be made.
    #[error("the certificate could not be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// A certificate and its key, as PEM, with that of who signed it.
#[derive(Debug, Clone)]
pub struct Papers {
    /// The authority's certificate.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What signs the certificates of a core and its nodes: `authority.pem` and `authority.key` in a folder.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// The one in that folder, made if there is none.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn open(folder: &Path) -> Result<Self, CertificateError> {
        let (certificate, key) = (folder.join("authority.pem"), folder.join("authority.key"));
        if !certificate.exists() || !key.exists() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
            let pair = KeyPair::generate()?;
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
                .distinguished_name
                .push(DnType::CommonName, "gpak core");
            write(&key, &pair.serialize_pem())?;
            write(&certificate, &params.self_signed(&pair)?.pem())?;
        }
        let read = |path: &Path| fs::read_to_string(path).map_err(failed(path));
        let pem = read(&certificate)?;
        let pair = KeyPair::from_pem(&read(&key)?)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "gpak core");
        Ok(Self {
            issuer: Issuer::new(params, pair),
            pem,
        })
    }

    /// Papers for the core, under these names or addresses.
    ///
    /// # Errors
    /// If a name can be none.
    pub fn core(&self, names: Vec<String>) -> Result<Papers, CertificateError> {
        self.papers(names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Papers for a node.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn node(&self, id: &NodeId) -> Result<Papers, CertificateError> {
        let names = vec![id.to_string()];
        self.papers(names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn papers(
        &self,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Papers, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Papers {
            authority: self.pem.clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Papers {
    /// Those in a folder, as [`Papers::write`] left them.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(folder: &Path) -> Result<Self, CertificateError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(failed(&path))
        };
        Ok(Self {
            authority: read("authority.pem")?,
            certificate: read("node.pem")?,
            key: read("node.key")?,
        })
    }

    /// Writes them to a folder, for this user alone.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), CertificateError> {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        write(&folder.join("authority.pem"), &self.authority)?;
        write(&folder.join("node.pem"), &self.certificate)?;
        write(&folder.join("node.key"), &self.key)
    }

    /// What a core listens with: only who has a certificate of the same authority gets in.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.authority))
    }

    /// What a node calls with.
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .ca_certificate(Certificate::from_pem(&self.authority))
    }
}

/// Whether the certificate is that node's.
///
/// # Errors
/// If it is not.
pub fn check(certificate: &CertificateDer<'_>, id: &NodeId) -> Result<(), NodeError> {
    let name = ServerName::try_from(id.as_ref()).ok();
    let parsed = ParsedCertificate::try_from(certificate).ok();
    let is_its = parsed
        .zip(name)
        .is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok());
    match is_its {
        true => Ok(()),
        false => Err(NodeError::Certificate(id.clone())),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |why| CertificateError::File {
        path: path.clone(),
        why,
    }
}

fn write(path: &Path, text: &str) -> Result<(), CertificateError> {
    let mut options = fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(failed(path))?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))
}
