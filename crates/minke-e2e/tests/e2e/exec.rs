//! `exec`: one more process in a running container.

use minke_e2e::{case, once, within};
use serde_json::json;

#[test]
fn a_process_joins_the_container() {
    case(|rig| {
        rig.ok("run -d --name main --hostname box -e A=1 busybox sleep 1000");
        assert_eq!(
            rig.ok("exec main sh -c 'hostname; echo $A; ls /proc | grep -c \"^1$\"; pwd'"),
            "box\n1\n1\n/"
        );
        let of = |process: &str| {
            rig.ok(&format!("exec main sh -c 'cd /proc/{process}/ns; for n in ipc mnt net pid uts cgroup; do readlink $n; done'"))
        };
        assert_eq!(of("1"), of("self"));
        assert_eq!(
            rig.ok("exec -w /tmp -e B=2 -u alice main sh -c 'pwd; echo $A$B; id -un; echo $HOME'"),
            "/tmp\n12\nalice\n/home/alice"
        );
    });
}

#[test]
fn codes_and_streams_come_back() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let output = rig.cli("exec main sh -c 'echo out; echo err >&2; exit 5'");
        assert_eq!((output.code, output.text().as_str(), output.stderr.as_str()), (5, "out", "err\n"));
        assert_eq!(rig.with_input("exec -i main wc -c", &vec![b'x'; 1_000_000]).text(), "1000000");
        assert_eq!(rig.cli("exec main sh -c 'kill -9 $$'").code, 137);
        let output = rig.cli("exec main no-such-program");
        assert_eq!(output.code, if rig.is_like(25) { 127 } else { 126 }, "{output:?}");
        assert!(
            (output.text() + &output.stderr).contains("executable file not found in $PATH"),
            "{output:?}"
        );
        assert_eq!(rig.cli("exec main /etc/passwd").code, 126);
    });
}

#[test]
fn only_a_running_container_takes_one() {
    case(|rig| {
        rig.ok("create --name idle busybox");
        let output = rig.cli("exec idle true");
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("is not running"), "{}", output.stderr);
        rig.fails("exec missing true", 1, "No such container: missing");
    });
}

#[test]
fn a_detached_exec_goes_on_alone() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        assert_eq!(rig.ok("exec -d main sh -c 'sleep 0.1; echo done >/made'"), "");
        within(20, "the file is made", || (rig.cli("exec main cat /made").text() == "done").then_some(()));
    });
}

#[test]
fn a_terminal_is_the_process_s_own() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let mut shell = rig.terminal("exec -it main sh");
        shell.expect("# ");
        shell.send("tty; stty size\n");
        shell.expect("/dev/pts/0");
        shell.expect("24 80");
        within(20, "the size arrives", || {
            // A client that doesn't listen for changes yet misses one, and the same size again is no change.
            shell.resize(49, 132);
            shell.resize(50, 132);
            shell.send("stty size\n");
            shell.expect("# ");
            shell.screen().contains("50 132").then_some(())
        });
        shell.send("exit 4\n");
        assert_eq!(shell.wait(), 4);
    });
}

#[test]
fn execs_end_with_the_container() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let exec = rig.spawn("exec -i main sh -c 'echo ready; sleep 1000'");
        exec.expect("ready");
        rig.ok("kill main");
        assert_eq!(exec.wait().code, 137);
    });
}

#[test]
fn the_api_tells_of_an_exec() {
    once(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let made =
            rig.post("/containers/main/exec", &json!({"Cmd": ["sh", "-c", "exit 6"], "AttachStdout": true}));
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["Id"].as_str().expect("an id").to_string();
        let before = rig.get(&format!("/exec/{id}/json")).json();
        assert_eq!((&before["Running"], &before["ExitCode"]), (&json!(false), &json!(null)));
        assert_eq!(before["ProcessConfig"]["entrypoint"], "sh");
        assert_eq!(before["ProcessConfig"]["arguments"], json!(["-c", "exit 6"]));
        assert_eq!(rig.post(&format!("/exec/{id}/start"), &json!({"Detach": true})).status, 200);
        within(20, "the exec has ended", || {
            let state = rig.get(&format!("/exec/{id}/json")).json();
            (state["Running"] == false && state["ExitCode"] == 6).then_some(())
        });
        assert_eq!(rig.post(&format!("/exec/{id}/start"), &json!({"Detach": true})).status, 409);
        assert_eq!(rig.get("/exec/nothing/json").status, 404);
        assert_eq!(rig.post("/containers/main/exec", &json!({"Cmd": []})).status, 400);
    });
}

#[test]
fn the_start_s_own_word_decides_whether_a_terminal_s_output_is_framed() {
    once(|rig| {
        rig.ok("run -d --name one busybox sleep 1000000");
        for (raw, begins) in [(true, b'h'), (false, 1)] {
            let made = rig.post(
                "/containers/one/exec",
                &json!({"Cmd": ["echo", "hello"], "Tty": true, "AttachStdout": true}),
            );
            let id = made.json()["Id"].as_str().expect("an id").to_string();
            let answer = rig.post(&format!("/exec/{id}/start"), &json!({"Tty": raw}));
            assert_eq!(answer.body.first(), Some(&begins), "{answer:?}");
        }
    });
}

#[test]
fn one_that_races_with_a_kill_is_killed_or_says_why_not() {
    once(|rig| {
        for round in 0..25 {
            let name = format!("main{round}");
            rig.ok(&format!("run -d --name {name} busybox sleep 1000"));
            let id = rig
                .post(&format!("/containers/{name}/exec"), &json!({ "Cmd": ["true"], "AttachStdout": true }));
            let id = id.json()["Id"].as_str().expect("an id").to_owned();
            std::thread::scope(|scope| {
                let start = scope.spawn(|| rig.post(&format!("/exec/{id}/start"), &json!({})));
                rig.ok(&format!("kill {name}"));
                let answer = start.join().expect("it is answered");
                let code = within(20, "the exec has ended", || {
                    rig.get(&format!("/exec/{id}/json")).json()["ExitCode"].as_i64()
                });
                let said = answer.status == 409 || !answer.text().is_empty();
                assert!(matches!(code, 0 | 137) || said, "round {round}: {code} {answer:?}");
            });
            rig.ok(&format!("rm -f {name}"));
        }
    });
}
