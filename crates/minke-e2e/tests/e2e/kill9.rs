//! kill -9 of the engine and of shims: what runs goes on, what ended is known, nothing is left over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use minke_e2e::{Client, Rig, process, within};
use rustix::process::Signal;

/// Runs a test that only our engine can pass, with our command line.
fn ours(body: impl Fn(&Rig)) {
    assert_ne!(
        std::env::var("MINKE_E2E_ENGINE").as_deref(),
        Ok("dockerd"),
        "dockerd's containers end with it here"
    );
    Rig::run(Client::Minke, &[], body);
}

fn pid(rig: &Rig, name: &str) -> i32 {
    rig.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32
}

/// Returns the shim of a container: the parent of its first process.
fn shim(rig: &Rig, name: &str) -> i32 {
    process::parent(pid(rig, name)).expect("the container's process has a parent")
}

#[test]
fn running_containers_do_not_notice() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done'");
        rig.await_log("one", "5\n");
        let before = pid(rig, "one");
        rig.kill_engine();
        assert!(process::is_alive(before));
        rig.start_engine();
        assert_eq!(pid(rig, "one"), before);
        let count = rig.ok("logs one").lines().count();
        within(20, "the log goes on", || (rig.ok("logs one").lines().count() > count + 20).then_some(()));
        let numbers: Vec<u32> = rig.ok("logs one").lines().filter_map(|line| line.parse().ok()).collect();
        assert!(
            numbers.iter().enumerate().all(|(index, number)| index as u32 == *number),
            "no line is lost or doubled"
        );
        assert_eq!(rig.ok("exec one echo again"), "again");
        rig.ok("kill one");
        assert_eq!(rig.ok("wait one"), "137");
    });
}

#[test]
fn an_attached_run_gets_its_code_though_no_engine_comes_back() {
    ours(|rig| {
        let gate = rig.scratch().join("gate");
        let line = format!(
            "run -v {}:/s --name one busybox sh -c 'echo up; while [ ! -e /s/gate ]; do sleep 0.05; done; echo down; exit 7'",
            rig.scratch().display()
        );
        let run = rig.spawn(&line);
        run.expect("up");
        rig.kill_engine();
        std::fs::write(&gate, "").expect("a file");
        let output = run.wait();
        assert_eq!((output.code, output.text().as_str()), (7, "up\ndown"), "{}", output.stderr);
        rig.start_engine();
        assert_eq!(rig.await_status("one", "exited")["State"]["ExitCode"], 7);
        assert_eq!(rig.ok("logs one"), "up\ndown");
    });
}

#[test]
fn an_attached_exec_goes_on_as_well() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        let mut exec = rig.spawn("exec -i one sh -c 'echo up; read x; echo got $x; exit 8'");
        exec.expect("up");
        rig.kill_engine();
        exec.write(b"it\n");
        let output = exec.wait();
        assert_eq!((output.code, output.text().as_str()), (8, "up\ngot it"), "{}", output.stderr);
        rig.start_engine();
    });
}

#[test]
fn an_end_while_the_engine_is_away_is_known_afterwards() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sh -c 'sleep 0.5; exit 9'");
        rig.ok("run -d --name again --restart on-failure:1 busybox sh -c 'echo up; sleep 0.5; exit 3'");
        rig.ok("run -d --name gone --rm busybox sleep 0.5");
        let processes = [pid(rig, "one"), pid(rig, "again"), pid(rig, "gone")];
        rig.kill_engine();
        within(20, "the containers end", || {
            processes.iter().all(|pid| !process::is_alive(*pid)).then_some(())
        });
        rig.start_engine();
        assert_eq!(rig.await_status("one", "exited")["State"]["ExitCode"], 9);
        assert_eq!(rig.ok("wait one"), "9");
        within(30, "the restart policy acts", || (rig.ok("logs again") == "up\nup").then_some(()));
        within(30, "what --rm said is done", || {
            (rig.get("/containers/gone/json").status == 404).then_some(())
        });
    });
}

#[test]
fn a_killed_shim_ends_its_container() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sh -c 'sleep 1000 & sleep 1000'");
        rig.ok("run -d --name again --restart always busybox sleep 1000");
        let (one, again) = (pid(rig, "one"), pid(rig, "again"));
        let wait = rig.spawn("wait one");
        process::signal(shim(rig, "one"), Signal::KILL);
        process::signal(shim(rig, "again"), Signal::KILL);
        minke_e2e::census::gone(one);
        minke_e2e::census::gone(again);
        let state = rig.await_status("one", "exited")["State"].clone();
        assert!([137, 255].contains(&state["ExitCode"].as_i64().unwrap_or_default()), "{state}");
        assert_ne!(state["Error"], "", "{state}");
        assert!(["137", "255"].contains(&wait.wait().text().as_str()));
        within(30, "the restart policy acts", || {
            let state = rig.inspect("again")["State"].clone();
            (state["Running"] == true && state["Pid"] != again).then_some(())
        });
    });
}

