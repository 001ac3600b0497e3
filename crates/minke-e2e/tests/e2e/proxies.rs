//! Registries that are reached by way of a proxy.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minke_e2e::registry::{Packing, Registry};
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Rig};

/// A proxy that wants a password, leads plain requests to one place, and has no way for others; counts what it passed on.
fn proxy(to: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("the port's number");
    let passed: Arc<AtomicUsize> = Arc::default();
    let counter = passed.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (to, counter) = (to.clone(), counter.clone());
            // Whoever went away has its reasons.
            std::thread::spawn(move || drop(pass(client, &to, &counter)));
        }
    });
    (address, passed)
}

fn pass(mut client: TcpStream, to: &str, passed: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let refusal = match (text.contains("proxy-authorization: basic bwu6chc="), text.starts_with("connect ")) {
        (false, _) => Some("407 Proxy Authentication Required"),
        (true, true) => Some("502 Bad Gateway"),
        (true, false) => None,
    };
    if let Some(status) = refusal {
        return write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    passed.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(to)?;
    server.write_all(&head)?;
    let (mut from, mut back) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut back)));
    std::io::copy(&mut server, &mut client).map(drop)
}

#[test]
fn registries_are_reached_through_the_proxy_of_the_configuration() {
    let registry = Registry::start();
    registry.image("team/box", "1", &[(busybox_tar(), Packing::Gzip)]);
    let place = registry.name("");
    let (address, passed) = proxy(place.trim_end_matches('/').to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("daemon.json");
    let proxies =
        serde_json::json!({"http-proxy": format!("http://me:pw@{address}"), "no-proxy": "*.example.org"});
    std::fs::write(&file, serde_json::json!({"proxies": proxies}).to_string()).expect("a file");
    let https = format!("http://me:pw@{address}/");
    // No such name: only the proxy leads there.
    let flags = ["--config-file", file.to_str().expect("in ASCII"), "--https-proxy", &https];
    let insecure = ["--insecure-registry", "registry.invalid:5000"];
    Rig::run(Client::Minke, &[&flags[..], &insecure[..]].concat(), |rig| {
        let info = rig.get("/info").json();
        assert_eq!(info["HttpProxy"], format!("http://xxxxx:xxxxx@{address}"));
        assert_eq!(info["HttpsProxy"], format!("http://xxxxx:xxxxx@{address}/"));
        assert_eq!(info["NoProxy"], "*.example.org");
        assert_eq!(rig.ok("run --rm registry.invalid:5000/team/box:1 echo pulled"), "pulled");
        assert!(passed.load(Ordering::Relaxed) > 0);
    });
}
