//! Registries that are not on a loopback, whose certificates count: certs.d, insecure registries, mirrors, passwords over TLS.
//! The engine has a network of its own, in which the registries have an address that is nobody's loopback.

use std::fs;
use std::path::PathBuf;

use minke_e2e::registry::{DockerRegistry, PASSWORDS};
use minke_e2e::{Client, Rig, escape, peers};

use crate::tls::write_certificates;

/// An address that is kept for tests.
const HOST: &str = "198.18.0.1";

/// Gives what follows a network with that address, and an /etc of its own; `$0` is busybox.
const INSIDE: &str = r#"set -e
"$0" ip link set lo up
"$0" ip address add 198.18.0.1/32 dev lo
place=$(mktemp -d)
mount -t tmpfs etc "$place"
mkdir "$place/upper" "$place/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$place/upper,workdir=$place/work" etc /etc
umount -l "$place"
rmdir "$place"
exec "$@""#;

/// Runs a test in an engine with that network.
fn apart(flags: &[&str], body: impl Fn(&Rig)) {
    let busybox = peers::busybox().to_string_lossy();
    let inside = ["unshare", "--mount", "--net", "sh", "-c", INSIDE, &busybox];
    Rig::run_inside(Client::Minke, &inside, flags, body);
}

fn registry(rig: &Rig, name: &str, port: u16, more: &str) -> DockerRegistry {
    let address = format!("{HOST}:{port}");
    DockerRegistry::start_at(&rig.scratch().join(name), more, Some(rig.engine_pid()), Some(&address))
}

/// The folder of a registry's certificates, as the engine sees it.
fn certs_d(rig: &Rig, registry: &DockerRegistry) -> PathBuf {
    let root = format!("/proc/{}/root/etc/minke/certs.d", rig.engine_pid());
    let folder = PathBuf::from(root).join(registry.address());
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn a_registrys_own_authority_is_trusted_and_its_certificate_for_us_is_shown() {
    apart(&[], |rig| {
        let keys = rig.scratch().join("keys");
        write_certificates(&keys, HOST);
        let users = rig.file("users", PASSWORDS.as_bytes());
        let tls = format!(
            "  tls:\n    certificate: {0}/server-cert.pem\n    key: {0}/server-key.pem\n    clientcas: [{0}/ca.pem]\nauth:\n  htpasswd:\n    realm: test\n    path: {1}\n",
            keys.display(),
            users.display()
        );
        let registry = registry(rig, "registry", 5001, &tls);
        let name = registry.name("box:1");
        rig.ok(&format!("tag busybox {name}"));
        rig.fails(&format!("push {name}"), 1, "certificate signed by unknown authority");
        let login = format!("login -u me -p secret {}", registry.address());
        rig.fails(&login, 1, "certificate signed by unknown authority");
        let certs = certs_d(rig, &registry);
        fs::copy(keys.join("ca.pem"), certs.join("ca.crt")).expect("a file");
        let stranger = rig.cli(&login);
        assert_eq!(stranger.code, 1);
        let words = ["certificate required", "bad certificate"];
        assert!(words.iter().any(|words| stranger.stderr.contains(words)), "{}", stranger.stderr);
        fs::copy(keys.join("cert.pem"), certs.join("client.cert")).expect("a file");
        fs::copy(keys.join("key.pem"), certs.join("client.key")).expect("a file");
        rig.fails(&format!("push {name}"), 1, "no basic auth credentials");
        rig.fails(&login.replace("secret", "wrong"), 1, "401 Unauthorized");
        assert_eq!(rig.ok(&login), "Login Succeeded");
        rig.ok(&format!("push -q {name}"));
        let id = rig.ok(&format!("images -q --no-trunc {name}"));
        rig.ok(&format!("rmi {name}"));
        rig.ok(&format!("pull -q {name}"));
        assert_eq!(rig.ok(&format!("images -q --no-trunc {name}")), id);
        assert_eq!(rig.ok(&format!("run --rm {name} echo runs")), "runs");
    });
}

#[test]
fn what_is_called_insecure_may_speak_in_clear_text_and_only_that() {
    apart(&["--insecure-registry", "198.18.0.1:5001"], |rig| {
        let (open, closed) = (registry(rig, "open", 5001, ""), registry(rig, "closed", 5002, ""));
        for registry in [&open, &closed] {
            rig.ok(&format!("tag busybox {}", registry.name("box:1")));
        }
        rig.ok(&format!("push -q {}", open.name("box:1")));
        rig.fails(
            &format!("push {}", closed.name("box:1")),
            1,
            "http: server gave HTTP response to HTTPS client",
        );
        let info = rig.get("/info").json();
        let listed = info["RegistryConfig"]["InsecureRegistryCIDRs"].to_string();
        assert!(listed.contains("127.0.0.0/8"), "{listed}");
        assert_eq!(info["RegistryConfig"]["IndexConfigs"]["198.18.0.1:5001"]["Secure"], false);
    });
}

#[test]
fn a_mirror_is_asked_first_and_what_it_lacks_is_dockers() {
    let mirrors = ["http://198.18.0.1:5009", "http://198.18.0.1:5001"];
    let flags =
        ["--registry-mirror", mirrors[0], "--registry-mirror", mirrors[1], "--max-download-attempts", "1"];
    apart(&[&flags[..], &["--insecure-registry", "198.18.0.1:5001"]].concat(), |rig| {
        let mirror = registry(rig, "mirror", 5001, "");
        let name = mirror.name("library/mirrored:1");
        rig.ok(&format!("tag busybox {name}"));
        rig.ok(&format!("push -q {name}"));
        let id = rig.ok(&format!("images -q --no-trunc {name}"));
        // The first one is not there, and nothing is lost by that.
        assert!(rig.ok("pull mirrored:1").ends_with("docker.io/library/mirrored:1"));
        assert_eq!(rig.ok("images -q --no-trunc mirrored:1"), id);
        let answer = rig.get(&format!("/images/{}/json", escape("mirrored:1"))).json();
        let digests = answer["RepoDigests"].to_string();
        assert!(digests.contains("mirrored@sha256:"), "{digests}");
        // Docker's own registry is out of reach here: it was asked then.
        let missing = rig.cli("pull mirrored:2");
        assert_eq!(missing.code, 1);
        assert!(missing.stderr.contains("registry-1.docker.io"), "{}", missing.stderr);
        let listed = rig.get("/info").json()["RegistryConfig"]["Mirrors"].to_string();
        assert!(mirrors.iter().all(|mirror| listed.contains(mirror)), "{listed}");
    });
}

#[test]
fn any_registry_may_have_a_mirror() {
    let mirror = "198.18.0.1:5009=http://198.18.0.1:5001";
    let flags = ["--registry-mirror", mirror, "--insecure-registry", "198.18.0.1:5001"];
    apart(&flags, |rig| {
        let mirror = registry(rig, "mirror", 5001, "");
        rig.ok(&format!("tag busybox {}", mirror.name("team/box:1")));
        rig.ok(&format!("push -q {}", mirror.name("team/box:1")));
        // The registry itself is not there.
        rig.ok(&format!("pull -q {HOST}:5009/team/box:1"));
        assert_eq!(rig.ok(&format!("run --rm {HOST}:5009/team/box:1 echo runs")), "runs");
        rig.fails(&format!("push -q {HOST}:5009/team/box:1"), 1, "connection refused");
    });
}
