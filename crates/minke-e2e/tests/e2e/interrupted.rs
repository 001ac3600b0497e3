//! Two things at once that have to do with each other, one of which takes away what the other needs: each ends, with a word, and what is left
//! fits together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use minke_e2e::{EngineKind, Rig, case, once, within};

use crate::limits::group_file;

/// Does something again and again, until `over`.
fn again(over: &AtomicBool, mut work: impl FnMut()) {
    while !over.load(Ordering::Relaxed) {
        work();
    }
}

/// Sets a flag when it goes, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ours(body: impl Fn(&Rig)) {
    once(|rig| {
        if rig.kind() == EngineKind::Minke {
            body(rig);
        }
    });
}

#[test]
fn an_update_whose_engine_is_killed_is_done_or_not() {
    ours(|rig| {
        rig.ok("run -d --name main --memory 64m --memory-swap -1 --pids-limit 100 busybox sleep 1000");
        for round in 0..8u64 {
            let (memory, pids) = (80 + round, 200 + round);
            std::thread::scope(|scope| {
                let line = format!("update --memory {memory}m --memory-swap -1 --pids-limit {pids} main");
                scope.spawn(move || rig.cli(&line));
                std::thread::sleep(Duration::from_millis(round * 4));
                rig.kill_engine();
            });
            rig.start_engine();
            within(10, &format!("round {round}: record and group agree"), || {
                let host = rig.inspect("main")["HostConfig"].clone();
                let limit = group_file(rig, "main", "memory/memory.limit_in_bytes", "memory.max");
                let most = group_file(rig, "main", "pids/pids.max", "pids.max");
                let said = |key: &str| host[key].to_string();
                (said("Memory") == limit && said("PidsLimit") == most).then_some(())
            });
        }
    });
}

#[test]
fn an_exec_of_a_container_that_is_killed_ends() {
    case(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        for round in 0..12u64 {
            let output = std::thread::scope(|scope| {
                let exec = scope.spawn(|| rig.cli("exec main sh -c 'echo begun; exec sleep 1000'"));
                std::thread::sleep(Duration::from_millis(round * 5));
                rig.ok("kill main");
                exec.join().expect("it ends")
            });
            // It was killed with the container, or came too late.
            assert!(output.code == 137 || matches!(output.code, 1 | 126 | 128 | 255), "{output:?}");
            rig.await_status("main", "exited");
            rig.ok("start main");
            assert_eq!(rig.ok("exec main echo up"), "up");
        }
    });
}

#[test]
fn a_copy_of_a_container_that_is_removed_ends() {
    once(|rig| {
        let large = rig.file("large", &vec![7; 8 << 20]);
        for round in 0..8u64 {
            rig.ok("run -d --name main busybox sh -c 'head -c 8m /dev/zero >/large; echo made; sleep 1000'");
            rig.await_log("main", "made");
            let (into, out) = std::thread::scope(|scope| {
                let into = scope.spawn(|| rig.cli(&format!("cp {} main:/tmp/in", large.display())));
                let out = scope.spawn(|| rig.cli(&format!("cp main:/large {}/out", rig.scratch().display())));
                std::thread::sleep(Duration::from_millis(round * 10));
                rig.ok("rm -f main");
                (into.join().expect("it ends"), out.join().expect("it ends"))
            });
            for output in [into, out] {
                assert!(output.code == 0 || !output.stderr.is_empty(), "{output:?}");
                assert!(!output.stderr.contains("panic"), "{output:?}");
            }
            assert_eq!(rig.ok("ps -aq"), "");
        }
    });
}

#[test]
fn no_volume_is_pruned_from_under_a_run() {
    case(|rig| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                again(&over, || {
                    let answer = rig.request(
                        "POST",
                        "/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D",
                        "application/json",
                        &[],
                    );
                    assert!(matches!(answer.status, 200 | 400 | 409), "{answer:?}");
                })
            });
            let _ends = Ends(&over);
            for number in 0..15 {
                let line = format!(
                    "run --rm -v /anon -v named{}:/named busybox sh -c 'echo {number} >/anon/x; echo {number} >/named/x; cat /anon/x /named/x'",
                    number % 3
                );
                assert_eq!(rig.ok(&line), format!("{number}\n{number}"));
            }
        });
    });
}

#[test]
fn health_is_looked_after_by_whichever_engine_there_is() {
    ours(|rig| {
        rig.ok("run -d --name main --health-cmd 'test ! -e /sick' --health-interval 100ms --health-retries 2 busybox sleep 1000");
        let becomes = |wanted: &str| {
            within(20, &format!("it is {wanted}"), || {
                (rig.inspect("main")["State"]["Health"]["Status"] == wanted).then_some(())
            });
        };
        becomes("healthy");
        for _ in 0..3 {
            rig.ok("exec main touch /sick");
            rig.kill_engine();
            rig.start_engine();
            becomes("unhealthy");
            rig.kill_engine();
            rig.start_engine();
            rig.ok("exec main rm /sick");
            becomes("healthy");
        }
    });
}
