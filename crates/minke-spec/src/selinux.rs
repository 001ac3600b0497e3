//! SELinux labels of a container: which one its process runs under, which one its files carry, and which paths of the host may
//! get one. Pure: the policy's contexts, other containers' labels and what is random come from whoever calls.

use std::collections::BTreeSet;

use minke_model::{Error, Result};

/// Categories are numbered below this.
const CATEGORIES: u32 = 1024;
/// The level of what several containers share.
const SHARED_LEVEL: &str = "s0";
/// What of the host never gets a container's label.
const NEVER: [&str; 26] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/system",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "",
];

/// A label in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Label {
    user: String,
    role: String,
    kind: String,
    level: String,
}

impl Label {
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(user), Some(role), Some(kind), level) => {
                Ok(Self { user, role, kind, level: level.unwrap_or_default() })
            }
            _ => Err(Error::invalid(format!("invalid label {text:?}"))),
        }
    }

    fn render(&self) -> String {
        let Self { user, role, kind, level } = self;
        if level.is_empty() {
            format!("{user}:{role}:{kind}")
        } else {
            format!("{user}:{role}:{kind}:{level}")
        }
    }

    fn part(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "user" => &mut self.user,
            "role" => &mut self.role,
            "type" => &mut self.kind,
            "level" => &mut self.level,
            _ => return None,
        })
    }
}

/// What the host's policy gives containers (`lxc_contexts`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Processes.
    pub process: String,
    /// Files.
    pub file: String,
}

impl Contexts {
    /// Reads the policy's file; `None` where it names no process or no file.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.trim().split_once('=')?;
                (key.trim() == wanted).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        Some(Self { process: value("process")?, file: value("file")? })
    }
}

/// A container's labels; both empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes; empty: none of its own.
    pub process: String,
    /// Of its files.
    pub mount: String,
}

/// The pairs of categories that containers have.
#[derive(Clone, Debug, Default)]
pub struct Levels(BTreeSet<String>);

impl Levels {
    /// Takes a pair that nobody has; `random` is asked again for each try.
    ///
    /// # Errors
    /// There seem to be none left.
    pub fn take(&mut self, mut random: impl FnMut() -> u32) -> Result<String> {
        for _ in 0..10_000 {
            let (one, other) = (random() % CATEGORIES, random() % CATEGORIES);
            if one == other {
                continue;
            }
            let level = format!("s0:c{},c{}", one.min(other), one.max(other));
            if self.0.insert(level.clone()) {
                return Ok(level);
            }
        }
        Err(Error::system("no pair of SELinux categories is left for one more container"))
    }

    /// Notes the level of a label that is in use.
    pub fn note(&mut self, label: &str) {
        if let Ok(label) = Label::parse(label) {
            self.0.insert(label.level);
        }
    }

    /// Gives back the level of a label that is in use no more.
    pub fn give_back(&mut self, label: &str) {
        if let Ok(label) = Label::parse(label) {
            self.0.remove(&label.level);
        }
    }
}

/// What decides about a container that says nothing of its label.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing<'a> {
    /// It is privileged, or in the host's process or IPC namespace.
    pub with_host: bool,
    /// The label of the container whose process namespace it joins.
    pub pid: Option<&'a str>,
    /// The label of the container whose IPC namespace it joins.
    pub ipc: Option<&'a str>,
}

/// The options that such a container gets.
///
/// # Errors
/// It joins containers whose labels differ.
pub fn options_of(sharing: Sharing<'_>) -> Result<Vec<String>> {
    if sharing.with_host {
        return Ok(vec!["disable".into()]);
    }
    let label = match (sharing.pid, sharing.ipc) {
        (Some(pid), Some(ipc)) if pid != ipc => {
            return Err(Error::invalid("--ipc and --pid containers SELinux labels aren't the same"));
        }
        (Some(label), _) | (None, Some(label)) if !label.is_empty() => Label::parse(label)?,
        _ => return Ok(Vec::new()),
    };
    Ok(vec![
        format!("user:{}", label.user),
        format!("role:{}", label.role),
        format!("type:{}", label.kind),
        format!("level:{}", label.level),
    ])
}

/// Decides the labels of a container with these options. `level` is its own, if it keeps it.
///
/// # Errors
/// Docker's words for an option that isn't one.
pub fn labels(options: &[String], contexts: &Contexts, level: &str) -> Result<Labels> {
    let (mut process, mut mount) = (Label::parse(&contexts.process)?, Label::parse(&contexts.file)?);
    level.clone_into(&mut process.level);
    level.clone_into(&mut mount.level);
    let (mut disabled, mut nested) = (false, false);
    for option in options {
        match option.as_str() {
            "disable" => disabled = true,
            "nested" => nested = true,
            _ => {}
        }
        if disabled || nested && option == "nested" {
            continue;
        }
        let (key, value) = option.split_once(':').ok_or_else(|| {
            Error::invalid(format!(
                "bad label option {option:?}, valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value"
            ))
        })?;
        if key == "filetype" {
            value.clone_into(&mut mount.kind);
            continue;
        }
        let part = process.part(key).ok_or_else(|| {
            Error::invalid(format!(
                "bad label option {key:?}, valid options 'disable, user, role, level, type, filetype'"
            ))
        })?;
        value.clone_into(part);
        if matches!(key, "level" | "user")
            && let Some(part) = mount.part(key)
        {
            value.clone_into(part);
        }
    }
    if disabled {
        // Its files can still be told from the host's.
        mount.level = format!("{SHARED_LEVEL}:c{},c{}", CATEGORIES - 2, CATEGORIES - 1);
        return Ok(Labels { process: String::new(), mount: mount.render() });
    }
    Ok(Labels { process: process.render(), mount: mount.render() })
}

