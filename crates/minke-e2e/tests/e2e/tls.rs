//! An engine on TCP with TLS: who is let in, by both command lines and all the ways to name the files.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use minke_e2e::{Client, Rig, peers};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Makes an authority, and certificates of it for who listens at `host` and for a client, in the files that Docker names.
pub fn write_certificates(folder: &Path, host: &str) {
    fs::create_dir_all(folder).expect("a folder");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    for (name, prefix) in [(host, "server-"), ("client", "")] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.into()]).expect("parameters");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        fs::write(folder.join(format!("{prefix}cert.pem")), certificate.pem()).expect("a file");
        fs::write(folder.join(format!("{prefix}key.pem")), key.serialize_pem()).expect("a file");
    }
}

fn run(program: &Path, home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home);
    command.envs(variables.iter().copied()).args(arguments).stdin(Stdio::null());
    command.output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_string() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (own, strange) = (scratch.path().join("own"), scratch.path().join("strange"));
    write_certificates(&own, "127.0.0.1");
    write_certificates(&strange, "127.0.0.1");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let host = format!("tcp://{free}");
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file(&own, "ca.pem"), file(&own, "server-cert.pem"), file(&own, "server-key.pem"));
    let flags = ["-H", &host, "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    Rig::run(Client::Minke, &flags, |rig| {
        let home = rig.scratch();
        for program in [peers::minke(), peers::docker().to_path_buf()] {
            let given = |folder: &Path, ca: &str, command: &[&str]| {
                let (cert, key) = (file(folder, "cert.pem"), file(folder, "key.pem"));
                let mut words =
                    vec!["-H", &host, "--tlsverify", "--tlscacert", ca, "--tlscert", &cert, "--tlskey", &key];
                words.extend(command);
                run(&program, home, &[], &words)
            };
            let all = given(
                &own,
                &ca,
                &["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo up; exit 7"],
            );
            assert_eq!((all.status.code(), text(&all).as_str()), (Some(7), "up"), "{program:?}");
            let place = own.display().to_string();
            let variables =
                [("DOCKER_HOST", host.as_str()), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &place)];
            let by_environment = run(&program, home, &variables, &["version", "--format", "{{.Server.Os}}"]);
            assert_eq!(text(&by_environment), "linux", "{program:?}");

            let stranger = given(&strange, &ca, &["ps"]);
            assert!(
                !stranger.status.success(),
                "{program:?} with another authority's certificate: {}",
                text(&stranger)
            );
            let mistrust = given(&own, &file(&strange, "ca.pem"), &["ps"]);
            assert!(!mistrust.status.success(), "{program:?} trusts another authority: {}", text(&mistrust));
            let nobody = run(&program, home, &[], &["-H", &host, "--tlsverify", "--tlscacert", &ca, "ps"]);
            assert!(!nobody.status.success(), "{program:?} without a certificate: {}", text(&nobody));
            let plain = run(&program, home, &[], &["-H", &host, "ps"]);
            assert!(!plain.status.success(), "{program:?} without TLS: {}", text(&plain));
        }
    });
}
