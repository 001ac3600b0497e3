//! TLS towards registries: whom to trust, what to show. Read from files at the first connection to a host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::{Error, ErrorKind};
use super::{Result, url::Origin};

/// The files that certs.d has for a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HostFiles {
    authorities: Vec<PathBuf>,
    /// Certificate and key.
    shown: Option<(PathBuf, PathBuf)>,
    /// When each file of the host's folders was changed, and its length.
    stamps: Vec<(PathBuf, SystemTime, u64)>,
}

impl HostFiles {
    /// Looks for the host's folder below each of `folders`: `host:port`, and `host` where the port is the scheme's.
    ///
    /// # Errors
    /// A certificate has no key, or the other way round.
    pub(crate) fn find(folders: &[PathBuf], origin: &Origin) -> Result<Self> {
        let mut files = Self::default();
        let mut names = vec![origin.host_port(), origin.authority()];
        names.dedup();
        for folder in folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name))) {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            paths.sort();
            files.stamps.extend(paths.iter().filter_map(|path| {
                let found = std::fs::metadata(path).ok()?;
                Some((path.clone(), found.modified().ok()?, found.len()))
            }));
            for path in &paths {
                files.take(path, &paths)?;
            }
        }
        Ok(files)
    }

    fn take(&mut self, path: &Path, all: &[PathBuf]) -> Result<()> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => self.authorities.push(path.to_owned()),
            Some("cert") => {
                let key = path.with_extension("key");
                if !all.contains(&key) {
                    return Err(missing("key", &key, "certificate", path));
                }
                self.shown.get_or_insert((path.to_owned(), key));
            }
            Some("key") => {
                let cert = path.with_extension("cert");
                if !all.contains(&cert) {
                    return Err(missing("client certificate", &cert, "key", path));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn missing(what: &str, path: &Path, of: &str, other: &Path) -> Error {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hint = if of == "key" { ". CA certificates must use the extension .crt" } else { "" };
    Error::new(ErrorKind::Tls, format!("missing {what} {} for {of} {}{hint}", name(path), name(other)))
}

/// The system's authorities.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("the system's certificates: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// The settings of connections; `verify` says whether the registry's certificate is looked at.
pub(crate) fn client_config(
    roots: Arc<RootCertStore>,
    files: &HostFiles,
    verify: bool,
) -> Result<Arc<ClientConfig>> {
    let failed = |error: rustls::Error| Error::new(ErrorKind::Tls, format!("tls: {error}"));
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if !verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
    } else if files.authorities.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let mut roots = RootCertStore::clone(&roots);
        for path in &files.authorities {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(failed)?;
            }
        }
        builder.with_root_certificates(roots)
    };
    let mut config = match &files.shown {
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(read_certificates(cert)?, key).map_err(failed)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A pull opens a few connections to one host at about the same time.
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Tls, format!("could not load {}: {error}", path.display()))
}

/// The failure of a handshake, in Go's words.
pub(crate) fn handshake_error(error: std::io::Error) -> Error {
    let (kind, words) = match tls_words(&error) {
        Some(words) => (ErrorKind::Tls, words),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => (ErrorKind::Network, "EOF".to_owned()),
        None => (ErrorKind::Network, super::transport::io_words(&error)),
    };
    Error::new(kind, words).with_source(error)
}

/// What TLS has against a connection, if it is TLS that has. A certificate of ours that is missing or wrong is only said
/// after the handshake.
pub(crate) fn tls_words(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())?;
    Some(match error {
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        rustls::Error::InvalidCertificate(why) => {
            format!("tls: failed to verify certificate: x509: {}", why_not(why))
        }
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_words(*alert)),
        other => format!("tls: {other}"),
    })
}

fn why_not(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<String> = presented.iter().map(|name| plain_name(name)).collect();
            format!("certificate is valid for {}, not {}", presented.join(", "), expected.to_str())
        }
        other => other.to_string(),
    }
}

/// `DnsName("a.example")` without what surrounds it.
fn plain_name(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"').to_owned()
}

fn alert_words(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => "certificate required".to_owned(),
        Alert::BadCertificate => "bad certificate".to_owned(),
        Alert::HandshakeFailure => "handshake failure".to_owned(),
        Alert::UnknownCA => "unknown certificate authority".to_owned(),
        Alert::UnrecognisedName => "unrecognized name".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Takes every certificate, where somebody has said that none is to be checked; signatures still are.
#[derive(Debug)]
pub struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    /// With the algorithms of a provider.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
