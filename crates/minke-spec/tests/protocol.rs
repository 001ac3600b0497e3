//! The bytes of protocol 1. Shims of any earlier build live beside a newer engine, so none of these lines may ever change; what is new is
//! a new variant with a line of its own. [`StartRequest`] isn't here: only the engine that carries the shim sends it.

use minke_spec::plan::{CapabilitySets, ProcessPlan, Scheduler};
use minke_spec::shim::{
    AttachRequest, ErrorCode, Event, ExecRequest, Exited, Framing, Message, Reply, Request, ShimError,
    Started, Status, Stdio, decode, decode_id, encode,
};

/// Name, number and bytes of each message, as they were first released.
const RELEASED: &str = include_str!("protocol-1.txt");

fn attach(framing: Framing) -> AttachRequest {
    AttachRequest {
        stdin: true,
        stdout: false,
        stderr: true,
        framing,
        prefix: b"abc".to_vec(),
        detach_keys: vec![16, 17],
    }
}

fn process() -> ProcessPlan {
    ProcessPlan {
        args: vec!["sh".into(), "-c".into()],
        env: vec!["A=b".into()],
        cwd: "/w".into(),
        create_cwd: true,
        uid: 1000,
        gid: 1001,
        groups: vec![5, 300],
        umask: Some(0o22),
        capabilities: CapabilitySets { bounding: 1, effective: 2, permitted: 3, inheritable: 4, ambient: 5 },
        no_new_privileges: true,
        rlimits: vec![(7, 1024, u64::MAX)],
        oom_score_adj: Some(-500),
        seccomp: vec![6, 0x7fff_0000_0000_0006],
        seccomp_flags: 2,
        apparmor_profile: Some("p".into()),
        selinux_label: Some("l".into()),
        personality: Some(8),
        io_priority: Some(16384),
        scheduler: Some(Scheduler {
            policy: 1,
            flags: 2,
            nice: -3,
            priority: 4,
            runtime: 5,
            deadline: 6,
            period: 7,
        }),
    }
}

fn requests() -> Vec<Request> {
    let size = Stdio { tty: true, open_stdin: false, stdin_once: true, console_size: Some((24, 80)) };
    let exec = |exec_id: &str, process, stdio, attach| {
        Request::Exec(Box::new(ExecRequest { exec_id: exec_id.into(), process, stdio, attach }))
    };
    vec![
        Request::Hello { protocol: 1 },
        Request::Kill { signal: 15, all: true },
        Request::Attach(attach(Framing::Raw)),
        Request::Attach(attach(Framing::Multiplexed)),
        Request::Attach(attach(Framing::MultiplexedWithExit)),
        exec("e1", process(), size, Some(attach(Framing::Raw))),
        exec("e2", ProcessPlan::default(), Stdio::default(), None),
        Request::ExecKill { exec_id: "e1".into(), signal: 9 },
        Request::Resize { exec_id: Some("e1".into()), rows: 24, columns: 300 },
        Request::Resize { exec_id: None, rows: 1, columns: 2 },
        Request::Status,
        Request::OpenRoot,
        Request::Continue,
        Request::AttachHeld(attach(Framing::Multiplexed)),
        Request::Release { client: 300 },
        Request::WatchLog,
        Request::ReplaceLog { packed: "/p".into() },
    ]
}

fn messages() -> Vec<Message> {
    let started = Started { pid: 4711, started_at_ns: 1_700_000_000_123_456_789 };
    let exited = Exited { code: 137, finished_at_ns: 1_700_000_001_000_000_000 };
    let error = |code| Message::Reply(Reply::Error(ShimError { code, errno: 2, message: "no".into() }));
    let status = |started, exited, execs| {
        Message::Reply(Reply::Status(Status { generation: 300, started, exited, execs }))
    };
    vec![
        Message::Reply(Reply::Ok),
        error(ErrorCode::Unsupported),
        error(ErrorCode::NotRunning),
        error(ErrorCode::Setup),
        error(ErrorCode::WorkingDirectory),
        error(ErrorCode::ProgramNotFound),
        error(ErrorCode::ProgramNotExecutable),
        error(ErrorCode::Other),
        Message::Reply(Reply::Hello { protocol: 1, version: "0.1.0".into() }),
        Message::Reply(Reply::Started(started)),
        Message::Reply(Reply::ExecStarted { pid: -1 }),
        status(Some(started), Some(exited), vec![("e1".into(), 7, Some(-1)), ("e2".into(), 8, None)]),
        status(None, None, Vec::new()),
        Message::Reply(Reply::Root),
        Message::Event(Event::Exited(exited)),
        Message::Event(Event::ExecExited { exec_id: "e1".into(), code: 3 }),
        Message::Event(Event::Detached { exec_id: Some("e1".into()) }),
        Message::Event(Event::Detached { exec_id: None }),
        Message::Reply(Reply::Held { client: 300, log_bytes: 70_000 }),
        Message::Event(Event::LogRotated),
    ]
}

