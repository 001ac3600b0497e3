//! TLS, insecure registries, mirrors, proxies.

use std::path::{Path, PathBuf};

use minke_registry::client::{Credentials, ErrorKind, Insecure, Mirror, Proxies, Repository, Settings};
use minke_registry::server::{Access, TlsFiles};
use minke_registry::testing::{Fault, Stand};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::setup::{noise, push, repository_of, settings, tag};

/// An authority in a folder, and what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for names; gives the files of certificate and key.
    fn sign(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let params =
            CertificateParams::new(hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.path(&format!("{name}.pem")), self.path(&format!("{name}-key.pem")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn tls(&self, hosts: &[&str], asks_clients: bool) -> TlsFiles {
        let (cert, key) = self.sign("server", hosts);
        TlsFiles { cert, key, client_ca: asks_clients.then(|| self.path("ca.pem")) }
    }
}

/// A port that nobody listens on.
fn nowhere() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Makes certs.d: a folder for a host with copies of files.
fn certs_d(host: &str, files: &[(&Path, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(host)).unwrap();
    for (from, name) in files {
        std::fs::copy(from, folder.path().join(host).join(name)).unwrap();
    }
    folder
}

/// A host whose certificate is looked at: through a proxy that leads all names to one place.
async fn named(stand: &Stand, name: &str, settings: Settings) -> Repository {
    let proxy = proxy_to(stand.host()).await;
    let proxies = Proxies { http: Some(proxy.clone()), https: Some(proxy), no_proxy: String::new() };
    repository_of(Settings { proxies, ..settings }, name, "app", Credentials::Anonymous)
}

/// A proxy that knows CONNECT, leads everywhere to `host`, and wants a password.
async fn proxy_to(host: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                if !head.to_ascii_lowercase().contains("proxy-authorization: basic bwu6chc=") {
                    return client
                        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
                let mut server = tokio::net::TcpStream::connect(&host).await?;
                if head.starts_with("CONNECT ") {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                } else {
                    // `GET http://name/path`: the path is what the place behind wants.
                    let (start, rest) = head.split_once("http://").unwrap();
                    let path = &rest[rest.find('/').unwrap()..];
                    server.write_all(format!("{start}{path}").as_bytes()).await?;
                }
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    format!("http://me:pw@{address}")
}

#[tokio::test]
async fn an_authority_of_certs_d_is_trusted_for_its_host() {
    let authority = Authority::new();
    let stand = Stand::new(Access::Open, Some(&authority.tls(&["r.example"], false))).await;
    let certs = certs_d("r.example:5000", &[(&authority.path("ca.pem"), "ca.crt")]);
    let trusting = Settings { certs_dirs: vec![certs.path().to_owned()], ..settings() };
    let repository = named(&stand, "r.example:5000", trusting.clone()).await;
    push(&repository, "1", &noise(100)).await;
    repository.manifest(&tag("1")).await.unwrap();

    let other = named(&stand, "r.example:5001", trusting.clone()).await;
    let error = other.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert_eq!(
        error.to_string(),
        "Get \"https://r.example:5001/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    let certs = certs_d("s.example", &[(&authority.path("ca.pem"), "ca.crt")]);
    let renamed = Settings { certs_dirs: vec![certs.path().to_owned()], ..settings() };
    let error = named(&stand, "s.example", renamed).await.manifest(&tag("1")).await.unwrap_err();
    assert!(
        error.to_string().ends_with("x509: certificate is valid for r.example, not s.example"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_registry_that_wants_one() {
    let authority = Authority::new();
    let stand = Stand::new(Access::Open, Some(&authority.tls(&["r.example"], true))).await;
    let (cert, key) = authority.sign("client", &["me"]);
    let ca = authority.path("ca.pem");
    let certs = certs_d("r.example", &[(&ca, "ca.crt"), (&cert, "client.cert"), (&key, "client.key")]);
    let with = Settings { certs_dirs: vec![certs.path().to_owned()], ..settings() };
    push(&named(&stand, "r.example", with).await, "1", &noise(100)).await;

    let certs = certs_d("r.example", &[(&ca, "ca.crt"), (&cert, "client.cert")]);
    let half = Settings { certs_dirs: vec![certs.path().to_owned()], ..settings() };
    let error = named(&stand, "r.example", half).await.manifest(&tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("missing key client.key for certificate client.cert"), "{error}");
    let certs = certs_d("r.example", &[(&ca, "ca.crt")]);
    let without = Settings { certs_dirs: vec![certs.path().to_owned()], ..settings() };
    assert!(named(&stand, "r.example", without).await.manifest(&tag("1")).await.is_err());
}

#[tokio::test]
async fn an_insecure_registry_may_have_any_certificate_or_none() {
    let authority = Authority::new();
    let secure = Stand::new(Access::Open, Some(&authority.tls(&["other.example"], false))).await;
    // The loopback is always insecure.
    push(&repository_of(settings(), &secure.host(), "app", Credentials::Anonymous), "1", &noise(100)).await;
    let plain = Stand::open().await;
    for (stand, name) in [(&secure, "r.example"), (&plain, "r.example:80")] {
        let insecure = vec![Insecure::parse(name).unwrap()];
        push(&named(stand, name, Settings { insecure, ..settings() }).await, "1", &noise(100)).await;
    }
    let error = named(&plain, "r.example", settings()).await.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert_eq!(
        error.to_string(),
        "Get \"https://r.example/v2/\": http: server gave HTTP response to HTTPS client"
    );
}

#[tokio::test]
async fn a_proxy_wants_its_own_password_and_is_told_nothing_else() {
    let stand = Stand::open().await;
    let proxy = proxy_to(stand.host()).await.replace("me:pw@", "");
    let proxies = Proxies { https: Some(proxy), ..Proxies::default() };
    let repository =
        repository_of(Settings { proxies, ..settings() }, "r.example", "app", Credentials::Anonymous);
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Network, "Get \"https://r.example/v2/\": 407 Proxy Authentication Required")
    );
}

#[tokio::test]
async fn mirrors_are_asked_first_and_without_credentials() {
    let (origin, mirror, nowhere) = (Stand::open().await, Stand::open().await, nowhere());
    let host = origin.host();
    push(&crate::setup::repository(&origin, "app"), "1", &noise(100)).await;
    let of = |url: String| Mirror { host: host.clone(), url };
    let mirrors = vec![of(format!("http://{nowhere}")), of(format!("http://{}/", mirror.host()))];
    let with = Settings { mirrors, ..settings() };
    let repository = repository_of(with, &host, "app", Credentials::Bearer("mine".into()));
    // Not at the mirrors: from the registry itself.
    assert_eq!(repository.manifest(&tag("1")).await.unwrap().host, host);
    assert_eq!(mirror.count("GET", "/v2/app/manifests/1"), 1);
    let (_, layer) = push(&crate::setup::repository(&mirror, "app"), "1", &noise(2_000)).await;
    assert_eq!(repository.manifest(&tag("1")).await.unwrap().host, mirror.host());
    assert!(mirror.seen().iter().all(|seen| seen.authorization.is_empty()));
    // Pushed to the registry alone; a mirror that breaks in the middle of a blob is left.
    push(&repository, "2", &noise(2_000)).await;
    mirror.fault("GET", "/blobs/", 9, Fault::CutAfter(500));
    assert_eq!(crate::setup::blob(&repository, &layer, 2_000).await.unwrap(), noise(2_000));
    assert!(mirror.seen().iter().all(|seen| !seen.target.contains("/manifests/2")));
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_said_in_dockers_words() {
    let host = nowhere();
    let repository = repository_of(settings(), &host, "app", Credentials::Anonymous);
    let error = repository.manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(
        error.to_string(),
        format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused")
    );
}
