//! Bytes in bulk: nothing is lost, doubled or changed between a container and who reads it.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::Duration;

use minke_e2e::{EngineKind, Rig, by_docker, once};
use sha2::{Digest, Sha256};

/// Starts `run` of a container that prints `mib` MiB of random bytes, and their hash to a file below `folder`.
fn start(rig: &Rig, driver: &str, mib: u32) -> Child {
    let folder = rig.scratch().display();
    let script =
        format!("head -c {mib}m /dev/urandom | tee /out/pipe | sha256sum >/out/sum & cat /out/pipe; wait");
    let line = format!("run --rm --log-driver {driver} -v {folder}:/out busybox sh -c '{script}'");
    let mut command = rig.command_line().command(&line);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the client starts")
}

/// Reads to the end; returns the hash and the number of bytes.
fn drain(child: &mut Child) -> (String, u64) {
    let mut source = child.stdout.take().expect("a pipe");
    let (mut hash, mut total, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count = source.read(&mut buffer).expect("the pipe is readable");
        if count == 0 {
            return (hex::encode(hash.finalize()), total);
        }
        hash.update(&buffer[..count]);
        total += count as u64;
    }
}

/// Random bytes arrive as they were, though the reader first waits for five seconds.
fn check(rig: &Rig, driver: &str, mib: u32) {
    let pipe = rig.scratch().join("pipe");
    if !pipe.exists() {
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
    }
    let mut run = start(rig, driver, mib);
    std::thread::sleep(Duration::from_secs(5));
    let (hash, total) = drain(&mut run);
    assert!(run.wait().expect("the client ends").success());
    assert_eq!(total, u64::from(mib) << 20, "{driver}");
    let sum = std::fs::read_to_string(rig.scratch().join("sum")).expect("the container wrote its hash");
    assert_eq!(sum.split(' ').next(), Some(hash.as_str()), "{driver}");
}

/// Docker's log of a GiB takes a minute; what is tested there is the test.
fn size_mib(rig: &Rig) -> u32 {
    if rig.kind() == EngineKind::Dockerd || minke_e2e::patience() > 1 { 64 } else { 1024 }
}

#[test]
fn a_gib_of_random_bytes_arrives_with_a_log() {
    once(|rig| check(rig, "json-file", size_mib(rig)));
}

#[test]
fn a_gib_of_random_bytes_arrives_without_a_log() {
    once(|rig| check(rig, "none", size_mib(rig)));
}

#[test]
fn a_gib_arrives_by_the_docker_client() {
    by_docker(|rig| check(rig, "none", size_mib(rig)));
}

#[test]
fn standard_input_in_bulk_arrives() {
    minke_e2e::case(|rig| {
        let mut input = vec![0; 32 << 20];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut input))
            .expect("random bytes");
        let expected = hex::encode(Sha256::digest(&input));
        let output = rig.with_input("run --rm -i busybox sha256sum", &input);
        assert_eq!(output.text().split(' ').next(), Some(expected.as_str()));
        rig.ok("run -d --name main busybox sleep 1000");
        let output = rig.with_input("exec -i main sha256sum", &input);
        assert_eq!(output.text().split(' ').next(), Some(expected.as_str()));
        let echoed = rig.with_input("run --rm -i --log-driver none busybox cat", &input);
        assert!(echoed.stdout == input, "{} of {} bytes came back", echoed.stdout.len(), input.len());
    });
}
