//! TLS from the client's side: which authorities are trusted, which certificate is shown. Loaded only for a host that needs it.

use std::path::Path;
use std::sync::Arc;

use minke_model::{Context as _, Error, Result};
use minke_registry::client::AnyCertificate;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::host::TlsFiles;

/// Builds the settings of a TLS connection from the files named.
///
/// # Errors
/// A file is missing or is not what it should be, or certificate and key do not belong together.
pub(crate) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS is not available")?;
    let builder = if files.verify {
        builder.with_root_certificates(roots(files)?)
    } else {
        // As `--tls` without `--tlsverify` asks for.
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
    };
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(read_certificates(cert)?, read_key(key)?)
            .with_context(|| format!("Could not load X509 key pair {}", cert.display()))?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in read_certificates(path)? {
                store.add(certificate).with_context(|| format!("CA certificate {}", path.display()))?;
            }
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                let _ = store.add(certificate);
            }
        }
    }
    Ok(store)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || -> std::result::Result<Vec<_>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_file_iter(path)?.collect()
    };
    let found = read().with_context(|| format!("could not read certificate {}", path.display()))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("no certificate in {}", path.display())));
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("could not read key {}", path.display()))
}
