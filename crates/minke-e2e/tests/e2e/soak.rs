//! The same again and again: no failure, nothing left, no memory grown.

use minke_e2e::{Client, EngineKind, Rig, once, process};

/// How often, on the machine at hand and against the reference.
fn times(rig: &Rig, count: u32) -> u32 {
    if rig.kind() == EngineKind::Dockerd { 5 } else { (count / minke_e2e::patience()).max(10) }
}

#[test]
fn a_thousand_runs_in_a_row_leave_nothing() {
    once(|rig| {
        let runs = times(rig, 1000);
        let mut early = 0;
        for number in 1..=runs {
            let output = rig.cli("run --rm busybox /bin/true");
            assert_eq!(output.code, 0, "run {number}: {}", output.stderr);
            if number == runs / 10 {
                early = process::anonymous_kib(rig.engine_pid());
            }
        }
        let late = process::anonymous_kib(rig.engine_pid());
        eprintln!("the engine's memory: {early} KiB after {}, {late} KiB after {runs}", runs / 10);
        if runs == 1000 {
            assert!(late <= early + 1024, "{early} KiB, then {late} KiB");
        }
        assert_eq!(rig.ok("ps -aq"), "");
    });
}

#[test]
fn a_thousand_runs_eight_at_a_time() {
    once(|rig| {
        let each = times(rig, 1000) / 8 + 1;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 1..=each {
                        let output = rig.cli("run --rm busybox echo hello");
                        assert_eq!(
                            (output.code, output.text().as_str()),
                            (0, "hello"),
                            "run {number}: {}",
                            output.stderr
                        );
                    }
                });
            }
        });
        assert_eq!(rig.ok("ps -aq"), "");
    });
}

#[test]
fn five_hundred_restarts_of_one_container() {
    once(|rig| {
        let count = times(rig, 500);
        rig.ok("run -d --name one busybox sh -c 'echo up; exec sleep 100000'");
        for number in 0..count {
            assert_eq!(rig.ok("restart -t 0 one"), "one", "restart {number}");
        }
        assert_eq!(rig.inspect("one")["State"]["Running"], true);
        // A container that is ended at once may not come to its first word.
        let starts = rig.ok("logs one").lines().filter(|line| *line == "up").count();
        assert!(starts <= count as usize + 1, "{starts}");
    });
}

#[test]
fn many_idle_containers_cost_little() {
    if std::env::var("MINKE_E2E_ENGINE").as_deref() == Ok("dockerd") {
        return; // the bound is ours
    }
    Rig::run(Client::Minke, &[], |rig| {
        let memory = || {
            let shims =
                rig.marks().processes().into_iter().filter(|pid| process::program(*pid).starts_with("minke"));
            shims.chain([rig.engine_pid()]).map(process::pss_kib).sum::<u64>()
        };
        rig.ok("run --rm busybox true");
        let before = memory();
        for _ in 0..50 {
            rig.ok("run -d busybox sleep 100000");
        }
        let each = memory().saturating_sub(before) / 50;
        eprintln!("the engine: {before} KiB; each container: {each} KiB");
        assert!(each <= 256, "{each} KiB");
        assert!(before <= 15 * 1024, "{before} KiB");
    });
}
