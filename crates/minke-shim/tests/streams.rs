//! Attached clients, the log, terminals: what is sent, what waits, what is never lost. Needs root.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use minke_spec::shim::*;
use support::*;

#[test]
fn output_is_framed_by_stream_and_ends_with_the_exit_code_for_our_own_client() {
    let mut container = Container::new(&["sh", "-c", "echo out; sleep 0.1; echo err >&2; exit 5"]);
    let (docker, docker_end) = client();
    let (own, own_end) = client();
    container
        .start_attached(&[
            (attach(Framing::Multiplexed), docker_end.as_fd()),
            (attach(Framing::MultiplexedWithExit), own_end.as_fd()),
        ])
        .unwrap();
    drop((docker_end, own_end));
    assert_eq!(container.wait(), 5);
    let streams = vec![(1, b"out\n".to_vec()), (2, b"err\n".to_vec())];
    assert_eq!(frames(&read_all(docker)), streams);
    let with_exit = [streams, vec![(16, vec![0, 0, 0, 5])]].concat();
    assert_eq!(frames(&read_all(own)), with_exit);
    container.census();
}

#[test]
fn piped_input_ends_with_its_client_and_bytes_read_before_the_handover_come_first() {
    let mut container = Container::new(&["cat"]);
    container.stdio = Stdio { open_stdin: true, stdin_once: true, ..Stdio::default() };
    let (mut ours, theirs) = client();
    let request = AttachRequest { prefix: b"first ".to_vec(), ..attach(Framing::Multiplexed) };
    container.start_attached(&[(request, theirs.as_fd())]).unwrap();
    drop(theirs);
    ours.write_all(b"second\n").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&read_all(ours)), [(1, b"first second\n".to_vec())]);
    assert_eq!(container.wait(), 0);
    container.census();
}

#[test]
fn a_client_whose_input_ends_goes_while_a_container_with_lasting_input_stays() {
    let mut container = Container::new(&["cat"]);
    container.stdio = Stdio { open_stdin: true, ..Stdio::default() };
    container.start().unwrap();
    for text in ["one\n", "two\n"] {
        let (mut ours, theirs) = client();
        let (reply, _) = container.ask(&Request::Attach(attach(Framing::Multiplexed)), &[theirs.as_fd()]);
        assert!(matches!(reply, Reply::Ok), "{reply:?}");
        drop(theirs);
        ours.write_all(text.as_bytes()).unwrap();
        let mut header = [0; 12];
        ours.read_exact(&mut header).unwrap();
        assert_eq!(&header[8..], text.as_bytes());
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(ours), b"");
    }
    container.ask(&Request::Kill { signal: 9, all: false }, &[]);
    assert_eq!(container.wait(), 137);
    container.census();
}

#[test]
fn a_client_that_waits_gets_every_byte_and_the_container_waits_with_it() {
    const BYTES: usize = 8 << 20;
    let mut container =
        Container::new(&["sh", "-c", "head -c 8388608 /dev/urandom | tee /sum | cat; md5sum < /sum >&2"]);
    container.log = LogSettings::None;
    let (ours, theirs) = client();
    let request = AttachRequest { stderr: true, ..attach(Framing::Multiplexed) };
    container.start_attached(&[(request, theirs.as_fd())]).unwrap();
    drop(theirs);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!container.runtime_dir().join("exit").exists(), "the container should wait for its client");
    let got = frames(&read_all(ours));
    let out: Vec<u8> =
        got.iter().filter(|(stream, _)| *stream == 1).flat_map(|(_, bytes)| bytes.clone()).collect();
    let sum: Vec<u8> =
        got.iter().filter(|(stream, _)| *stream == 2).flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(out.len(), BYTES);
    assert_eq!(md5(&out), String::from_utf8(sum).unwrap()[..32]);
    assert_eq!(container.wait(), 0);
    container.census();
}

