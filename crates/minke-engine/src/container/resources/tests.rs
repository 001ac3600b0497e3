use super::*;

/// A host with everything.
pub fn everything() -> Enforceable {
    Enforceable {
        cgroup2: false,
        memory: true,
        swap: true,
        memory_reservation: true,
        memory_swappiness: true,
        oom_kill_disable: true,
        cpu_shares: true,
        cpu_quota: true,
        cpu_realtime: true,
        cpuset: true,
        pids: true,
        blkio_weight: true,
        blkio_weight_device: true,
        blkio_throttle: true,
        cpus: "0-1".into(),
        mems: "0".into(),
    }
}

#[test]
fn bad_limits_are_refused_in_dockers_words() {
    type Change = fn(&mut HostConfig);
    let cases: [(Change, &str); 12] = [
        (|host| host.memory = 1 << 20, "Minimum memory limit allowed is 6MB"),
        (
            |host| (host.memory, host.memory_swap) = (50 << 20, 20 << 20),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            |host| host.memory_swap = 20 << 20,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (|host| host.memory_reservation = 1 << 20, "Minimum memory reservation allowed is 6MB"),
        (
            |host| host.memory_swappiness = Some(101),
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        (|host| host.cpuset_cpus = "x".into(), "Invalid value x for cpuset cpus: invalid format: x"),
        (
            |host| host.cpuset_cpus = "0,9".into(),
            "Requested CPUs are not available - requested 0,9, available: 0-1",
        ),
        (
            |host| host.cpuset_mems = "3".into(),
            "Requested memory nodes are not available - requested 3, available: 0",
        ),
        (|host| host.cpu_quota = 10, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (
            |host| (host.cpu_realtime_period, host.cpu_realtime_runtime) = (1000, 2000),
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
        (|host| host.blkio_weight = 5, "Range of blkio weight is from 10 to 1000"),
        (|host| host.cpu_shares = 1, "the minimum allowed cpu-shares is 2"),
    ];
    for (change, words) in cases {
        let mut host = HostConfig::default();
        change(&mut host);
        assert_eq!(check(&mut host, &everything(), 2, false).unwrap_err().message(), words);
    }
}

#[test]
fn what_the_host_lacks_is_taken_out_and_told() {
    let mut host = HostConfig {
        memory: 64 << 20,
        pids_limit: Some(5),
        oom_kill_disable: Some(true),
        memory_swappiness: Some(10),
        blkio_weight: 5,
        cpuset_cpus: "9".into(),
        ..HostConfig::default()
    };
    let warnings = check(&mut host, &Enforceable::default(), 2, false).unwrap();
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(
        warnings[0]
            .starts_with("Your kernel does not support memory limit capabilities or the cgroup is not")
    );
    assert_eq!(host, HostConfig { memory_swap: -1, ..HostConfig::default() });
}

#[test]
fn memory_without_swap_means_as_much_swap_again() {
    let mut host = HostConfig { memory: 64 << 20, ..HostConfig::default() };
    assert!(check(&mut host, &everything(), 2, false).unwrap().is_empty());
    assert_eq!(host.memory_swap, 128 << 20);
}

#[test]
fn a_change_may_name_swap_alone() {
    let mut host = HostConfig { memory_swap: 128 << 20, ..HostConfig::default() };
    assert!(check(&mut host, &everything(), 2, true).is_ok());
}