/// Exhaustive, so that a new variant doesn't go unseen: it needs a sample above and a line in the file.
fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "Hello",
        Request::Start(_) => "Start",
        Request::Kill { .. } => "Kill",
        Request::Attach(_) => "Attach",
        Request::Exec(_) => "Exec",
        Request::ExecKill { .. } => "ExecKill",
        Request::Resize { .. } => "Resize",
        Request::Status => "Status",
        Request::OpenRoot => "OpenRoot",
        Request::Continue => "Continue",
        Request::AttachHeld(_) => "AttachHeld",
        Request::Release { .. } => "Release",
        Request::WatchLog => "WatchLog",
        Request::ReplaceLog { .. } => "ReplaceLog",
    }
}

/// Exhaustive, as [`request_name`].
fn message_name(message: &Message) -> &'static str {
    match message {
        Message::Reply(Reply::Ok) => "Reply::Ok",
        Message::Reply(Reply::Error(_)) => "Reply::Error",
        Message::Reply(Reply::Hello { .. }) => "Reply::Hello",
        Message::Reply(Reply::Started(_)) => "Reply::Started",
        Message::Reply(Reply::ExecStarted { .. }) => "Reply::ExecStarted",
        Message::Reply(Reply::Status(_)) => "Reply::Status",
        Message::Reply(Reply::Root) => "Reply::Root",
        Message::Reply(Reply::Held { .. }) => "Reply::Held",
        Message::Event(Event::Exited(_)) => "Event::Exited",
        Message::Event(Event::ExecExited { .. }) => "Event::ExecExited",
        Message::Event(Event::Detached { .. }) => "Event::Detached",
        Message::Event(Event::LogRotated) => "Event::LogRotated",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |place| u8::from_str_radix(&text[place..place + 2], 16).expect("two digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn no_released_message_changes_its_bytes() {
    let mut text = String::new();
    for (request, id) in requests().iter().zip(1..) {
        let bytes = encode(id, request).expect("it can be encoded");
        text += &format!("{} {id} {}\n", request_name(request), hex(&bytes));
    }
    for (message, id) in messages().iter().zip(200..) {
        let bytes = encode(id, message).expect("it can be encoded");
        text += &format!("{} {id} {}\n", message_name(message), hex(&bytes));
    }
    assert_eq!(text, RELEASED, "shims of earlier builds could not be talked to");
}

#[test]
fn every_released_message_is_still_read() {
    for line in RELEASED.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, id, bytes) = (words[0], words[1].parse::<u32>().expect("a number"), unhex(words[2]));
        assert_eq!(decode_id(&bytes), Ok(id), "{line}");
        let (read, again) = if name.contains("::") {
            let packet = decode::<Message>(&bytes).expect(line);
            (message_name(&packet.body), encode(packet.id, &packet.body))
        } else {
            let packet = decode::<Request>(&bytes).expect(line);
            (request_name(&packet.body), encode(packet.id, &packet.body))
        };
        assert_eq!((read, again), (name, Ok(bytes)), "{line}");
    }
}

#[test]
fn bytes_behind_a_message_are_for_those_who_know_them() {
    let mut bytes = encode(9, &Message::Reply(Reply::ExecStarted { pid: 5 })).expect("it can be encoded");
    bytes.extend([1, 2, 3]);
    assert!(matches!(
        decode::<Message>(&bytes),
        Ok(packet) if packet.id == 9 && matches!(packet.body, Message::Reply(Reply::ExecStarted { pid: 5 }))
    ));
}

#[test]
fn a_request_that_is_too_new_can_still_be_answered() {
    let bytes = [77, 200, 1];
    assert!(decode::<Request>(&bytes).is_err());
    assert_eq!(decode_id(&bytes), Ok(77));
}
