//! What every container of Docker gets: mounts, hidden paths, device rules, kernel parameters. Tables only.

/// The search path where the image sets none.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The size of `/dev/shm` in bytes.
pub const SHM_SIZE: u64 = 64 * 1024 * 1024;

/// A mount: target, type, source, options.
pub(super) type DefaultMount = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// The mounts, in order.
pub(super) const MOUNTS: [DefaultMount; 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]),
];

/// Paths hidden in a container that isn't privileged; those of the host's own in [`crate::HostFacts::thermal_throttle_paths`] come on top.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths made read-only in a container that isn't privileged.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Device rules after "nothing is allowed": whether, major, minor of a character device.
pub(super) const DEVICE_RULES: [(bool, i64, i64); 7] =
    [(true, 1, 5), (true, 1, 3), (true, 1, 9), (true, 1, 8), (true, 5, 0), (true, 5, 1), (false, 10, 229)];

/// Kernel parameters of a network namespace of the container's own.
pub(super) const NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// Mounts that stay writable under a read-only root.
pub(super) const WRITABLE_UNDER_READONLY_ROOT: [&str; 5] =
    ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];
