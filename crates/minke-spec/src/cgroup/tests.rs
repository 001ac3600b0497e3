//! Limits of a configuration against the writes that they become.

use super::tables::{io_weight, weight_of_shares};
use super::*;

fn plan(json: serde_json::Value, host: &HostFacts) -> Result<String> {
    let resources: LinuxResources = serde_json::from_value(json).expect("resources");
    let plan = plan_cgroup(
        Some("/docker/c1"),
        &resources,
        &[],
        &HostFacts { in_user_namespace: true, ..host.clone() },
    )?;
    let rows = plan.writes.iter().map(|write| {
        let file = write.path.rsplit_once('/').expect("a path").1;
        format!("{file}{} = {}", if write.optional { "?" } else { "" }, write.value)
    });
    Ok(rows.filter(|row| !row.starts_with("cgroup.subtree_control")).collect::<Vec<_>>().join("\n"))
}

fn everything() -> serde_json::Value {
    serde_json::json!({
        "memory": {"limit": 268435456, "swap": 536870912, "reservation": 134217728, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0", "burst": 1000},
        "pids": {"limit": 100},
        "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "rdma": {"mlx5": {"hcaHandles": 3, "hcaObjects": 10000}}
    })
}

#[test]
fn version_1_files_get_the_configuration_s_own_numbers() {
    let mut host = HostFacts::example_v1();
    if let CgroupMode::V1 { hierarchies } = &mut host.cgroups {
        hierarchies.push(CgroupHierarchy {
            mountpoint: "/sys/fs/cgroup/rdma".into(),
            controllers: vec!["rdma".into()],
            own: "/".into(),
        });
    }
    insta::assert_snapshot!(plan(everything(), &host).expect("plan"), @r#"
    cpuset.cpus = 0-1
    cpuset.mems = 0
    cpu.shares = 512
    cpu.cfs_period_us = 100000
    cpu.cfs_quota_us = 50000
    cpu.cfs_burst_us = 1000
    memory.limit_in_bytes = 268435456
    memory.memsw.limit_in_bytes = 536870912
    memory.soft_limit_in_bytes = 134217728
    memory.swappiness = 10
    pids.max = 100
    blkio.weight? = 500
    blkio.bfq.weight? = 500
    blkio.weight_device? = 8:0 300
    blkio.bfq.weight_device? = 8:0 300
    blkio.throttle.read_bps_device = 8:0 1048576
    blkio.throttle.write_iops_device = 8:0 100
    rdma.max = mlx5 hca_handle=3 hca_object=10000
    hugetlb.2MB.limit_in_bytes = 4194304
    hugetlb.2MB.rsvd.limit_in_bytes? = 4194304
    "#);
}

#[test]
fn version_2_files_get_converted_numbers() {
    insta::assert_snapshot!(plan(everything(), &HostFacts::example_v2()).expect("plan"), @r#"
    cpuset.cpus = 0-1
    cpuset.mems = 0
    cpu.weight = 59
    cpu.max = 50000 100000
    cpu.max.burst = 1000
    memory.swap.max = 268435456
    memory.max = 268435456
    memory.low = 134217728
    pids.max = 100
    io.bfq.weight? = 500
    io.weight? = 4950
    io.bfq.weight? = 8:0 300
    io.max = 8:0 rbps=1048576
    io.max = 8:0 wiops=100
    rdma.max = mlx5 hca_handle=3 hca_object=10000
    hugetlb.2MB.max = 4194304
    hugetlb.2MB.rsvd.max? = 4194304
    "#);
}

#[test]
fn shares_become_weights_on_the_curve_through_the_defaults() {
    for (shares, weight) in
        [(0, 0), (1, 1), (2, 1), (1024, 100), (512, 59), (2048, 174), (262_144, 10_000), (u64::MAX, 10_000)]
    {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
}

#[test]
fn io_weights_span_the_whole_scale() {
    for (weight, expected) in [(0, 0), (10, 1), (500, 4950), (1000, 10_000)] {
        assert_eq!(io_weight(weight), expected, "{weight}");
    }
}

#[test]
fn swap_is_memory_and_swap_less_memory() {
    let host = HostFacts::example_v2();
    for (limit, swap, expected) in [
        (100, 300, Ok("memory.swap.max = 200\nmemory.max = 100")),
        (100, 100, Ok("memory.swap.max = 0\nmemory.max = 100")),
        (100, 0, Ok("memory.max = 100")),
        (100, -1, Ok("memory.swap.max = max\nmemory.max = 100")),
        (-1, 0, Ok("memory.swap.max = max\nmemory.max = max")),
        (100, 50, Err("memory+swap limit should be >= memory limit")),
        (0, 50, Err("unable to set swap limit without memory limit")),
    ] {
        let made = plan(serde_json::json!({"memory": {"limit": limit, "swap": swap}}), &host);
        assert_eq!(made.as_deref().map_err(|error| error.message()), expected, "{limit} {swap}");
    }
}

#[test]
fn unlimited_memory_unlimits_swap_on_version_1() {
    let made = plan(serde_json::json!({"memory": {"limit": -1}}), &HostFacts::example_v1()).expect("plan");
    assert_eq!(made, "memory.limit_in_bytes = -1\nmemory.memsw.limit_in_bytes = -1");
}

#[test]
fn unified_values_are_plain_files_of_version_2() {
    let v2 = HostFacts::example_v2();
    let json = |file: &str| serde_json::json!({"unified": {file: "1"}});
    assert_eq!(plan(json("memory.high"), &v2).expect("plan"), "memory.high = 1");
    for (file, host, message) in [
        ("../x.y", &v2, "unified resource \"../x.y\" must be a file name (no slashes)"),
        ("memory", &v2, "unified resource \"memory\" must be in the form CONTROLLER.PARAMETER"),
        ("memory.high", &HostFacts::example_v1(), "invalid configuration: cannot use unified on cgroup v1"),
    ] {
        assert_eq!(plan(json(file), host).expect_err("refused").to_string(), message);
    }
}

#[test]
fn a_limit_without_its_controller_is_an_error() {
    let mut host = HostFacts::example_v2();
    if let CgroupMode::V2 { controllers, .. } = &mut host.cgroups {
        controllers.retain(|name| name != "pids");
    }
    let error = plan(serde_json::json!({"pids": {"limit": 3}}), &host).expect_err("refused");
    assert_eq!(error.to_string(), "the cgroup controller pids is not available");
}

#[test]
fn controllers_are_enabled_from_the_top_down_to_the_parent() {
    let resources = serde_json::from_value(serde_json::json!({"pids": {"limit": 3}})).expect("resources");
    let plan = plan_cgroup(Some("a/../c1"), &resources, &[], &HostFacts::example_v2()).expect("plan");
    let rows: Vec<String> =
        plan.writes.iter().map(|write| format!("{} {}", write.path, write.value)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    /sys/fs/cgroup/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
    /sys/fs/cgroup/cgroup.subtree_control +pids
    /sys/fs/cgroup/system.slice/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
    /sys/fs/cgroup/system.slice/cgroup.subtree_control +pids
    /sys/fs/cgroup/system.slice/minke.service/cgroup.subtree_control +cpuset +cpu +io +memory +hugetlb +pids +rdma +misc
    /sys/fs/cgroup/system.slice/minke.service/cgroup.subtree_control +pids
    /sys/fs/cgroup/system.slice/minke.service/c1/pids.max 3
    "#);
}

#[test]
fn relative_paths_are_below_the_engine_s_group_and_the_root_is_nobody_s() {
    assert_eq!(place("/x/../docker/c1", "/engine").expect("place"), "/docker/c1");
    assert_eq!(place("c1", "/engine").expect("place"), "/engine/c1");
    assert!(place("/..", "/engine").is_err());
    assert!(place("", "/").is_err());
}

#[test]
fn cpuset_parents_come_before_their_children() {
    let resources = LinuxResources::default();
    let plan = plan_cgroup(Some("/docker/c1"), &resources, &[], &HostFacts::example_v1()).expect("plan");
    assert_eq!(
        plan.inherit,
        [
            "/sys/fs/cgroup/cpuset/docker/cpuset.cpus",
            "/sys/fs/cgroup/cpuset/docker/cpuset.mems",
            "/sys/fs/cgroup/cpuset/docker/c1/cpuset.cpus",
            "/sys/fs/cgroup/cpuset/docker/c1/cpuset.mems",
        ]
    );
}

#[test]
fn an_update_makes_room_before_it_grows() {
    let resources = |limit: i64, swap: i64| -> LinuxResources {
        let json = serde_json::json!({"memory": {"limit": limit, "swap": swap}, "pids": {"limit": -1}});
        serde_json::from_value(json).expect("resources")
    };
    let shown = |old: (i64, i64), new: (i64, i64), host: &HostFacts| {
        let writes = plan_update("/docker/c1", &resources(old.0, old.1), &resources(new.0, new.1), host);
        let writes = writes.expect("writes");
        let name = |write: &CgroupWrite| write.path.rsplit('/').next().unwrap_or_default().to_owned();
        let rows = writes.iter().map(|write| format!("{} {}", name(write), write.value));
        rows.collect::<Vec<_>>().join(", ")
    };
    let v1 = HostFacts::example_v1();
    assert_eq!(
        shown((10, 20), (30, 40), &v1),
        "memory.memsw.limit_in_bytes 40, memory.limit_in_bytes 30, pids.max max"
    );
    assert_eq!(
        shown((30, 40), (10, 20), &v1),
        "memory.limit_in_bytes 10, memory.memsw.limit_in_bytes 20, pids.max max"
    );
    assert_eq!(
        shown((30, 40), (50, -1), &v1),
        "memory.memsw.limit_in_bytes -1, memory.limit_in_bytes 50, pids.max max"
    );
    assert_eq!(
        shown((30, 40), (10, 20), &HostFacts::example_v2()),
        "memory.swap.max 10, memory.max 10, pids.max max"
    );
}

#[test]
fn device_rules_that_nothing_enforces_are_an_error() {
    let mut host = HostFacts::example_v1();
    if let CgroupMode::V1 { hierarchies } = &mut host.cgroups {
        hierarchies.retain(|hierarchy| hierarchy.controllers != ["devices"]);
    }
    let plan =
        |rules: &[DeviceRule]| plan_cgroup(Some("/docker/c1"), &LinuxResources::default(), rules, &host);
    let error = plan(&devices::ALWAYS_ALLOWED).expect_err("refused");
    assert_eq!(error.to_string(), "cannot set device rules: the cgroup controller devices is not mounted");
    let all = DeviceRule { allow: true, kind: None, major: None, minor: None, access: 7 };
    assert!(plan(&[all]).expect("a plan").writes.is_empty());
}
