//! `GET /containers/{id}/attach/ws`: attaching by a websocket.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

use minke_e2e::{Rig, deadline, once};
use serde_json::json;
use tungstenite::client::client;
use tungstenite::{HandshakeError, Message, WebSocket};

/// Attaches to a container, at `version` of the API.
fn attach(rig: &Rig, version: &str, container: &str, query: &str) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(rig.socket()).expect("a connection");
    stream.set_read_timeout(Some(deadline::seconds(30))).expect("a limit");
    let address = format!("ws://docker/v{version}/containers/{container}/attach/ws?{query}");
    let (socket, answer) = client(address, stream).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.status(), 101);
    socket
}

/// What comes until the websocket's end, whether only binary frames came, and how it was closed.
fn read_all(socket: &mut WebSocket<UnixStream>) -> (String, bool, Option<u16>) {
    let (mut bytes, mut binary, mut code) = (Vec::new(), true, None);
    loop {
        match socket.read() {
            Ok(Message::Binary(piece)) => bytes.extend_from_slice(&piece),
            Ok(Message::Text(piece)) => {
                bytes.extend_from_slice(piece.as_bytes());
                binary = false;
            }
            Ok(Message::Close(frame)) => code = frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                panic!("nothing comes after {:?}", String::from_utf8_lossy(&bytes))
            }
            Err(_) => return (String::from_utf8_lossy(&bytes).into_owned(), binary, code),
        }
    }
}

fn create(rig: &Rig, name: &str, script: &str, tty: bool) {
    let body = json!({
        "Image": "busybox", "Cmd": ["sh", "-c", script], "Tty": tty, "OpenStdin": true, "StdinOnce": true,
        "HostConfig": {"NetworkMode": "none"},
    });
    let answer = rig.post(&format!("/containers/create?name={name}"), &body);
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn start(rig: &Rig, name: &str) {
    assert_eq!(rig.post(&format!("/containers/{name}/start"), &json!(null)).status, 204);
}

const ALL: &str = "stream=1&stdin=1&stdout=1&stderr=1";

#[test]
fn both_streams_come_unframed_and_the_end_is_a_close() {
    once(|rig| {
        create(rig, "one", "read line; echo \"got $line\"; echo err >&2; exit 3", false);
        let mut socket = attach(rig, "1.41", "one", ALL);
        start(rig, "one");
        socket.send(Message::text("hello\n")).expect("a message is taken");
        let (text, binary, code) = read_all(&mut socket);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!((lines.as_slice(), binary, code), (&["err", "got hello"][..], true, Some(1000)));
        assert_eq!(rig.await_status("one", "exited")["State"]["ExitCode"], 3);
    });
}

#[test]
fn a_terminal_is_spoken_with_and_its_log_comes_first() {
    once(|rig| {
        create(rig, "tty", "echo first; read line; echo \"<$line>\"; cat", true);
        start(rig, "tty");
        rig.await_log("tty", "first");
        let mut socket = attach(rig, "1.41", "tty", &format!("{ALL}&logs=1"));
        socket.send(Message::binary("hello\r")).expect("a message is taken");
        let mut text = String::new();
        while !text.contains("<hello>") {
            text += &String::from_utf8_lossy(&socket.read().expect("more").into_data());
        }
        assert!(text.starts_with("first\r\n"), "{text}");
        // The keys that detach are read here as well.
        socket.send(Message::binary(vec![16, 17])).expect("a message is taken");
        read_all(&mut socket);
        assert_eq!(rig.inspect("tty")["State"]["Running"], true);
    });
}

#[test]
fn what_the_client_closes_ends_the_input() {
    once(|rig| {
        create(rig, "cat", "cat >/dev/null; exit 7", false);
        let mut socket = attach(rig, "1.41", "cat", ALL);
        start(rig, "cat");
        socket.send(Message::text("x")).expect("a message is taken");
        socket.close(None).expect("a close is taken");
        read_all(&mut socket);
        assert_eq!(rig.await_status("cat", "exited")["State"]["ExitCode"], 7);
    });
}

#[test]
fn versions_differ_in_frames_and_in_who_chooses_streams() {
    once(|rig| {
        create(rig, "one", "echo out; echo err >&2", false);
        start(rig, "one");
        rig.await_status("one", "exited");
        let log = |version, query| {
            let (text, binary, _) = read_all(&mut attach(rig, version, "one", query));
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            lines.sort_unstable();
            (lines.join(" "), binary)
        };
        assert_eq!(log("1.41", "logs=1&stdout=1"), ("err out".into(), true));
        if rig.is_like(23) {
            assert_eq!(log("1.42", "logs=1&stdout=1"), ("out".into(), true));
        }
        assert_eq!(log("1.27", "logs=1"), ("err out".into(), false));
    });
}

#[test]
fn what_can_not_be_attached_is_refused_before_the_handshake() {
    once(|rig| {
        let stream = UnixStream::connect(rig.socket()).expect("a connection");
        let refused = client("ws://docker/v1.41/containers/missing/attach/ws?stream=1", stream);
        match refused {
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                assert_eq!(answer.status(), 404)
            }
            other => panic!("{:?}", other.map(|(_, answer)| answer.status())),
        }
        create(rig, "one", "true", false);
        assert_eq!(rig.get("/containers/one/attach/ws?stream=1").status, 400);
    });
}
