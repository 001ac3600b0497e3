//! Volumes: which names they may have, and what the options of the driver `local` ask the kernel to mount.
//! Owns the checks and Docker's words for what fails them; resolves no name of a host and mounts nothing.

use std::collections::BTreeMap;

use crate::{Error, Result, size};

/// The only driver that is built in.
pub const LOCAL: &str = "local";
/// The label of a volume that nobody gave a name.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The longest name that fits a file name on every file system.
const LONGEST_NAME: usize = 255;

/// Checks a volume's name.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in the words of Docker's local driver.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let first = |byte: u8| byte.is_ascii_alphanumeric();
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let valid = name.bytes().enumerate().all(|(at, byte)| if at == 0 { first(byte) } else { rest(byte) });
    if name.is_empty() || !valid {
        return Err(Error::invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() > LONGEST_NAME {
        return Err(Error::invalid(format!("volume name is too long: {} bytes", name.len())));
    }
    Ok(())
}

/// Checks the options of a volume of the driver `local`.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`] in Docker's words.
pub fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(unknown) = options.keys().find(|key| !["type", "o", "device", "size"].contains(&key.as_str()))
    {
        return Err(Error::invalid(format!("invalid option: {unknown:?}")));
    }
    if let Some(text) = options.get("size")
        && size::parse_binary(text)? > 0
    {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    for (option, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if options.contains_key(option) && !options.contains_key(needed) {
            return Err(Error::invalid(format!("missing required option: {needed:?}")));
        }
    }
    Ok(())
}

/// What is mounted over a volume's directory while it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMount {
    /// The kernel's name of the file system; `none` for a bind.
    pub fstype: String,
    /// The device, server's path or directory.
    pub device: String,
    /// `MS_*` bits of mount(2), without propagation.
    pub flags: u64,
    /// `MS_*` bits of each change of the propagation, in the order given.
    pub propagation: Vec<u64>,
    /// What the file system itself has to understand.
    pub data: String,
}

impl DeviceMount {
    /// Reads the options of a volume; `None` for one that is a plain directory.
    pub fn of(options: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        let mut mount = Self { fstype: text("type"), device: text("device"), ..Self::default() };
        if mount.fstype.is_empty() && mount.device.is_empty() {
            return None;
        }
        let mut data = Vec::new();
        for word in options.get("o").map(String::as_str).unwrap_or_default().split(',') {
            match flag(word) {
                _ if word.is_empty() => {}
                Some(Flag::Set(bits)) => mount.flags |= bits,
                Some(Flag::Clear(bits)) => mount.flags &= !bits,
                Some(Flag::Propagation(bits)) => mount.propagation.push(bits),
                None => data.push(word),
            }
        }
        mount.data = data.join(",");
        Some(mount)
    }

    /// The host in the options that a name server has to be asked for, if any.
    pub fn host(&self) -> Option<&str> {
        if !matches!(self.fstype.as_str(), "nfs" | "nfs4" | "cifs") {
            return None;
        }
        let named = |host: &&str| host.parse::<std::net::IpAddr>().is_err() && !host.is_empty();
        if let Some(host) = self.data.split(',').find_map(|word| word.strip_prefix("addr=")) {
            return Some(host).filter(named);
        }
        let share = self.device.strip_prefix("//").filter(|_| self.fstype == "cifs")?;
        share.split('/').next().filter(named)
    }

    /// The same with the address of [`Self::host`] instead of its name.
    pub fn with_address(mut self, address: std::net::IpAddr) -> Self {
        let Some(host) = self.host().map(str::to_owned) else { return self };
        let (named, found) = (format!("addr={host}"), format!("addr={address}"));
        if self.data.split(',').any(|word| word == named) {
            let words = self.data.split(',').map(|word| if word == named { found.as_str() } else { word });
            self.data = words.collect::<Vec<_>>().join(",");
        } else {
            self.device = self.device.replacen(&host, &address.to_string(), 1);
        }
        self
    }

    /// Docker's words for a mount at `target` that failed for `reason`; a password is not shown.
    pub fn failure(&self, target: &str, reason: &str) -> String {
        let data: Vec<&str> = self
            .data
            .split(',')
            .map(|word| if word.starts_with("password=") { "password=********" } else { word })
            .collect();
        let data = data.join(",");
        let flags = if self.flags == 0 { String::new() } else { format!(", flags: 0x{:x}", self.flags) };
        let data = if data.is_empty() { String::new() } else { format!(", data: {data}") };
        format!("failed to mount local volume: mount {}:{target}{flags}{data}: {reason}", self.device)
    }
}

