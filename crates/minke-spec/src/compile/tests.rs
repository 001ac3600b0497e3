//! Configurations that are accepted, and those that are refused before anything happens.

use serde_json::{Value, json};

use super::*;
use crate::render;

fn minimal() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "/bundle/rootfs"},
        "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]}
    })
}

/// Puts `over` into the minimal configuration, object by object.
fn with(over: Value) -> Value {
    fn merge(base: &mut Value, over: Value) {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => {
                for (key, value) in over {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, over) => *base = over,
        }
    }
    let mut base = minimal();
    merge(&mut base, over);
    base
}

fn plan(json: Value) -> Result<StartPlan> {
    let spec: Spec = serde_json::from_value(json).expect("a configuration");
    compile(&spec, &HostFacts::example_v2())
}

fn refusal(over: Value) -> String {
    plan(with(over)).expect_err("refused").to_string()
}

#[test]
fn versions_1_0_to_1_3_are_accepted_with_any_patch() {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0-rc.3", "1.2.1", "1.3.0", "1.3.7+build"] {
        plan(with(json!({"ociVersion": version}))).unwrap_or_else(|error| panic!("{version}: {error}"));
    }
    for version in ["", "1", "1.4.0", "2.0.0", "0.9.0", "1.x.0", "v1.0.0"] {
        assert_eq!(
            refusal(json!({"ociVersion": version})),
            format!("unsupported ociVersion {version:?}: 1.0 to 1.3 are supported")
        );
    }
}

#[test]
fn a_minimal_configuration_has_the_usual_devices_and_nothing_else() {
    let text = render(&plan(minimal()).expect("a plan"));
    insta::assert_snapshot!(text, @r#"
    namespaces new mount,uts,ipc,network
    root /bundle/rootfs
    device /dev/null c 1:3 0666 0:0
    device /dev/random c 1:8 0666 0:0
    device /dev/full c 1:7 0666 0:0
    device /dev/tty c 5:0 0666 0:0
    device /dev/zero c 1:5 0666 0:0
    device /dev/urandom c 1:9 0666 0:0
    link /dev/fd -> /proc/self/fd
    link /dev/stdin -> /proc/self/fd/0
    link /dev/stdout -> /proc/self/fd/1
    link /dev/stderr -> /proc/self/fd/2
    link /dev/core -> /proc/kcore
    link /dev/ptmx -> pts/ptmx
    user 0:0 groups []
    capabilities bounding 0x0 effective 0x0 permitted 0x0 inheritable 0x0 ambient 0x0
    execute ["true"] in /
    "#);
}

#[test]
fn a_dev_of_the_host_s_is_left_as_it_is() {
    let mounts = json!({"mounts": [{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]});
    let plan = plan(with(mounts)).expect("a plan");
    assert!(plan.devices.is_empty() && plan.links.is_empty());
}

#[test]
fn namespaces_are_made_or_joined() {
    let namespaces = json!([
        {"type": "mount"}, {"type": "pid", "path": ""}, {"type": "network", "path": "/proc/7/ns/net"},
        {"type": "time"}, {"type": "user"}, {"type": "cgroup"}
    ]);
    let maps = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
    let json = with(json!({"linux": {
        "namespaces": namespaces, "uidMappings": maps, "gidMappings": maps,
        "timeOffsets": {"monotonic": {"secs": 7}, "boottime": {"secs": -1, "nanosecs": 5}}
    }}));
    let plan = plan(json).expect("a plan");
    let made = plan.namespaces;
    assert_eq!(made.new, NEW_MOUNT | NEW_PID | NEW_TIME | NEW_USER | NEW_CGROUP);
    assert_eq!(made.join, [(NEW_NETWORK, "/proc/7/ns/net".to_owned())]);
    assert_eq!(made.uid_map, [(0, 100_000, 65_536)]);
    assert_eq!(made.time_offsets, [("boottime".to_owned(), -1, 5), ("monotonic".to_owned(), 7, 0)]);
    assert!(!made.loopback_up);
    assert_eq!(plan.devices[0].bind.as_deref(), Some("/dev/null"));
}

#[test]
fn namespaces_that_contradict_each_other_are_refused() {
    let list = |list: Value| json!({"linux": {"namespaces": list}});
    for (over, message) in [
        (list(json!([])), "a container needs a mount namespace of its own"),
        (
            list(json!([{"type": "mount", "path": "/proc/1/ns/mnt"}])),
            "a container needs a mount namespace of its own",
        ),
        (
            list(json!([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}])),
            "malformed spec file: duplicated namespace pid",
        ),
        (
            list(json!([{"type": "mount"}, {"type": "pid", "path": "ns"}])),
            "namespace path \"ns\" is not an absolute path",
        ),
        (
            list(json!([{"type": "mount"}, {"type": "user"}])),
            "user namespaces enabled, but no uid or gid mappings found",
        ),
        (
            json!({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}}),
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            json!({"linux": {"timeOffsets": {"monotonic": {"secs": 1}}}}),
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
    ] {
        assert_eq!(refusal(over), message);
    }
}

#[test]
fn names_need_their_own_namespace_and_fit_the_kernel() {
    let host_uts = json!([{"type": "mount"}]);
    for (over, message) in [
        (
            json!({"hostname": "a", "linux": {"namespaces": host_uts}}),
            "unable to set hostname without a private UTS namespace",
        ),
        (
            json!({"domainname": "a", "linux": {"namespaces": host_uts}}),
            "unable to set domainname without a private UTS namespace",
        ),
    ] {
        assert_eq!(refusal(over), message);
    }
    assert!(refusal(json!({"hostname": "x".repeat(65)})).starts_with("invalid hostname"));
    assert_eq!(
        plan(with(json!({"hostname": "x".repeat(64)}))).expect("a plan").hostname.map(|name| name.len()),
        Some(64)
    );
}

#[test]
fn kernel_parameters_are_paths_in_a_namespace_of_the_container() {
    let sysctls = |map: Value| json!({"linux": {"sysctl": map}});
    let plan = plan(with(sysctls(json!({
        "net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/rp_filter": "2", "kernel.sem": "1 2 3 4", "net.ipv4.conf.eth0/1.arp_filter": "0"
    }))))
    .expect("a plan");
    let paths: Vec<&str> = plan.sysctls.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "kernel/sem",
            "net/ipv4/conf/eth0.1/arp_filter",
            "net/ipv4/conf/eth0.1/rp_filter",
            "net/ipv4/ip_forward"
        ]
    );
    for (over, message) in [
        (
            sysctls(json!({"kernel.panic": "1"})),
            "sysctl \"kernel.panic\" is not in a separate kernel namespace",
        ),
        (
            sysctls(json!({"vm.swappiness": "1"})),
            "sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        ),
        (
            sysctls(json!({"kernel.hostname": "x"})),
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        (sysctls(json!({"net/../kernel/panic": "1"})), "invalid sysctl \"net/../kernel/panic\""),
        (sysctls(json!({"net..x": "1"})), "invalid sysctl \"net..x\""),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"net.core.somaxconn": "1"}}}),
            "sysctl \"net.core.somaxconn\" not allowed in host network namespace",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.sem": "1"}}}),
            "sysctl \"kernel.sem\" is not allowed in the hosts namespace",
        ),
    ] {
        assert_eq!(refusal(over), message);
    }
}

