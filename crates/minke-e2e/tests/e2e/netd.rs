//! netd under a whole engine: names and published ports when it is killed, and when the engine is.

use std::process::Command;

use minke_e2e::{EngineKind, Rig, networked, peers, process, within};
use rustix::process::Signal;

use crate::kernel_state::await_settled;

/// Serves a page at port 80.
const SERVE: &str = "sh -c 'mkdir /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";
/// Says of each second question whether it was answered, until it is told to end.
const ASK: &str = "sh -c 'while :; do nslookup web >/dev/null && echo found || echo lost; sleep 0.05; done'";

/// The engine's netd.
pub fn netd(rig: &Rig) -> Option<i32> {
    let scratch = rig.scratch().display().to_string();
    let is_ours = |pid: &i32| {
        let arguments = process::arguments(*pid);
        arguments.contains("netd") && arguments.contains(&scratch) && process::name(*pid) == "minke-netd"
    };
    process::all().into_iter().find(is_ours)
}

/// What an applet says where netd is, also while there is no engine.
fn beside(netd: i32, words: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{netd}/ns/net")).arg(peers::busybox()).args(words);
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn fetched(rig: &Rig) -> Option<()> {
    (beside(netd(rig)?, &["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]) == "hello").then_some(())
}

#[test]
fn netd_killed_twenty_times_is_back_with_every_name_and_port() {
    networked(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // it has none
        }
        rig.ok("network create front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        within(20, "the port answers", || fetched(rig));
        for _ in 0..20 {
            let last = within(20, "netd runs", || netd(rig));
            process::signal(last, Signal::KILL);
            within(20, "another netd", || netd(rig).filter(|pid| *pid != last));
            within(20, "the name is known", || (rig.cli("exec one nslookup web").code == 0).then_some(()));
            within(20, "the port answers", || fetched(rig));
        }
        await_settled(rig, "after the last of them");
    });
}

#[test]
fn names_and_ports_go_on_while_the_engine_is_down() {
    networked(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // its names end with it
        }
        rig.ok("network create front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok(&format!("run -d --name one --network front busybox {ASK}"));
        rig.ok("run -d --name gone --network front -p 8081:80 busybox sleep 1000");
        within(20, "the port answers", || fetched(rig));
        rig.await_log("one", "found");
        let before = netd(rig).expect("a netd");
        let gone = rig.inspect("gone")["State"]["Pid"].as_i64().unwrap_or_default() as i32;
        rig.kill_engine();
        within(20, "the port answers without an engine", || fetched(rig));
        process::signal(gone, Signal::KILL);
        within(20, "the port of the one that ended is free", || {
            let listens = beside(before, &["netstat", "-ltn"]);
            (listens.contains(":8080 ") && !listens.contains(":8081 ")).then_some(())
        });
        rig.start_engine();
        assert_eq!(netd(rig), Some(before), "it is the same one");
        within(20, "the port answers", || fetched(rig));
        rig.ok("run -d --name next --network front busybox sleep 1000");
        within(20, "a new name is known", || (rig.cli("exec one nslookup next").code == 0).then_some(()));
        let asked = rig.ok("logs one");
        assert!(asked.contains("found") && !asked.contains("lost"), "{asked}");
    });
}
