//! `run` and `exec` as one request of our own command line: as good as the single ones in every corner.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use minke_e2e::{Client, Rig, deadline, process, within};

fn ours(body: impl Fn(&Rig)) {
    Rig::run(Client::Minke, &[], body);
}

/// Sends one request that asks for what `mode` says, and returns all that comes back until the connection ends.
fn ask(rig: &Rig, path: &str, mode: &str, body: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(rig.socket()).expect("the engine listens");
    stream.set_read_timeout(Some(deadline::seconds(60))).expect("a time limit");
    let upgrade =
        if mode == "attach" { "Connection: Upgrade\r\nUpgrade: tcp\r\n" } else { "Connection: close\r\n" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nMinke-Stream: 1\r\nMinke-Run: {mode}\r\n{upgrade}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the request is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the connection ends by itself");
    answer
}

fn has(answer: &[u8], part: &[u8]) -> bool {
    answer.windows(part.len()).any(|window| window == part)
}

const ECHO: &str = r#"{"Image":"busybox","Cmd":["echo","hi"],"AttachStdout":true,"HostConfig":{"AutoRemove":true,"NetworkMode":"none"}}"#;
const STREAM: &str = "/v1.41/containers/create?stream=1&stdout=1&stderr=1";

#[test]
fn one_request_makes_joins_and_starts_and_its_stream_ends_when_the_container_is_gone() {
    ours(|rig| {
        let answer = ask(rig, STREAM, "attach", ECHO);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 101 UPGRADED"), "{text}");
        assert!(text.contains("Minke-Run: {\"Id\":\""), "{text}");
        assert!(answer.ends_with(b"\x01\0\0\0\0\0\0\x03hi\n\x10\0\0\0\0\0\0\x04\0\0\0\0"), "{text}");
        assert_eq!(rig.ok("ps -aq"), "", "the stream of a --rm container ends when it is removed");
    });
}

#[test]
fn a_start_that_fails_is_told_in_the_stream_or_in_the_answer() {
    ours(|rig| {
        let body = ECHO.replace("echo", "no-such-program").replace("true,\"Net", "false,\"Net");
        let answer = ask(rig, STREAM, "attach", &body);
        assert!(has(&answer, b"\x12\0\0\0"), "{}", String::from_utf8_lossy(&answer));
        assert!(has(&answer, b"executable file not found in $PATH"));
        let answer = String::from_utf8(ask(rig, "/v1.41/containers/create", "detach", &body)).expect("JSON");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        assert!(answer.contains("\"Started\":true,\"StartError\":\"failed to create task"), "{answer}");
        assert_eq!(rig.ok("ps -aq").lines().count(), 2, "both are there, created");
    });
}

#[test]
fn what_a_client_asks_without_upgrading_is_only_made() {
    ours(|rig| {
        let answer =
            rig.post("/containers/create", &serde_json::json!({"Image": "busybox", "Cmd": ["true"]}));
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json().as_object().map(|keys| keys.len()), Some(2), "{}", answer.text());
    });
}

#[test]
fn an_exec_is_one_request_too() {
    ours(|rig| {
        rig.ok("run -d --name one --network none busybox sleep 1000");
        let body = r#"{"AttachStdout":true,"Cmd":["sh","-c","echo hi; exit 5"]}"#;
        let answer = ask(rig, "/containers/one/exec", "attach", body);
        assert!(answer.ends_with(b"\x01\0\0\0\0\0\0\x03hi\n\x10\0\0\0\0\0\0\x04\0\0\0\x05"));
        let answer = ask(rig, "/containers/one/exec", "detach", body);
        assert!(has(&answer, b"\"Started\":true"), "{}", String::from_utf8_lossy(&answer));
        rig.fails("exec none true", 1, "No such container: none");
        let output = rig.cli("exec one no-such-program");
        assert_eq!(output.code, 127);
        assert!(output.text().contains("executable file not found in $PATH"), "{}", output.text());
    });
}

#[test]
fn a_killed_shim_leaves_an_attached_run_its_code() {
    ours(|rig| {
        for flag in ["", "--rm "] {
            let run = rig.spawn(&format!("run {flag}--name one busybox sh -c 'echo up; sleep 1000'"));
            run.expect("up");
            // What it prints may arrive before the engine has heard that it runs.
            let shim = within(20, "a shim", || {
                let init = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid") as i32;
                (init > 0).then(|| process::parent(init)).flatten()
            });
            process::signal(shim, rustix::process::Signal::KILL);
            let output = run.wait();
            assert!([137, 255].contains(&output.code), "{flag}{}: {}", output.code, output.stderr);
            rig.cli("rm -f one");
        }
    });
}

#[test]
fn the_id_file_is_there_before_anything_runs() {
    ours(|rig| {
        let file = rig.scratch().join("id");
        let line = format!("run --cidfile {} --name one busybox true", file.display());
        rig.ok(&line);
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), rig.ok("ps -aq --no-trunc"));
        rig.fails(&line, 125, "container ID file found");
        rig.fails("run --cidfile /no/such/place --name two busybox true", 125, "container ID file");
        assert_eq!(rig.inspect("two")["State"]["Status"], "created");
        rig.fails("run --name one busybox true", 125, "is already in use by container");
    });
}

#[test]
fn a_terminal_s_end_of_input_leaves_the_code_to_be_asked_for() {
    ours(|rig| {
        let body = ECHO
            .replace(
                "\"AttachStdout\"",
                "\"Tty\":true,\"OpenStdin\":true,\"AttachStdin\":true,\"AttachStdout\"",
            )
            .replace("[\"echo\",\"hi\"]", "[\"sleep\",\"1000\"]");
        let mut stream = UnixStream::connect(rig.socket()).expect("the engine listens");
        stream.set_read_timeout(Some(deadline::seconds(60))).expect("a time limit");
        let head = format!(
            "POST {STREAM}&stdin=1&name=one HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nMinke-Stream: 1\r\nMinke-Run: attach\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("the request is sent");
        within(20, "the container runs", || {
            (rig.cli("inspect -f '{{.State.Running}}' one").text() == "true").then_some(())
        });
        stream.shutdown(std::net::Shutdown::Write).expect("the input ends");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the client is let go while the container runs");
        assert_eq!(rig.inspect("one")["State"]["Running"], true);
    });
}
