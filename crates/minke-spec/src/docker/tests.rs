//! Configurations compared with what dockerd 20.10.24 wrote for the same commands, and the plans that come of them.

use serde_json::Value;

use super::*;
use crate::host::HostFacts;
use crate::render;

fn bind(source: &str, target: &str, writability: Writability) -> MountSettings {
    MountSettings::Bind(BindMount {
        source: source.into(),
        target: target.into(),
        writability,
        ..BindMount::default()
    })
}

fn etc(writability: Writability) -> Vec<MountSettings> {
    ["resolv.conf", "hostname", "hosts"]
        .map(|file| {
            bind(&format!("/var/lib/docker/containers/ID/{file}"), &format!("/etc/{file}"), writability)
        })
        .to_vec()
}

/// `docker run -d --network none busybox sleep 60`
fn plain() -> ContainerSettings {
    ContainerSettings {
        args: vec!["sleep".into(), "60".into()],
        env: vec!["PATH=/bin".into()],
        user: ProcessUser { groups: vec![0], ..ProcessUser::default() },
        hostname: "SHORTID".into(),
        mounts: etc(Writability::Writable),
        cgroup_path: "/docker/ID".into(),
        root_path: "/var/lib/docker/merged".into(),
        ..ContainerSettings::default()
    }
}

/// The same with most of the flags of `run`.
fn rich() -> ContainerSettings {
    let mut mounts = vec![
        bind("/tmp", "/host-tmp", Writability::Writable),
        bind("/etc", "/host-etc", Writability::ReadOnlyNonRecursive),
        MountSettings::Tmpfs { target: "/scratch".into(), options: "size=5m,exec".into() },
    ];
    if let MountSettings::Bind(bind) = &mut mounts[0] {
        bind.propagation = "rslave".into();
    }
    mounts.extend(etc(Writability::ReadOnlyNonRecursive));
    ContainerSettings {
        env: vec!["PATH=/bin:/x".into(), "FOO=bar".into()],
        cwd: "/tmp".into(),
        user: ProcessUser { uid: 5, gid: 6, groups: vec![6, 7], home: String::new() },
        hostname: "hh".into(),
        domainname: "dd.example".into(),
        tty: true,
        cap_add: vec!["NET_ADMIN".into()],
        cap_drop: vec!["MKNOD".into()],
        readonly_rootfs: true,
        mounts,
        resources: Resources {
            memory: 100 << 20,
            memory_reservation: 50 << 20,
            memory_swappiness: Some(10),
            nano_cpus: 500_000_000,
            cpu_shares: 512,
            cpuset_cpus: "0".into(),
            pids_limit: Some(50),
            ..Resources::default()
        },
        devices: vec![Device {
            path: "/dev/xnull".into(),
            kind: 'c',
            major: 1,
            minor: 3,
            mode: 0o666,
            uid: 0,
            gid: 0,
            access: "rw".into(),
        }],
        device_rules: vec!["c 42:* rmw".into()],
        shm_size: 1 << 20,
        init: true,
        no_new_privileges: true,
        oom_score_adj: 100,
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }],
        sysctls: [("kernel.msgmax".to_owned(), "1000".to_owned())].into(),
        ..plain()
    }
}

/// Takes out what differs by design, or between versions of dockerd.
fn comparable(mut spec: Value) -> Value {
    let sorted = |value: &mut Value| {
        if let Some(list) = value.as_array_mut() {
            list.sort_by_key(|item| item.to_string());
        }
    };
    spec["ociVersion"] = Value::Null;
    // Newer dockerd leaves out what isn't limited; its own masks have grown.
    for path in [
        "/linux/resources/memory/disableOOMKiller",
        "/linux/resources/blockIO",
        "/linux/resources/cpu/shares",
    ] {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        if let Some(Value::Object(parent)) = spec.pointer_mut(parent)
            && parent.get(key).is_some_and(|value| {
                key == "blockIO" || value.as_i64() == Some(0) || value.as_bool() == Some(false)
            })
        {
            parent.remove(key);
        }
    }
    if let Some(resources) = spec.pointer_mut("/linux/resources").and_then(Value::as_object_mut) {
        resources.retain(|_, value| *value != Value::Object(Default::default()));
    }
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("maskedPaths");
        linux.remove("rootfsPropagation");
        linux.retain(|_, value| *value != Value::Array(Vec::new()));
    }
    if spec["root"]["readonly"] == Value::Bool(false) {
        spec["root"] = serde_json::json!({"path": spec["root"]["path"]});
    }
    for set in ["bounding", "effective", "permitted"] {
        sorted(&mut spec["process"]["capabilities"][set]);
    }
    // The reaper is the runtime's own, not a program that is mounted.
    if let Some(args) = spec["process"]["args"].as_array_mut()
        && args[0] == "/sbin/docker-init"
    {
        args.drain(..2);
    }
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != "/sbin/docker-init");
    }
    if let Some(rules) = spec.pointer_mut("/linux/resources/devices").and_then(Value::as_array_mut) {
        for rule in rules {
            if rule["access"] == "rmw" {
                rule["access"] = "rwm".into();
            }
        }
    }
    spec
}

