//! The flags of `run` and `create` about security and namespaces, and what they amount to.

use clap::Args;
use minke_api::container::HostConfig;
use minke_model::{Error, Result};

use super::create::reason;

/// Flags about security and namespaces.
#[derive(Args, Clone, Debug, Default)]
pub struct SecurityFlags {
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "string", default_value = "")]
    cgroupns: String,
    /// IPC namespace: none, private, shareable, host or container:NAME
    #[arg(long, value_name = "string", default_value = "")]
    ipc: String,
    /// Process namespace: host or container:NAME
    #[arg(long, value_name = "string", default_value = "")]
    pid: String,
    /// Security option: seccomp=FILE, no-new-privileges, apparmor=NAME, label=..., systempaths=unconfined
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// User namespace: host
    #[arg(long, value_name = "string", default_value = "")]
    userns: String,
    /// Host name's namespace: host
    #[arg(long, value_name = "string", default_value = "")]
    uts: String,
}

impl SecurityFlags {
    /// Puts what the flags say into a request.
    ///
    /// # Errors
    /// Docker's words for a mode or an option that isn't one, and for a profile that can't be read.
    pub fn plan(&self, host: &mut HostConfig) -> Result<()> {
        let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
        let invalid = |words: &str| Err(Error::invalid(words));
        if !(matches!(self.pid.as_str(), "" | "host") || container(&self.pid)) {
            return invalid("--pid: invalid PID mode");
        }
        if !matches!(self.uts.as_str(), "" | "host") {
            return invalid("--uts: invalid UTS mode");
        }
        if !matches!(self.userns.as_str(), "" | "host") {
            return invalid("--userns: invalid USER mode");
        }
        if !matches!(self.cgroupns.as_str(), "" | "private" | "host") {
            return invalid("--cgroupns: invalid CGROUP mode");
        }
        host.pid_mode.clone_from(&self.pid);
        host.ipc_mode.clone_from(&self.ipc);
        host.uts_mode.clone_from(&self.uts);
        host.userns_mode.clone_from(&self.userns);
        host.cgroupns_mode.clone_from(&self.cgroupns);
        let mut options = Vec::new();
        for option in &self.security_opt {
            match read_option(option)? {
                Some(option) => options.push(option),
                None => {
                    host.masked_paths = Some(Vec::new());
                    host.readonly_paths = Some(Vec::new());
                }
            }
        }
        host.security_opt = (!options.is_empty()).then_some(options);
        Ok(())
    }
}

/// One `--security-opt` as the engine takes it: a filter's profile by its text. Nothing for the system's paths, which are
/// another part of the request.
fn read_option(option: &str) -> Result<Option<String>> {
    let (key, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':').filter(|_| !option.starts_with("no-new-privileges")))
        .unwrap_or((option, ""));
    if value.is_empty() && !key.starts_with("no-new-privileges") {
        return Err(Error::invalid(format!("Invalid --security-opt: {option:?}")));
    }
    if option == "systempaths=unconfined" {
        return Ok(None);
    }
    if key != "seccomp" || matches!(value, "builtin" | "unconfined") {
        return Ok(Some(option.to_owned()));
    }
    let text = std::fs::read(value).map_err(|error| {
        let reason = reason(&error);
        Error::invalid(format!("opening seccomp profile ({value}) failed: open {value}: {reason}"))
    })?;
    let profile: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
        Error::invalid(format!("compacting json for seccomp profile ({value}) failed: {error}"))
    })?;
    Ok(Some(format!("seccomp={profile}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(flags: SecurityFlags) -> Result<HostConfig> {
        let mut host = HostConfig::default();
        flags.plan(&mut host).map(|()| host)
    }

    #[test]
    fn options_are_passed_on_and_files_are_read() {
        let folder = tempfile_path("minke-seccomp.json", "{ \"defaultAction\" : \"SCMP_ACT_ALLOW\" }");
        let security_opt =
            vec!["no-new-privileges".into(), format!("seccomp={folder}"), "systempaths=unconfined".into()];
        let host =
            plan(SecurityFlags { security_opt, pid: "container:x".into(), ..SecurityFlags::default() })
                .unwrap();
        let options = ["no-new-privileges", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"];
        assert_eq!(host.security_opt.unwrap(), options);
        assert_eq!((host.masked_paths, host.readonly_paths), (Some(Vec::new()), Some(Vec::new())));
        assert_eq!(host.pid_mode, "container:x");
        std::fs::remove_file(folder).unwrap();
    }

    fn tempfile_path(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn what_is_not_understood_is_refused_in_docker_s_words() {
        let option = |option: &str| {
            let security_opt = vec![option.to_owned()];
            plan(SecurityFlags { security_opt, ..SecurityFlags::default() }).unwrap_err().message().to_owned()
        };
        assert_eq!(option("nonsense"), "Invalid --security-opt: \"nonsense\"");
        assert_eq!(option("label="), "Invalid --security-opt: \"label=\"");
        let missing = "opening seccomp profile (/nope/x) failed: open /nope/x: no such file or directory";
        assert_eq!(option("seccomp=/nope/x"), missing);
        let flags = SecurityFlags { pid: "nope".into(), ..SecurityFlags::default() };
        assert_eq!(plan(flags).unwrap_err().message(), "--pid: invalid PID mode");
    }
}