#[test]
fn a_shim_killed_while_the_engine_is_away_is_found() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        let (one, shim) = (pid(rig, "one"), shim(rig, "one"));
        rig.kill_engine();
        process::signal(shim, Signal::KILL);
        rig.start_engine();
        minke_e2e::census::gone(one);
        let state = rig.await_status("one", "exited")["State"].clone();
        assert_ne!(state["Error"], "", "{state}");
    });
}

#[test]
fn two_engines_do_not_touch_each_other() {
    ours(|one| {
        Rig::run(Client::Minke, &[], |two| {
            one.ok("run -d --name same busybox sleep 1000");
            two.ok("run -d --name same busybox sleep 1000");
            let (of_one, of_two) = (pid(one, "same"), pid(two, "same"));
            one.kill_engine();
            two.stop_engine();
            one.start_engine();
            assert!(process::is_alive(of_two), "a stopped engine's containers go on");
            two.start_engine();
            assert_eq!((pid(one, "same"), pid(two, "same")), (of_one, of_two));
            one.ok("rm -f same");
            assert!(process::is_alive(of_two));
        });
    });
}

#[test]
fn a_container_that_stood_still_for_a_commit_goes_on() {
    ours(|rig| {
        rig.ok("run -d --name one busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; echo up; sleep 1000'");
        rig.await_log("one", "up");
        let commit = rig.spawn("commit one made");
        within(30, "the container stands still", || {
            (rig.inspect("one")["State"]["Status"] == "paused").then_some(())
        });
        rig.kill_engine();
        drop(commit);
        rig.start_engine();
        assert_eq!(rig.inspect("one")["State"]["Status"], "running");
        assert_eq!(rig.ok("exec one echo on"), "on");
        rig.ok("pause one");
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("one")["State"]["Status"], "paused", "for a client, not for a commit");
    });
}

/// A generator of numbers that a failed run can be repeated with.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Twenty containers of several kinds, some attached, while others come and go; the engine is killed again and again.
#[test]
fn the_engine_is_killed_at_random_moments() {
    let kills = if minke_e2e::patience() > 1 { 5 } else { 50 };
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |time| u64::from(time.subsec_nanos()));
    eprintln!("seed {seed}");
    ours(|rig| {
        let counter = "sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done'";
        let mut pids = HashMap::new();
        for number in 0..18 {
            let name = format!("c{number}");
            let command = if number % 3 == 0 { "sleep 100000" } else { counter };
            rig.ok(&format!("run -d -i --name {name} busybox {command}"));
            pids.insert(name.clone(), pid(rig, &name));
        }
        let attached: Vec<_> =
            ["c1", "c2"].iter().map(|name| rig.spawn(&format!("attach --sig-proxy=false {name}"))).collect();
        let exec = rig.spawn("exec -i c0 sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done'");
        exec.expect("1\n");
        let mut dice = Dice(seed);
        for round in 0..kills {
            // What is under way when the engine dies may fail; it may not leave half a container.
            let lines = [
                format!("run -d --name r{round} busybox sleep 0.2"),
                format!("run --rm --name s{round} busybox true"),
                format!("create --name t{round} busybox"),
                format!("rm -f t{}", dice.roll(round + 1)),
            ];
            let busy: Vec<_> = lines.iter().map(|line| rig.spawn(line)).collect();
            std::thread::sleep(Duration::from_millis(dice.roll(80)));
            rig.kill_engine();
            drop(busy);
            rig.start_engine();
            for (name, pid) in &pids {
                assert!(process::is_alive(*pid), "{name} after kill {round}");
            }
        }
        for (name, before) in &pids {
            assert_eq!(pid(rig, name), *before, "{name}");
        }
        for number in (0..18).filter(|number| number % 3 != 0) {
            check_counting(&rig.ok(&format!("logs c{number}")), &format!("the log of c{number}"));
        }
        for session in attached {
            let seen = session.so_far();
            let numbers: Vec<u32> = seen.lines().filter_map(|line| line.parse().ok()).collect();
            assert!(numbers.len() > kills as usize, "{} lines", numbers.len());
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "an attached stream has no gap");
        }
        check_counting(&exec.so_far(), "the exec's stream");
        let end = Instant::now() + minke_e2e::deadline::seconds(30);
        for row in rig.get("/containers/json?all=1").json().as_array().into_iter().flatten() {
            let name = row["Names"][0].as_str().unwrap_or_default()[1..].to_string();
            if name.starts_with('r') && row["State"] != "created" {
                let left = end.saturating_duration_since(Instant::now()).as_secs().max(1);
                within(left, &format!("{name} has ended"), || {
                    (rig.inspect(&name)["State"]["Status"] == "exited").then_some(())
                });
                assert_eq!(rig.inspect(&name)["State"]["ExitCode"], 0, "{name}");
            }
        }
    });
}

/// Panics unless the lines are 0, 1, 2 and so on; the last may be unfinished.
fn check_counting(text: &str, what: &str) {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for (index, line) in whole.lines().enumerate() {
        assert_eq!(line.parse(), Ok(index), "{what}");
    }
}
