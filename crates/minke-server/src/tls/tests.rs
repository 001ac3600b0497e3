use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::listener::{Client, Listener};

/// Makes an authority and, signed by it, a certificate for `localhost`; all files are `<name>-*.pem` in `dir`.
fn write_certificates(dir: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(dir.join(format!("{name}-ca.pem")), authority.pem()).unwrap();
    fs::write(dir.join(format!("{name}-cert.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
}

fn client(dir: &Path, trusts: &str, own: Option<&str>) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&dir.join(format!("{trusts}-ca.pem"))).unwrap() {
        roots.add(certificate).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{own}-key.pem"))).unwrap();
            builder
                .with_client_auth_cert(certificates(&dir.join(format!("{own}-cert.pem"))).unwrap(), key)
                .unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Whether a client gets a byte from a listener that answers one to whomever it lets in.
async fn is_let_in(listener: &Listener, connector: TlsConnector) -> bool {
    let address = listener.address().strip_prefix("tcp://").unwrap().to_owned();
    let serve = async {
        let Client::Tls(stream, acceptor) = listener.accept().await.unwrap() else { panic!("not TLS") };
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        }
    };
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        stream.read_u8().await
    };
    tokio::join!(serve, connect).1.is_ok_and(|byte| byte == b'!')
}

#[tokio::test]
async fn only_clients_of_the_authority_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["engine", "client", "stranger"] {
        write_certificates(dir, name);
    }
    let settings = TlsSettings {
        cert: dir.join("engine-cert.pem"),
        key: dir.join("engine-key.pem"),
        client_ca: Some(dir.join("client-ca.pem")),
    };
    let listener = Listener::bind("tcp://127.0.0.1:0", Some(settings.clone())).await.unwrap();
    assert!(is_let_in(&listener, client(dir, "engine", Some("client"))).await);
    assert!(!is_let_in(&listener, client(dir, "engine", None)).await);
    assert!(!is_let_in(&listener, client(dir, "engine", Some("stranger"))).await);
    assert!(!is_let_in(&listener, client(dir, "stranger", Some("client"))).await);

    let open =
        Listener::bind("tcp://127.0.0.1:0", Some(TlsSettings { client_ca: None, ..settings })).await.unwrap();
    assert!(is_let_in(&open, client(dir, "engine", None)).await);
}

#[test]
fn files_that_are_wrong_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_certificates(dir.path(), "a");
    let settings = |cert: &str, key: &str| TlsSettings {
        cert: dir.path().join(cert),
        key: dir.path().join(key),
        client_ca: None,
    };
    let message = |settings: TlsSettings| settings.acceptor().err().unwrap().to_string();
    assert!(message(settings("none.pem", "a-key.pem")).contains("none.pem"));
    assert!(message(settings("a-cert.pem", "a-ca.pem")).contains("private key"));
    assert!(message(settings("a-key.pem", "a-key.pem")).contains("no certificate in"));
}