fn md5(bytes: &[u8]) -> String {
    let mut child = std::process::Command::new("md5sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..32].to_owned()
}

#[test]
fn a_client_that_never_reads_does_not_hold_back_the_exit() {
    let mut container = Container::new(&["sh", "-c", "head -c 60000 /dev/zero | tr '\\0' x; exit 4"]);
    let (ours, theirs) = client();
    container.start_attached(&[(attach(Framing::MultiplexedWithExit), theirs.as_fd())]).unwrap();
    drop(theirs);
    assert_eq!(container.wait(), 4);
    assert!(container.record("exit").contains("\"code\":4"));
    assert_eq!(container.logged("stdout").len(), 60000);
    let got = frames(&read_all(ours));
    assert_eq!((got[0].1.len(), &got[1]), (60000, &(16, vec![0, 0, 0, 4])));
    container.census();
}

#[test]
fn a_client_that_hangs_up_disturbs_nobody() {
    let mut container = Container::new(&["sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.05; done"]);
    let (ours, theirs) = client();
    container.start_attached(&[(attach(Framing::Multiplexed), theirs.as_fd())]).unwrap();
    drop((ours, theirs));
    assert_eq!(container.wait(), 0);
    assert_eq!(container.logged("stdout"), "1\n2\n3\n4\n5\n6\n");
    container.census();
}

#[test]
fn a_terminal_has_its_size_and_is_the_console() {
    let mut container =
        Container::new(&["sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1; sleep 0.2; stty size"]);
    container.stdio = Stdio { tty: true, console_size: Some((33, 77)), ..Stdio::default() };
    container.start().unwrap();
    let (reply, _) = container.ask(&Request::Resize { exec_id: None, rows: 40, columns: 100 }, &[]);
    assert!(matches!(reply, Reply::Ok), "{reply:?}");
    assert_eq!(container.wait(), 0);
    let text = container.logged("stdout").replace("\\r", "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("/dev/pts/0", "c", "40 100"), "{text}");
    container.census();
}

#[test]
fn detach_keys_end_the_client_and_not_the_container() {
    let mut container = Container::new(&["sh"]);
    container.stdio = Stdio { tty: true, open_stdin: true, ..Stdio::default() };
    let (mut ours, theirs) = client();
    let request = AttachRequest { detach_keys: vec![16, 17], ..attach(Framing::MultiplexedWithExit) };
    container.start_attached(&[(request, theirs.as_fd())]).unwrap();
    drop(theirs);
    ours.write_all(b"echo hi\n\x10").unwrap();
    ours.write_all(b"\x11").unwrap();
    let got = frames(&read_all(ours));
    assert_eq!(got.last().unwrap(), &(17, vec![]));
    container.event(|event| matches!(event, Event::Detached { exec_id: None }).then_some(()));
    let (mut ours, theirs) = client();
    container.ask(&Request::Attach(attach(Framing::Raw)), &[theirs.as_fd()]);
    drop(theirs);
    ours.write_all(b"exit 9\n").unwrap();
    assert_eq!(container.wait(), 9);
    assert!(String::from_utf8_lossy(&read_all(ours)).contains("exit 9"));
    container.census();
}

#[test]
fn the_engine_may_go_and_another_may_come() {
    let mut container = Container::new(&["sh", "-c", "read line; echo got $line; exit 6"]);
    container.stdio = Stdio { open_stdin: true, ..Stdio::default() };
    let (mut ours, theirs) = client();
    let started =
        container.start_attached(&[(attach(Framing::MultiplexedWithExit), theirs.as_fd())]).unwrap();
    drop(theirs);
    container.control = None;
    let directory = container.runtime_dir();
    let control = minke_sys::channel::connect(directory.to_str().unwrap(), "shim.sock").unwrap();
    container.control = Some(control);
    let (reply, _) = container.ask(&Request::Hello { protocol: PROTOCOL }, &[]);
    assert!(matches!(reply, Reply::Hello { protocol: PROTOCOL, .. }), "{reply:?}");
    let (reply, fds) = container.ask(&Request::Status, &[]);
    let Reply::Status(status) = reply else { panic!("{reply:?}") };
    assert_eq!((status.generation, status.started, status.exited, fds.len()), (1, Some(started), None, 1));
    ours.write_all(b"word\n").unwrap();
    assert_eq!(container.wait(), 6);
    assert_eq!(frames(&read_all(ours)), [(1, b"got word\n".to_vec()), (16, vec![0, 0, 0, 6])]);
    container.census();
}

#[test]
fn without_any_engine_the_exit_is_recorded() {
    let mut container = Container::new(&["sh", "-c", "echo bye; exit 7"]);
    container.spawn_shim();
    container.send_start(&[]);
    container.control = None;
    container.shim_ends();
    assert!(container.record("exit").contains("\"code\":7"), "{}", container.record("exit"));
    assert_eq!(container.logged("stdout"), "bye\n");
    container.census();
}

#[test]
fn an_unknown_request_is_answered_and_nothing_breaks() {
    let mut container = Container::new(&["sleep", "100"]);
    container.start().unwrap();
    minke_sys::channel::send(container.control.as_ref().unwrap(), &[77, 200, 1, 2], &[], LIMITS).unwrap();
    let (reply, _) = container.reply(77);
    assert!(matches!(reply, Reply::Error(ShimError { code: ErrorCode::Unsupported, .. })), "{reply:?}");
    let (reply, fds) = container.ask(&Request::OpenRoot, &[]);
    assert!(matches!(reply, Reply::Root), "{reply:?}");
    let root = minke_sys::rooted::Root::new(fds.into_iter().next().unwrap());
    root.find("/bin/busybox").unwrap();
    drop(root);
    container.ask(&Request::Kill { signal: 15, all: true }, &[]);
    container.ask(&Request::Kill { signal: 9, all: true }, &[]);
    assert_eq!(container.wait(), 137);
    container.census();
}
