//! `attach`: several clients of one container's streams, detach keys, slow readers.

use std::io::Read;
use std::process::Stdio;

use minke_e2e::{case, once, within};

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