/// The label that a bind's source gets: the container's own (`Z`), or one that all containers may use (`z`).
///
/// # Errors
/// Docker's words for a path that must keep its label.
pub fn relabel(path: &str, mount_label: &str, shared: bool) -> Result<Option<String>> {
    if mount_label.is_empty() {
        return Ok(None);
    }
    if NEVER.contains(&path.trim_end_matches('/')) {
        return Err(Error::invalid(format!("SELinux relabeling of {path} is not allowed")));
    }
    let mut label = Label::parse(mount_label)?;
    if shared {
        SHARED_LEVEL.clone_into(&mut label.level);
    }
    Ok(Some(label.render()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let text = "process = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\nfile = \"system_u:object_r:container_file_t:s0\"\n";
        Contexts::parse(text).unwrap()
    }

    fn decided(options: &[&str]) -> Result<Labels> {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        labels(&options, &contexts(), "s0:c1,c2")
    }

    #[test]
    fn each_option_changes_its_part() {
        for (options, process, mount) in [
            (
                &[][..],
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                &["type:spc_t"],
                "system_u:system_r:spc_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                &["level:s0:c100,c200"],
                "system_u:system_r:container_t:s0:c100,c200",
                "system_u:object_r:container_file_t:s0:c100,c200",
            ),
            (&["user:u", "role:r"], "u:r:container_t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2"),
            (
                &["filetype:usr_t"],
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:usr_t:s0:c1,c2",
            ),
            (&["type:a", "disable"], "", "system_u:object_r:container_file_t:s0:c1022,c1023"),
            (
                &["nested"],
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
        ] {
            let expected = Labels { process: process.into(), mount: mount.into() };
            assert_eq!(decided(options).unwrap(), expected, "{options:?}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused_in_dockers_words() {
        let words = |option: &str| decided(&[option]).unwrap_err().message().to_owned();
        assert!(words("x").starts_with("bad label option \"x\", valid options 'disable' or"));
        assert_eq!(
            words("x:y"),
            "bad label option \"x\", valid options 'disable, user, role, level, type, filetype'"
        );
    }

    #[test]
    fn levels_are_pairs_in_order_that_nobody_else_has() {
        let mut levels = Levels::default();
        levels.note("system_u:system_r:container_t:s0:c1,c2");
        let mut numbers = [2u32, 1, 7, 7, 1029, 3].into_iter().cycle();
        assert_eq!(levels.take(|| numbers.next().unwrap()).unwrap(), "s0:c3,c5");
        levels.give_back("a:b:c:s0:c1,c2");
        let mut numbers = [2u32, 1].into_iter().cycle();
        assert_eq!(levels.take(|| numbers.next().unwrap()).unwrap(), "s0:c1,c2");
        assert!(levels.take(|| numbers.next().unwrap()).is_err());
    }

    #[test]
    fn who_shares_a_namespace_shares_its_label() {
        let label = "u:r:t:s0:c1,c2";
        let shared = |pid, ipc, with_host| options_of(Sharing { with_host, pid, ipc });
        assert_eq!(shared(None, None, false).unwrap(), Vec::<String>::new());
        assert_eq!(shared(Some(label), None, true).unwrap(), ["disable"]);
        let expected = ["user:u", "role:r", "type:t", "level:s0:c1,c2"];
        for (pid, ipc) in [(Some(label), None), (None, Some(label)), (Some(label), Some(label))] {
            assert_eq!(shared(pid, ipc, false).unwrap(), expected);
        }
        let error = shared(Some(label), Some("u:r:t:s0"), false).unwrap_err();
        assert_eq!(error.message(), "--ipc and --pid containers SELinux labels aren't the same");
    }

    #[test]
    fn a_binds_source_gets_the_containers_label_or_the_shared_one() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        assert_eq!(relabel("/data", label, false).unwrap().as_deref(), Some(label));
        assert_eq!(
            relabel("/data", label, true).unwrap().as_deref(),
            Some("system_u:object_r:container_file_t:s0")
        );
        assert_eq!(relabel("/data", "", false).unwrap(), None);
        for path in ["/", "/usr", "/etc/"] {
            let error = relabel(path, label, false).unwrap_err();
            assert_eq!(error.message(), format!("SELinux relabeling of {path} is not allowed"));
        }
    }
}