fn check(settings: &ContainerSettings, captured: &str) {
    let mut ours =
        serde_json::to_value(generate(settings, &HostFacts::example_v1()).expect("a configuration"))
            .expect("JSON");
    let theirs: Value = serde_json::from_str(captured).expect("JSON");
    if let Some(rules) = ours.pointer_mut("/linux/resources/devices").and_then(Value::as_array_mut) {
        rules
            .iter_mut()
            .filter(|rule| rule["access"] == "rmw")
            .for_each(|rule| rule["access"] = "rwm".into());
    }
    let (ours, theirs) = (comparable(ours), comparable(theirs));
    for (key, value) in theirs.as_object().expect("an object") {
        assert_eq!(ours[key], *value, "{key}");
    }
    assert_eq!(ours.as_object().map(|map| map.len()), theirs.as_object().map(|map| map.len()));
}

#[test]
fn a_plain_container_is_configured_as_dockerd_does() {
    check(&plain(), include_str!("captured/dockerd-20.10-plain.json"));
}

#[test]
fn most_flags_of_run_come_out_as_dockerd_s() {
    check(&rich(), include_str!("captured/dockerd-20.10-rich.json"));
}

fn plan(settings: &ContainerSettings, host: &HostFacts) -> String {
    render(&plan_start(settings, host, &ProgramCache::default()).expect("a plan"))
}

