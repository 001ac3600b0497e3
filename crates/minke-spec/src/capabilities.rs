//! Capabilities by name: the kernel's numbers, Docker's default set, and how `--cap-add` and `--cap-drop` combine.
//! Sets are bit masks, bit n for capability n. Numbers: linux/capability.h.

use minke_model::{Error, Result};

/// The kernel's names without `CAP_`; the index is the number.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set, in the order in which Docker writes it.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Finds a capability's number by its name in capitals without `CAP_`.
fn position(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).map(|index| index as u32)
}

/// Returns the number of a capability named as Docker allows it: any case, with or without `CAP_`.
pub fn parse(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    position(upper.strip_prefix("CAP_").unwrap_or(&upper))
}

/// Returns the kernel's name (`CAP_CHOWN`) of a number.
pub fn name(number: u32) -> Option<String> {
    NAMES.get(number as usize).map(|name| format!("CAP_{name}"))
}

/// Lists the names of a set in the order of their numbers.
pub fn names(set: u64) -> Vec<String> {
    (0..64).filter(|number| set & (1 << number) != 0).filter_map(name).collect()
}

/// Docker's default set as a mask.
pub fn docker_default() -> u64 {
    DOCKER_DEFAULT.iter().filter_map(|name| position(name)).fold(0, |set, number| set | 1 << number)
}

/// How a user changes Docker's default set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adjustment<'a> {
    /// `--cap-add`.
    pub add: &'a [String],
    /// `--cap-drop`.
    pub drop: &'a [String],
    /// `--privileged`: all, whatever `add` and `drop` say.
    pub privileged: bool,
}

/// Computes a container's set as Docker does; `all` is what the host can give.
///
/// Fails on a name that no kernel has, in Docker's words.
pub fn adjust(adjustment: &Adjustment<'_>, all: u64) -> Result<u64> {
    let (add, add_all) = parse_list(adjustment.add, "CapAdd")?;
    let (drop, drop_all) = parse_list(adjustment.drop, "CapDrop")?;
    Ok(match (adjustment.privileged, add_all, drop_all) {
        (true, _, _) => all,
        (_, true, _) => all & !drop,
        (_, _, true) => add,
        _ => docker_default() & !drop | add,
    })
}

/// Parses one list to a mask and whether `ALL` is in it.
fn parse_list(names: &[String], field: &str) -> Result<(u64, bool)> {
    let (mut set, mut all) = (0, false);
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            all = true;
            continue;
        }
        let number = parse(name).ok_or_else(|| {
            let upper = name.to_ascii_uppercase();
            let shown = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            Error::invalid(format!("invalid {field}: unknown capability: \"{shown}\""))
        })?;
        set |= 1 << number;
    }
    Ok((set, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn set(add: &[&str], drop: &[&str]) -> Result<u64> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        adjust(&Adjustment { add: &list(add), drop: &list(drop), privileged: false }, ALL)
    }

    #[test]
    fn names_take_any_case_and_prefix() {
        for name in ["SYS_ADMIN", "sys_admin", "CAP_SYS_ADMIN", "cap_sys_admin"] {
            assert_eq!(parse(name), Some(21), "{name}");
        }
        assert_eq!(parse("SYS_MAGIC"), None);
    }

    #[test]
    fn docker_default_is_the_kernel_mask_that_docker_shows() {
        assert_eq!(docker_default(), 0xa804_25fb);
    }

    #[test]
    fn all_means_everything_but_what_is_dropped() {
        assert_eq!(set(&["ALL"], &["MKNOD"]).unwrap(), ALL & !(1 << 27));
        assert_eq!(set(&["NET_ADMIN"], &["ALL"]).unwrap(), 1 << 12);
        assert_eq!(set(&["all"], &["ALL"]).unwrap(), ALL);
    }

    #[test]
    fn what_is_both_dropped_and_added_is_there() {
        assert_eq!(set(&["CHOWN"], &["CHOWN"]).unwrap(), docker_default());
    }

    #[test]
    fn an_unknown_name_is_docker_s_error() {
        assert_eq!(
            set(&["foo"], &[]).unwrap_err().to_string(),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
    }
}
