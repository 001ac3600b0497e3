//! `attach`: several clients of one container's streams, detach keys, slow readers.

use std::io::Read;
use std::process::Stdio;

use minke_e2e::{Client, Rig, case, http, once, within};

#[test]
fn every_client_gets_everything_from_its_start_on() {
    case(|rig| {
        rig.ok("run -d -i --name one busybox cat");
        let mut first = rig.spawn("attach one");
        let second = rig.spawn("attach --no-stdin one");
        // An attach is there when what is typed comes back.
        within(20, "both are attached", || {
            first.write(b"ping\n");
            std::thread::sleep(std::time::Duration::from_millis(20));
            (first.so_far().contains("ping") && second.so_far().contains("ping")).then_some(())
        });
        first.write(b"hello\n");
        first.expect("hello");
        second.expect("hello");
        rig.ok("kill one");
        assert_eq!(first.wait().code, 137);
        assert_eq!(second.wait().code, 137);
    });
}

#[test]
fn the_exit_code_comes_back() {
    case(|rig| {
        rig.ok("run -d -i --name one busybox sh -c 'read x; echo got $x; exit 5'");
        let mut attach = rig.spawn("attach one");
        attach.write(b"it\n");
        attach.expect("got it");
        assert_eq!(attach.wait().code, 5);
        rig.fails("attach one", 1, "cannot attach to a stopped container");
    });
}

#[test]
fn detach_keys_leave_the_container_running() {
    case(|rig| {
        let mut run = rig.terminal("run -it --name one busybox sh");
        run.expect("# ");
        run.send("\u{10}\u{11}");
        assert_eq!(run.wait(), 0);
        assert_eq!(rig.inspect("one")["State"]["Running"], true);
        let mut attach = rig.terminal("attach --detach-keys ctrl-x,z one");
        attach.send("echo still here\n");
        attach.expect("still here");
        attach.send("\u{18}z");
        attach.wait();
        assert_eq!(rig.inspect("one")["State"]["Running"], true);
        let mut exec = rig.terminal("exec -it one sh");
        exec.expect("# ");
        exec.send("\u{10}\u{11}");
        exec.wait();
    });
}

#[test]
fn a_terminal_has_job_control_and_a_size() {
    case(|rig| {
        let mut run = rig.terminal("run --rm -it busybox sh");
        run.expect("# ");
        run.send("stty size\n");
        run.expect("24 80");
        run.send("sh -c 'echo be''gun; exec sleep 1000'\n");
        run.expect("begun");
        run.send("\u{3}");
        run.expect("# ");
        run.send("echo $?-after\n");
        run.expect("130-after");
        within(20, "the size arrives", || {
            // A client that doesn't listen for changes yet misses one, and the same size again is no change.
            run.resize(39, 100);
            run.resize(40, 100);
            run.send("stty size\n");
            run.expect("# ");
            run.screen().contains("40 100").then_some(())
        });
        run.send("exit 3\n");
        assert_eq!(run.wait(), 3);
    });
}

#[test]
fn a_slow_reader_loses_nothing() {
    once(|rig| {
        for driver in ["json-file", "none"] {
            let line = format!("run --rm --log-driver {driver} busybox sh -c 'seq 1 400000'");
            let mut command = rig.command_line().command(&line);
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            std::thread::sleep(std::time::Duration::from_secs(2));
            let mut text = String::new();
            child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("text");
            assert!(child.wait().expect("it ends").success());
            let expected: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
            assert!(text == expected, "{driver}: {} of {} bytes", text.len(), expected.len());
        }
    });
}

#[test]
fn an_attached_client_that_goes_away_disturbs_nobody() {
    case(|rig| {
        rig.ok("run -d -i --name one busybox sh -c 'while :; do echo tick; sleep 0.05; done'");
        let attach = rig.spawn("attach --sig-proxy=false one");
        attach.expect("tick");
        drop(attach);
        let other = rig.spawn("attach --sig-proxy=false one");
        other.expect("tick");
        assert_eq!(rig.inspect("one")["State"]["Running"], true);
    });
}

/// Attaches with the log, reads `count` lines or to the end, and checks that they are the numbers from 1 on.
fn count_from_one(rig: &Rig, name: &str, count: Option<u32>) -> u32 {
    let path = format!("/containers/{name}/attach?logs=1&stream=1&stdout=1");
    let (status, mut stream) = http::upgrade(rig.socket(), &path, b"").expect("the engine answers");
    assert_eq!(status, 101);
    let (mut text, mut expected) = (Vec::new(), 1);
    let mut header = [0; 8];
    while count.is_none_or(|count| expected <= count) && stream.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let begin = text.len();
        text.resize(begin + length, 0);
        stream.read_exact(&mut text[begin..]).expect("a whole frame");
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            assert_eq!(String::from_utf8_lossy(&line).trim_end(), expected.to_string(), "{name}");
            expected += 1;
        }
    }
    expected - 1
}

/// Docker doubles lines here, or misses some.
#[test]
fn a_replayed_log_and_the_stream_after_it_meet_exactly() {
    Rig::run(Client::Minke, &[], |rig| {
        let last = 30_000;
        let log = "--log-opt max-size=50k --log-opt max-file=500";
        // In bursts and in halves of lines, so that some of a line is in no file when a client comes.
        let script = format!(
            "i=1; while [ $i -le {last} ]; do printf %s $i; echo; i=$((i+1)); [ $((i%3000)) = 0 ] && sleep 0.05; done; read x"
        );
        rig.ok(&format!("run -d -i --name one {log} busybox sh -c '{script}'"));
        std::thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    for round in 1..6 {
                        assert!(count_from_one(rig, "one", Some((client + 1) * round * 500)) >= 1);
                    }
                });
            }
        });
        let mut end = rig.spawn("attach one");
        let rest = std::thread::scope(|scope| {
            let rest = scope.spawn(|| count_from_one(rig, "one", None));
            rig.await_log("one", &format!("{last}"));
            end.write(b"end\n");
            rest.join().expect("it counts")
        });
        assert_eq!(rest, last);
    });
}
