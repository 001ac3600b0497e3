//! `--systemd-cgroup`: the container is in a unit, which systemd makes, with the limits that the groups' files get besides.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use minke_spec::devices::parse_rules;
use minke_systemd::{Property, Scope, SetError};
use oci_spec::runtime::{LinuxResources, Spec};

use super::{Failure, failed};

/// The only argument of a process that [`Held`] has started.
const HOLD_WORD: &str = "hold-unit";
/// What units begin with whose configuration names nothing.
const PREFIX: &str = "runc";
/// Annotations that are properties.
const ANNOTATION: &str = "org.systemd.property.";

/// A unit by the three parts of `cgroupsPath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its slice.
    pub slice: String,
    /// Its name.
    pub name: String,
}

impl Unit {
    /// Where its group is, from the mount point.
    pub fn path(&self) -> Result<String, Failure> {
        Ok(format!("{}/{}", minke_systemd::slice_path(&self.slice)?, self.name))
    }
}

/// Whether there is a systemd to ask, and groups that it makes as we need them.
pub fn check(v2: bool) -> Result<(), Failure> {
    if !minke_systemd::is_running() {
        return Err(Failure::new(minke_systemd::NOT_RUNNING));
    }
    if !v2 {
        return Err(Failure::new(
            "systemd cgroups need cgroup v2 alone: leave --systemd-cgroup out on this host",
        ));
    }
    Ok(())
}

/// Reads `slice:prefix:name`; nothing at all is a unit named after the container.
pub fn parse(path: &str, id: &str) -> Result<Unit, Failure> {
    let parts: Vec<&str> = if path.is_empty() { vec!["", PREFIX, id] } else { path.split(':').collect() };
    let [slice, prefix, name] = parts.as_slice() else {
        return Err(Failure::new(format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
        )));
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    minke_systemd::slice_path(slice)?;
    let name = match (prefix.is_empty(), name.ends_with(".scope")) {
        (_, true) => (*name).to_owned(),
        (true, _) => format!("{name}.scope"),
        (false, _) => format!("{prefix}-{name}.scope"),
    };
    if name.contains('/') || name.len() > 255 {
        return Err(Failure::new(format!("invalid unit name: {name}")));
    }
    Ok(Unit { slice: slice.to_owned(), name })
}

/// A process in the unit until the container is there: a unit can't be without one.
pub struct Held {
    process: Child,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Killed, since the container's init has a copy of its input until it executes its program.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes the unit, with the limits and rules of the configuration and what its annotations ask for.
pub fn start(unit: &Unit, id: &str, spec: &Spec) -> Result<Held, Failure> {
    let process = Command::new("/proc/self/exe")
        .arg0("runc")
        .arg(HOLD_WORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("starting what holds the container's unit"))?;
    let held = Held { process };
    let pid = i32::try_from(held.process.id()).unwrap_or_default();
    let description = format!("minke oci container {id}");
    let properties = properties(spec)?;
    minke_systemd::start(&Scope {
        name: &unit.name,
        slice: &unit.slice,
        description: &description,
        pid,
        properties,
    })?;
    Ok(held)
}

/// Whether this process was started by [`start`]; it then waits for the end of that.
pub fn hold(arguments: &[OsString]) -> bool {
    if !matches!(arguments, [word] if word == HOLD_WORD) {
        return false;
    }
    let _ = std::io::stdin().read(&mut [0]);
    true
}

fn properties(spec: &Spec) -> Result<Vec<Property>, Failure> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let rules = parse_rules(resources.devices().as_deref().unwrap_or_default())?;
    let mut found = minke_systemd::container_properties(&resources, &rules)?;
    for (key, text) in spec.annotations().iter().flatten() {
        if let Some(name) = key.strip_prefix(ANNOTATION) {
            let value = minke_systemd::Value::parse(text)
                .ok_or_else(|| Failure::new(format!("annotation {key}={text} value parse error")))?;
            found.push((name.to_owned(), value));
        }
    }
    Ok(found)
}

/// Ends the unit. systemd does so by itself when it sees the group empty, which it never does where the group was removed
/// before: so this comes first.
pub fn end(unit: &str) -> Result<(), Failure> {
    if unit.is_empty() { Ok(()) } else { Ok(minke_systemd::stop(unit)?) }
}

/// Gives the unit other limits, so that systemd writes the same ones as we do.
pub fn change(unit: &str, limits: &LinuxResources) -> Result<(), Failure> {
    match minke_systemd::set_properties(unit, &minke_systemd::limit_properties(limits)?) {
        Ok(()) | Err(SetError::NoUnit) => Ok(()),
        Err(SetError::Refused(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(given: &str) -> String {
        parse(given, "c1").and_then(|unit| unit.path()).unwrap_or_else(|failure| failure.to_string())
    }

    #[test]
    fn a_unit_is_where_systemd_has_it() {
        assert_eq!(path("a-b.slice:x:1"), "/a.slice/a-b.slice/x-1.scope");
        assert_eq!(path("::y"), "/system.slice/y.scope");
        assert_eq!(path(""), "/system.slice/runc-c1.scope");
        assert_eq!(path("user.slice::z.scope"), "/user.slice/z.scope");
    }

    #[test]
    fn what_names_no_unit_is_refused_in_words_that_users_know() {
        assert_eq!(
            path("/a/b"),
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead"
        );
        assert_eq!(path("a--b.slice:x:1"), "invalid slice name: a--b.slice");
        assert_eq!(path("::a/b"), "invalid unit name: a/b.scope");
    }
}
