//! Debian's `docker-registry`, on a loopback: of this process, or of one with a network of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::digest_of;
use crate::{deadline, peers};

/// `me` with the password `secret`, as htpasswd writes it.
pub const PASSWORDS: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Debian's registry, with its files below a folder; ends when this is dropped.
pub struct DockerRegistry {
    child: Child,
    address: String,
}

impl DockerRegistry {
    /// Starts one; `more` are lines of its configuration: what belongs below `http:`, and then others as `auth:`.
    pub fn start(folder: &Path, more: &str) -> Self {
        Self::start_beside(folder, more, None)
    }

    /// The same, on the loopback of a process that has a network of its own, as the reference engine has.
    pub fn start_beside(folder: &Path, more: &str, pid: Option<i32>) -> Self {
        Self::start_at(folder, more, pid, None)
    }

    /// The same, at an address of its network: `host:port`.
    pub fn start_at(folder: &Path, more: &str, pid: Option<i32>, address: Option<&str>) -> Self {
        let inside = pid.map(|pid| ["--target".to_owned(), pid.to_string(), "--net".to_owned()]);
        std::fs::create_dir_all(folder.join("data")).expect("the folder takes the registry's files");
        let program = peers::program("docker-registry", "registry");
        // Somebody may take the port between the question and the start: then the next is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = port.expect("a port of loopback").to_string();
            let address = address.map_or(port, str::to_owned);
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{more}",
                folder.join("data").display()
            );
            let path = folder.join("config.yml");
            std::fs::write(&path, config).expect("the folder takes the configuration");
            let log = std::fs::File::create(folder.join("log")).expect("the folder takes the log");
            let mut command = match &inside {
                Some(words) => {
                    let mut command = Command::new("nsenter");
                    command.args(words).arg(&program);
                    command
                }
                None => Command::new(&program),
            };
            let mut child = command
                .arg("serve")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("docker-registry starts");
            let listens = within_or(10, || {
                child.try_wait().ok().flatten().is_none().then(|| answers(&address, inside.as_ref()))
            });
            if listens {
                return Self { child, address };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("docker-registry does not listen: {log}");
    }

    /// The name of a repository here.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The manifest under a name, with its digest; only of a registry without passwords and TLS.
    pub fn manifest(&self, repository: &str, reference: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("the registry listens");
        let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let request = format!(
            "GET /v2/{repository}/manifests/{reference} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("the registry reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the registry answers");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a body");
        (digest_of(body.as_bytes()), serde_json::from_str(body).expect("a manifest is JSON"))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody listens, on this loopback or on that of `inside`.
fn answers(address: &str, inside: Option<&[String; 3]>) -> bool {
    let Some(words) = inside else { return TcpStream::connect(address).is_ok() };
    let probe = format!(": </dev/tcp/{}", address.replace(':', "/"));
    let tried =
        Command::new("nsenter").args(words).args(["bash", "-c", &probe]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Waits until `look` says yes; no when it says that there is nothing to wait for, or the time is over.
fn within_or(limit_s: u64, mut look: impl FnMut() -> Option<bool>) -> bool {
    let end = std::time::Instant::now() + deadline::seconds(limit_s);
    while std::time::Instant::now() < end {
        match look() {
            Some(true) => return true,
            Some(false) => std::thread::sleep(std::time::Duration::from_millis(20)),
            None => return false,
        }
    }
    false
}
