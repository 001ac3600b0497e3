//! More processes in a running container, and the reaper. Needs root.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;

use minke_spec::shim::*;
use support::*;

/// The exit code or why there is none, and what the client was sent.
type Outcome = (Result<i32, ShimError>, Vec<(u8, Vec<u8>)>);

fn exec(container: &mut Container, id: &str, args: &[&str], stdio: Stdio) -> Outcome {
    exec_with_input(container, id, args, stdio, b"")
}

fn exec_with_input(
    container: &mut Container,
    id: &str,
    args: &[&str],
    stdio: Stdio,
    input: &[u8],
) -> Outcome {
    let (mut ours, theirs) = client();
    let request = ExecRequest {
        exec_id: id.into(),
        process: process(args),
        stdio,
        attach: Some(attach(Framing::MultiplexedWithExit)),
    };
    let (reply, _) = container.ask(&Request::Exec(Box::new(request)), &[theirs.as_fd()]);
    drop(theirs);
    match reply {
        Reply::ExecStarted { pid } => assert!(pid > 0),
        Reply::Error(error) => return (Err(error), frames(&read_all(ours))),
        other => panic!("{other:?}"),
    }
    let _ = ours.write_all(input);
    let _ = ours.shutdown(Shutdown::Write);
    let code = container.event(|event| match event {
        Event::ExecExited { exec_id, code } if exec_id == id => Some(*code),
        _ => None,
    });
    (Ok(code), frames(&read_all(ours)))
}

fn running(args: &[&str]) -> Container {
    let mut container = Container::new(args);
    container.start().unwrap();
    container
}

fn end(mut container: Container) {
    container.ask(&Request::Kill { signal: 9, all: false }, &[]);
    assert_eq!(container.wait(), 137);
    container.census();
}

#[test]
fn a_process_joins_all_namespaces_and_control_groups() {
    let mut container = running(&["sleep", "1000"]);
    let script = "hostname; cat /proc/self/cgroup | cut -d: -f3 | sort -u; \
        for n in mnt pid net ipc uts cgroup; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done; \
        grep CapEff /proc/self/status | cut -f2; ls /proc/self/fd | tr '\\n' ' '; exit 3";
    let (code, output) = exec(&mut container, "e1", &["sh", "-c", script], Stdio::default());
    assert_eq!(code, Ok(3));
    let text = String::from_utf8(output[0].1.clone()).unwrap();
    assert_eq!(text, "box\n/\n00000000a80425fb\n0 1 2 3 ");
    assert_eq!(output[1], (16, vec![0, 0, 0, 3]));
    end(container);
}

#[test]
fn its_input_ends_with_its_client() {
    let mut container = running(&["sleep", "1000"]);
    let stdio = Stdio { open_stdin: true, ..Stdio::default() };
    let (code, output) = exec_with_input(&mut container, "e1", &["cat"], stdio, b"hello\n");
    assert_eq!((code, output), (Ok(0), vec![(1, b"hello\n".to_vec()), (16, vec![0; 4])]));
    end(container);
}

#[test]
fn its_terminal_is_of_the_containers_own_devpts() {
    let mut container = running(&["sleep", "1000"]);
    let stdio = Stdio { tty: true, console_size: Some((10, 20)), ..Stdio::default() };
    let (code, output) = exec(&mut container, "e1", &["sh", "-c", "tty; stty size"], stdio);
    assert_eq!((code, output[0].1.as_slice()), (Ok(0), b"/dev/pts/0\r\n10 20\r\n".as_slice()));
    end(container);
}

#[test]
fn what_is_not_there_fails_in_dockers_words() {
    let mut container = running(&["sleep", "1000"]);
    let (code, output) = exec(&mut container, "e1", &["nope"], Stdio::default());
    let error = code.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str(), output),
        (ErrorCode::ProgramNotFound, "exec: \"nope\": executable file not found in $PATH", vec![])
    );
    end(container);
}

#[test]
fn many_short_ones_are_all_answered_with_their_codes() {
    let mut container = running(&["sleep", "1000"]);
    for number in 0..100 {
        let id = format!("e{number}");
        let (code, output) =
            exec(&mut container, &id, &["sh", "-c", &format!("exit {number}")], Stdio::default());
        assert_eq!((code, output), (Ok(number), vec![(16, vec![0, 0, 0, number as u8])]));
    }
    let (reply, _) = container.ask(&Request::Status, &[]);
    let Reply::Status(status) = reply else { panic!("{reply:?}") };
    assert_eq!(status.execs.last().map(|(id, _, code)| (id.as_str(), *code)), Some(("e99", Some(99))));
    end(container);
}

#[test]
fn a_running_one_can_be_killed_and_dies_with_its_container() {
    let mut container = running(&["sleep", "1000"]);
    for id in ["e1", "e2"] {
        let request = ExecRequest {
            exec_id: id.into(),
            process: process(&["sleep", "1000"]),
            stdio: Stdio::default(),
            attach: None,
        };
        let (reply, _) = container.ask(&Request::Exec(Box::new(request)), &[]);
        assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    }
    container.ask(&Request::ExecKill { exec_id: "e1".into(), signal: 15 }, &[]);
    let code = container.event(|event| match event {
        Event::ExecExited { exec_id, code } if exec_id == "e1" => Some(*code),
        _ => None,
    });
    assert_eq!(code, 143);
    container.ask(&Request::Kill { signal: 9, all: false }, &[]);
    let code = container.event(|event| match event {
        Event::ExecExited { exec_id, code } if exec_id == "e2" => Some(*code),
        _ => None,
    });
    assert_eq!((code, container.wait()), (137, 137));
    container.census();
}

#[test]
fn the_reaper_passes_signals_on_reaps_orphans_and_ends_with_the_programs_code() {
    let script = "trap 'exit 12' TERM; (sleep 0.05 & ); sleep 0.2; \
        echo pid $$ zombies $(grep -l 'State:.Z' /proc/[0-9]*/status | wc -l); while :; do sleep 0.05; done";
    let mut container = Container::new(&["sh", "-c", script]);
    container.plan.init = true;
    container.start().unwrap();
    until("the program is ready", || container.logged("stdout").contains("zombies"));
    assert_eq!(container.logged("stdout"), "pid 2 zombies 0\n");
    container.ask(&Request::Kill { signal: 15, all: false }, &[]);
    assert_eq!(container.wait(), 12);
    container.census();
}

#[test]
fn the_reaper_has_no_more_than_the_program() {
    let mut container =
        Container::new(&["sh", "-c", "grep -E 'Uid|CapEff|CapBnd' /proc/1/status; ls -l /proc/1/fd | wc -l"]);
    container.plan.init = true;
    container.plan.process.uid = 1000;
    container.plan.process.gid = 1000;
    container.start().unwrap();
    assert_eq!(container.wait(), 0);
    let text = container.logged("stdout").replace("\\u0009", " ");
    assert!(text.starts_with("Uid: 1000 1000 1000 1000\nCapEff: 0000000000000000\n"), "{text}");
    container.census();
}