/// What an option word does.
enum Flag {
    Set(u64),
    Clear(u64),
    Propagation(u64),
}

/// The words of mount(8) that are flags of mount(2).
fn flag(word: &str) -> Option<Flag> {
    const REC: u64 = 1 << 14;
    let set = |bits| Some(Flag::Set(bits));
    let clear = |bits| Some(Flag::Clear(bits));
    let propagation = |bits| Some(Flag::Propagation(bits));
    match word {
        "defaults" => clear(0),
        "ro" => set(1),
        "rw" => clear(1),
        "nosuid" => set(1 << 1),
        "suid" => clear(1 << 1),
        "nodev" => set(1 << 2),
        "dev" => clear(1 << 2),
        "noexec" => set(1 << 3),
        "exec" => clear(1 << 3),
        "sync" => set(1 << 4),
        "async" => clear(1 << 4),
        "remount" => set(1 << 5),
        "mand" => set(1 << 6),
        "nomand" => clear(1 << 6),
        "dirsync" => set(1 << 7),
        "noatime" => set(1 << 10),
        "atime" => clear(1 << 10),
        "nodiratime" => set(1 << 11),
        "diratime" => clear(1 << 11),
        "bind" => set(1 << 12),
        "rbind" => set(1 << 12 | REC),
        "relatime" => set(1 << 21),
        "norelatime" => clear(1 << 21),
        "strictatime" => set(1 << 24),
        "nostrictatime" => clear(1 << 24),
        "unbindable" => propagation(1 << 17),
        "runbindable" => propagation(1 << 17 | REC),
        "private" => propagation(1 << 18),
        "rprivate" => propagation(1 << 18 | REC),
        "slave" => propagation(1 << 19),
        "rslave" => propagation(1 << 19 | REC),
        "shared" => propagation(1 << 20),
        "rshared" => propagation(1 << 20 | REC),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_are_checked_in_dockers_words() {
        for good in ["ab", "0a", "a_.-", &"f".repeat(64)] {
            check_name(good).unwrap();
        }
        assert!(check_name("a").unwrap_err().message().starts_with("volume name is too short"));
        for bad in ["", ".a", "-a", "a/b", "a b", "ä2", "..", &"f".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_name("a?").unwrap_err().message(),
            "\"a?\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
    }

    #[test]
    fn options_are_checked_in_dockers_words() {
        check_options(&options(&[])).unwrap();
        check_options(&options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")])).unwrap();
        for (pairs, words) in [
            (&[("foo", "bar")][..], "invalid option: \"foo\""),
            (&[("type", "tmpfs")][..], "missing required option: \"device\""),
            (&[("o", "ro"), ("device", "x")][..], "missing required option: \"type\""),
            (&[("size", "1g")][..], "quota size requested but no quota support"),
        ] {
            assert_eq!(check_options(&options(pairs)).unwrap_err().message(), words);
        }
    }

    #[test]
    fn options_become_flags_and_data() {
        assert_eq!(DeviceMount::of(&options(&[])), None);
        let mount = DeviceMount::of(&options(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=100m,ro,nosuid,rw,uid=1000,rshared"),
        ]))
        .unwrap();
        assert_eq!((mount.flags, mount.data.as_str()), (2, "size=100m,uid=1000"));
        assert_eq!(mount.propagation, [1 << 20 | 1 << 14]);
        let bind = DeviceMount::of(&options(&[("type", "none"), ("device", "/x"), ("o", "bind")])).unwrap();
        assert_eq!(
            bind.failure("/v/_data", "no such file or directory"),
            "failed to mount local volume: mount /x:/v/_data, flags: 0x1000: no such file or directory"
        );
    }

    #[test]
    fn a_server_is_looked_up_only_by_name() {
        let nfs =
            |o: &str| DeviceMount::of(&options(&[("type", "nfs"), ("device", ":/p"), ("o", o)])).unwrap();
        assert_eq!(nfs("addr=10.0.0.1,rw").host(), None);
        let named = nfs("addr=files,vers=4");
        assert_eq!(named.host(), Some("files"));
        assert_eq!(named.with_address("10.0.0.9".parse().unwrap()).data, "addr=10.0.0.9,vers=4");
        let share = DeviceMount::of(&options(&[
            ("type", "cifs"),
            ("device", "//files/share"),
            ("o", "user=a,password=b"),
        ]))
        .unwrap();
        assert_eq!(share.host(), Some("files"));
        assert!(!share.failure("/v", "x").contains("password=b"));
        assert_eq!(share.with_address("10.0.0.9".parse().unwrap()).device, "//10.0.0.9/share");
    }
}