#[test]
fn what_is_not_there_yet_is_refused_not_ignored() {
    let over = json!({"linux": {"memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0"}}});
    let error = plan(with(over)).expect_err("refused");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotImplemented, "not supported in the configuration: linux.memoryPolicy")
    );
}

#[test]
fn what_is_not_the_plan_s_is_left_to_whoever_reads_the_bundle() {
    let hook = json!([{"path": "/bin/hook"}]);
    for over in [
        json!({"hooks": {"prestart": hook, "poststop": hook}}),
        json!({"linux": {"intelRdt": {"closID": "x"}}}),
        json!({"process": {"execCPUAffinity": {"initial": "0"}}}),
    ] {
        assert_eq!(plan(with(over)).expect("a plan"), plan(with(json!({}))).expect("a plan"));
    }
}

#[test]
fn processes_that_can_t_be_started_are_refused() {
    for (process, message) in [
        (json!({"args": []}), "process.args must name a program"),
        (json!({"args": [""]}), "process.args must name a program"),
        (json!({"cwd": "tmp"}), "Cwd must be an absolute path: \"tmp\""),
        (json!({"env": ["A\u{0}=1"]}), "invalid argument or environment variable: NUL byte in \"A\\0=1\""),
        (json!({"oomScoreAdj": 1001}), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (
            json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}),
            "rlimit RLIMIT_CORE: the soft limit is above the hard one",
        ),
        (
            json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 1}]}),
            "rlimit RLIMIT_CORE is there twice",
        ),
        (
            json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
            "invalid ioPriority.Priority: 8",
        ),
        (
            json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 3}}),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
    ] {
        assert_eq!(refusal(json!({"process": process})), message);
    }
}

#[test]
fn a_process_s_scheduling_and_capabilities_are_numbers_in_the_plan() {
    let json = with(json!({
        "process": {
            "cwd": "/a/../b",
            "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3},
            "scheduler": {"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_RESET_ON_FORK"]},
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}
        },
        "linux": {"personality": {"domain": "LINUX32"}}
    }));
    let spec: Spec = serde_json::from_value(json).expect("a configuration");
    let host = HostFacts { last_capability: 37, ..HostFacts::example_v2() };
    let process = compile(&spec, &host).expect("a plan").process;
    assert_eq!(
        (process.cwd.as_str(), process.io_priority, process.personality),
        ("/b", Some(1 << 13 | 3), Some(8))
    );
    let scheduler = process.scheduler.expect("a policy");
    assert_eq!((scheduler.policy, scheduler.priority, scheduler.flags), (1, 10, 1));
    assert_eq!((process.capabilities.bounding, process.capabilities.ambient), (1, 1 << 5));
    assert_eq!(process.rlimits, [(7, 1, 2)]);
    assert_eq!(
        (process.uid, process.gid, process.umask, process.groups.as_slice()),
        (1, 2, Some(18), &[3][..])
    );
}

#[test]
fn the_host_s_facts_and_a_plan_survive_being_written_down() {
    let host = HostFacts::example_v1();
    let text = serde_json::to_string(&host).expect("JSON");
    assert_eq!(serde_json::from_str::<HostFacts>(&text).expect("facts"), host);
    let plan = plan(minimal()).expect("a plan");
    let bytes = postcard::to_allocvec(&plan).expect("bytes");
    assert_eq!(postcard::from_bytes::<StartPlan>(&bytes).expect("a plan"), plan);
}