#[test]
fn a_plain_container_s_plan_on_version_1() {
    insta::assert_snapshot!(plan(&plain(), &HostFacts::example_v1()), @r#"
    namespaces new mount,uts,ipc,pid,network
    cgroup /sys/fs/cgroup/cpuset/docker/ID
    cgroup /sys/fs/cgroup/cpu,cpuacct/docker/ID
    cgroup /sys/fs/cgroup/blkio/docker/ID
    cgroup /sys/fs/cgroup/memory/docker/ID
    cgroup /sys/fs/cgroup/devices/docker/ID
    cgroup /sys/fs/cgroup/freezer/docker/ID
    cgroup /sys/fs/cgroup/net_cls,net_prio/docker/ID
    cgroup /sys/fs/cgroup/hugetlb/docker/ID
    cgroup /sys/fs/cgroup/pids/docker/ID
    cgroup /sys/fs/cgroup/systemd/docker/ID
    inherit /sys/fs/cgroup/cpuset/docker/cpuset.cpus
    inherit /sys/fs/cgroup/cpuset/docker/cpuset.mems
    inherit /sys/fs/cgroup/cpuset/docker/ID/cpuset.cpus
    inherit /sys/fs/cgroup/cpuset/docker/ID/cpuset.mems
    write /sys/fs/cgroup/devices/docker/ID/devices.deny = a *:* rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 1:5 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 1:3 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 1:9 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 1:8 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 5:0 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 5:1 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c *:* m
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = b *:* m
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 1:7 rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 136:* rwm
    write /sys/fs/cgroup/devices/docker/ID/devices.allow = c 5:2 rwm
    root /var/lib/docker/merged
    mount proc proc at /proc nosuid,nodev,noexec
    mount tmpfs tmpfs at /dev nosuid,strictatime (mode=755,size=65536k)
    mount devpts devpts at /dev/pts nosuid,noexec (newinstance,ptmxmode=0666,mode=0620,gid=5)
    mount sysfs sysfs at /sys ro,nosuid,nodev,noexec
    cgroups at /sys/fs/cgroup ro
      cpuset (cpuset) bound from /sys/fs/cgroup/cpuset/docker/ID
      cpu,cpuacct (cpu,cpuacct) bound from /sys/fs/cgroup/cpu,cpuacct/docker/ID
      blkio (blkio) bound from /sys/fs/cgroup/blkio/docker/ID
      memory (memory) bound from /sys/fs/cgroup/memory/docker/ID
      devices (devices) bound from /sys/fs/cgroup/devices/docker/ID
      freezer (freezer) bound from /sys/fs/cgroup/freezer/docker/ID
      net_cls,net_prio (net_cls,net_prio) bound from /sys/fs/cgroup/net_cls,net_prio/docker/ID
      hugetlb (hugetlb) bound from /sys/fs/cgroup/hugetlb/docker/ID
      pids (pids) bound from /sys/fs/cgroup/pids/docker/ID
      systemd (name=systemd) bound from /sys/fs/cgroup/systemd/docker/ID
      link cpu -> cpu,cpuacct
      link cpuacct -> cpu,cpuacct
      link net_cls -> net_cls,net_prio
      link net_prio -> net_cls,net_prio
    mount mqueue mqueue at /dev/mqueue nosuid,nodev,noexec
    mount tmpfs shm at /dev/shm nosuid,nodev,noexec (mode=1777,size=67108864)
    bind tree /var/lib/docker/containers/ID/resolv.conf at /etc/resolv.conf rprivate
    bind tree /var/lib/docker/containers/ID/hostname at /etc/hostname rprivate
    bind tree /var/lib/docker/containers/ID/hosts at /etc/hosts rprivate
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
    sysctl net/ipv4/ip_unprivileged_port_start = 0
    sysctl net/ipv4/ping_group_range = 0 2147483647
    mask /proc/acpi
    mask /proc/asound
    mask /proc/interrupts
    mask /proc/kcore
    mask /proc/keys
    mask /proc/latency_stats
    mask /proc/sched_debug
    mask /proc/scsi
    mask /proc/timer_list
    mask /proc/timer_stats
    mask /sys/devices/virtual/powercap
    mask /sys/firmware
    read-only /proc/bus
    read-only /proc/fs
    read-only /proc/irq
    read-only /proc/sys
    read-only /proc/sysrq-trigger
    hostname SHORTID
    user 0:0 groups [0]
    capabilities bounding 0xa80425fb effective 0xa80425fb permitted 0xa80425fb inheritable 0x0 ambient 0x0
    oom score 0
    filter of 370 instructions, flags 0x4
    env "PATH=/bin"
    env "HOSTNAME=SHORTID"
    execute ["sleep", "60"] in /
    "#);
}

#[test]
fn a_limited_container_s_plan_on_version_2() {
    insta::assert_snapshot!(plan(&rich(), &HostFacts::example_v2()), @r#"
    namespaces new mount,cgroup,uts,ipc,pid,network
    cgroup /sys/fs/cgroup/docker/ID
    write /sys/fs/cgroup/cgroup.subtree_control = +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc (if it is there)
    write /sys/fs/cgroup/cgroup.subtree_control = +cpuset (if it is there)
    write /sys/fs/cgroup/cgroup.subtree_control = +cpu (if it is there)
    write /sys/fs/cgroup/cgroup.subtree_control = +memory (if it is there)
    write /sys/fs/cgroup/cgroup.subtree_control = +pids (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +cpuset (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +cpu (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +memory (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +pids (if it is there)
    write /sys/fs/cgroup/docker/ID/cpuset.cpus = 0
    write /sys/fs/cgroup/docker/ID/cpu.weight = 59
    write /sys/fs/cgroup/docker/ID/cpu.max = 50000 100000
    write /sys/fs/cgroup/docker/ID/memory.swap.max = 104857600
    write /sys/fs/cgroup/docker/ID/memory.max = 104857600
    write /sys/fs/cgroup/docker/ID/memory.low = 52428800
    write /sys/fs/cgroup/docker/ID/pids.max = 50
    device program of 133 instructions
    root /var/lib/docker/merged ro rslave
    mount proc proc at /proc nosuid,nodev,noexec
    mount tmpfs tmpfs at /dev nosuid,strictatime (mode=755,size=65536k)
    mount devpts devpts at /dev/pts nosuid,noexec (newinstance,ptmxmode=0666,mode=0620,gid=5)
    mount sysfs sysfs at /sys ro,nosuid,nodev,noexec
    cgroups at /sys/fs/cgroup ro
    mount mqueue mqueue at /dev/mqueue nosuid,nodev,noexec
    mount tmpfs shm at /dev/shm nosuid,nodev,noexec (mode=1777,size=1048576)
    bind tree /tmp at /host-tmp rslave
    bind tree /etc at /host-etc ro rprivate
    mount tmpfs tmpfs at /scratch nosuid,nodev (size=5m) rprivate
    bind tree /var/lib/docker/containers/ID/resolv.conf at /etc/resolv.conf ro rprivate
    bind tree /var/lib/docker/containers/ID/hostname at /etc/hostname ro rprivate
    bind tree /var/lib/docker/containers/ID/hosts at /etc/hosts ro rprivate
    device /dev/xnull c 1:3 0666 0:0
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
    sysctl kernel/domainname = dd.example
    sysctl kernel/msgmax = 1000
    sysctl net/ipv4/ip_unprivileged_port_start = 0
    sysctl net/ipv4/ping_group_range = 0 2147483647
    mask /proc/acpi
    mask /proc/asound
    mask /proc/interrupts
    mask /proc/kcore
    mask /proc/keys
    mask /proc/latency_stats
    mask /proc/sched_debug
    mask /proc/scsi
    mask /proc/timer_list
    mask /proc/timer_stats
    mask /sys/devices/virtual/powercap
    mask /sys/firmware
    read-only /proc/bus
    read-only /proc/fs
    read-only /proc/irq
    read-only /proc/sys
    read-only /proc/sysrq-trigger
    hostname hh
    user 5:6 groups [6, 7]
    capabilities bounding 0xa00435fb effective 0x0 permitted 0x0 inheritable 0x0 ambient 0x0
    rlimit 7 10 20
    oom score 100
    no new privileges
    filter of 370 instructions, flags 0x4
    env "PATH=/bin:/x"
    env "HOSTNAME=hh"
    env "TERM=xterm"
    env "FOO=bar"
    execute ["sleep", "60"] in /tmp below a reaper
    "#);
}

#[test]
fn a_privileged_container_of_the_host_s_namespaces_keeps_little_apart() {
    let settings = ContainerSettings {
        privileged: true,
        network: Namespace::Host,
        pid: Namespace::Host,
        ipc: IpcMode::Host,
        uts: Namespace::Host,
        host_devices: vec![Device {
            path: "/dev/sda".into(),
            kind: 'b',
            major: 8,
            minor: 0,
            mode: 0o660,
            uid: 0,
            gid: 6,
            access: String::new(),
        }],
        ..plain()
    };
    insta::assert_snapshot!(plan(&settings, &HostFacts::example_v2()), @r#"
    namespaces new mount,cgroup
    cgroup /sys/fs/cgroup/docker/ID
    write /sys/fs/cgroup/cgroup.subtree_control = +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc (if it is there)
    write /sys/fs/cgroup/docker/cgroup.subtree_control = +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc (if it is there)
    root /var/lib/docker/merged
    mount proc proc at /proc nosuid,nodev,noexec
    mount tmpfs tmpfs at /dev nosuid,strictatime (mode=755,size=65536k)
    mount devpts devpts at /dev/pts nosuid,noexec (newinstance,ptmxmode=0666,mode=0620,gid=5)
    mount sysfs sysfs at /sys nosuid,nodev,noexec
    cgroups at /sys/fs/cgroup
    mount mqueue mqueue at /dev/mqueue nosuid,nodev,noexec
    bind tree /var/lib/docker/containers/ID/resolv.conf at /etc/resolv.conf rprivate
    bind tree /var/lib/docker/containers/ID/hostname at /etc/hostname rprivate
    bind tree /var/lib/docker/containers/ID/hosts at /etc/hosts rprivate
    bind tree /dev/shm at /dev/shm rprivate
    device /dev/sda b 8:0 0660 0:6
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
    user 0:0 groups [0]
    capabilities bounding 0x1ffffffffff effective 0x1ffffffffff permitted 0x1ffffffffff inheritable 0x0 ambient 0x0
    oom score 0
    env "PATH=/bin"
    env "HOSTNAME=SHORTID"
    execute ["sleep", "60"] in /
    "#);
}

#[test]
fn variables_replace_their_namesakes_in_place() {
    let env = |over: &[&str]| {
        let over: Vec<String> = over.iter().map(|row| (*row).to_owned()).collect();
        replace_or_append(vec!["A=1".into(), "B=2".into()], &over).join(" ")
    };
    assert_eq!(env(&["A=3", "C=4"]), "A=3 B=2 C=4");
    assert_eq!(env(&["A", "C"]), "B=2");
    assert_eq!(env(&["A=", "A=5"]), "A=5 B=2");
}

#[test]
fn an_exec_takes_the_container_s_world_and_its_own_words() {
    let container = ContainerSettings { cap_add: vec!["SYS_TIME".into()], ..plain() };
    let exec = ExecSettings {
        args: vec!["id".into()],
        env: vec!["X=1".into()],
        user: Some(ProcessUser { uid: 7, gid: 8, groups: vec![8], home: "/seven".into() }),
        tty: true,
        ..ExecSettings::default()
    };
    let host = HostFacts::example_v2();
    let plan = plan_exec(&exec, &container, &host, &ProgramCache::default()).expect("a plan");
    assert_eq!(plan.env, ["PATH=/bin", "HOSTNAME=SHORTID", "TERM=xterm", "X=1", "HOME=/seven"]);
    assert_eq!((plan.uid, plan.gid, plan.groups.as_slice()), (7, 8, &[8][..]));
    assert_eq!(plan.capabilities.bounding, capabilities::docker_default() | 1 << 25);
    assert_eq!(plan.capabilities.effective, 0);
    assert!(!plan.seccomp.is_empty());
    let privileged = ExecSettings { privileged: true, args: vec!["id".into()], ..ExecSettings::default() };
    let plan = plan_exec(&privileged, &container, &host, &ProgramCache::default()).expect("a plan");
    assert_eq!(plan.capabilities.effective, host.capabilities);
}

#[test]
fn read_only_binds_are_so_with_all_below_unless_told_otherwise() {
    for (writability, non_recursive, expected) in [
        (Writability::Writable, false, "rbind rprivate"),
        (Writability::ReadOnly, false, "rbind rro rprivate"),
        (Writability::ReadOnlyNonRecursive, false, "rbind ro rprivate"),
        (Writability::ReadOnly, true, "bind ro rprivate"),
    ] {
        let settings = ContainerSettings {
            mounts: vec![MountSettings::Bind(BindMount {
                source: "/s".into(),
                target: "/t".into(),
                writability,
                non_recursive,
                ..BindMount::default()
            })],
            ..plain()
        };
        let list = mounts::plan_mounts(&settings).expect("mounts").list;
        let options = list.last().and_then(|mount| mount.options().clone()).unwrap_or_default();
        assert_eq!(options.join(" "), expected);
    }
}

#[test]
fn shared_mounts_make_the_root_shared() {
    for (word, expected) in
        [("", None), ("rprivate", None), ("slave", Some("rslave")), ("rshared", Some("shared"))]
    {
        let mount = BindMount {
            source: "/s".into(),
            target: "/t".into(),
            propagation: word.into(),
            ..Default::default()
        };
        let settings = ContainerSettings { mounts: vec![MountSettings::Bind(mount)], ..plain() };
        assert_eq!(
            mounts::plan_mounts(&settings).expect("mounts").root_propagation.as_deref(),
            expected,
            "{word}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_docker_s_words() {
    let tmpfs = MountSettings::Tmpfs { target: "/t".into(), options: "size=1m,huge=always".into() };
    for (settings, message) in [
        (
            ContainerSettings { device_rules: vec!["c 1 rwm".into()], ..plain() },
            "invalid device cgroup rule format: 'c 1 rwm'",
        ),
        (ContainerSettings { mounts: vec![tmpfs], ..plain() }, "invalid tmpfs option \"huge=always\""),
        (
            ContainerSettings { ulimits: vec![Ulimit { name: "foo".into(), soft: 1, hard: 1 }], ..plain() },
            "invalid ulimit type: foo",
        ),
        (
            ContainerSettings { sysctls: [("kernel.panic".to_owned(), "1".to_owned())].into(), ..plain() },
            "sysctl \"kernel.panic\" is not in a separate kernel namespace",
        ),
        (
            ContainerSettings { cwd: "relative".into(), ..plain() },
            "Cwd must be an absolute path: \"relative\"",
        ),
    ] {
        let error =
            plan_start(&settings, &HostFacts::example_v2(), &ProgramCache::default()).expect_err("refused");
        assert_eq!(error.to_string(), message);
    }
}
