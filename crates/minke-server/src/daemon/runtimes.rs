//! The settings of other OCI runtimes: `--add-runtime`, `--default-runtime` and `runtimes` in the file.

use std::collections::BTreeMap;

use clap::Args;
use minke_engine::{OWN_RUNTIMES, RuntimeSettings};
use minke_model::{Error, Result};
use serde::Deserialize;

/// The type of runtime whose program an option names.
const RUNC_TYPE: &str = "io.containerd.runc.v2";

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct RuntimeFlags {
    /// Another OCI runtime that containers may ask for, `NAME=PATH`; may be given several times.
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    pub add_runtimes: Vec<String>,
    /// The runtime of containers that choose none.
    #[arg(long, value_name = "NAME")]
    pub default_runtime: Option<String>,
}

impl RuntimeFlags {
    /// Whether a flag says what the file's `key` says; runtimes of both are joined.
    pub fn gives(&self, key: &str) -> bool {
        key == "default-runtime" && self.default_runtime.is_some()
    }
}

/// The keys of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RuntimeFile {
    runtimes: BTreeMap<String, FileRuntime>,
    default_runtime: Option<String>,
}

/// A runtime as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileRuntime {
    path: String,
    runtime_args: Vec<String>,
    runtime_type: String,
    options: FileOptions,
}

/// The options of the one type that is a program with OCI's commands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileOptions {
    binary_name: String,
}

/// What both together mean.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// The others, by their names.
    pub others: BTreeMap<String, RuntimeSettings>,
    /// That of containers that choose none.
    pub default: String,
}

/// Joins what flags and file say.
///
/// # Errors
/// A name that is minke's own or given twice, a runtime without a program, a default that isn't there.
pub fn join(flags: &RuntimeFlags, file: &RuntimeFile) -> Result<Runtimes> {
    let mut others = BTreeMap::new();
    for (name, runtime) in &file.runtimes {
        others.insert(name.clone(), runtime.settings(name)?);
    }
    for text in &flags.add_runtimes {
        let (name, path) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("invalid runtime specification {text:?}: it must be name=path"))
        })?;
        let settings = RuntimeSettings { path: path.trim().to_owned(), ..RuntimeSettings::default() };
        if others.insert(name.trim().to_owned(), settings).is_some() {
            return Err(Error::invalid(format!("runtime {name:?} is given twice")));
        }
    }
    for (name, runtime) in &others {
        if OWN_RUNTIMES.contains(&name.as_str()) {
            return Err(Error::invalid(format!("runtime name '{name}' is reserved")));
        }
        if name.is_empty() || runtime.path.is_empty() {
            return Err(Error::invalid(format!("runtime {name:?} needs a name and a path")));
        }
    }
    let chosen = flags.default_runtime.as_ref().or(file.default_runtime.as_ref());
    let default = match chosen.map(String::as_str) {
        None | Some("") => OWN_RUNTIMES[0],
        Some(own) if OWN_RUNTIMES.contains(&own) => own,
        Some(other) if others.contains_key(other) => other,
        Some(other) => {
            return Err(Error::invalid(format!("specified default runtime '{other}' does not exist")));
        }
    };
    Ok(Runtimes { default: default.to_owned(), others })
}

impl FileRuntime {
    fn settings(&self, name: &str) -> Result<RuntimeSettings> {
        let path = match (self.runtime_type.as_str(), self.path.as_str()) {
            ("", path) => path,
            (RUNC_TYPE, "") => &self.options.binary_name,
            (_, "") => {
                return Err(Error::invalid(format!(
                    "runtime {name:?}: only programs with OCI's commands can be runtimes, not {}",
                    self.runtime_type
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "cannot configure both path and runtimeType for runtime '{name}'"
                )));
            }
        };
        Ok(RuntimeSettings { path: path.to_owned(), arguments: self.runtime_args.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(added: &[&str], default: Option<&str>, file: &str) -> Result<Runtimes> {
        let flags = RuntimeFlags {
            add_runtimes: added.iter().map(|text| (*text).to_owned()).collect(),
            default_runtime: default.map(str::to_owned),
        };
        join(&flags, &serde_json::from_str(file).unwrap())
    }

    #[test]
    fn runtimes_of_flags_and_file_are_joined() {
        let file = r#"{"runtimes":{"a":{"path":"/a","runtimeArgs":["--x"]},
            "b":{"runtimeType":"io.containerd.runc.v2","options":{"BinaryName":"/b"}}}}"#;
        let all = read(&["c=/c"], Some("c"), file).unwrap();
        let shown: Vec<_> = all.others.iter().map(|(name, of)| (name.as_str(), of.path.as_str())).collect();
        assert_eq!(shown, [("a", "/a"), ("b", "/b"), ("c", "/c")]);
        assert_eq!(all.others["a"].arguments, ["--x"]);
        assert_eq!(all.default, "c");
        assert_eq!(read(&[], None, "{}").unwrap().default, "minke");
    }

    #[test]
    fn names_that_mean_something_else_are_refused_in_dockers_words() {
        let refused = |added: &[&str], default| read(added, default, "{}").unwrap_err().message().to_owned();
        assert_eq!(refused(&["runc=/x"], None), "runtime name 'runc' is reserved");
        assert_eq!(refused(&[], Some("x")), "specified default runtime 'x' does not exist");
        assert!(refused(&["x"], None).contains("name=path"));
        assert!(read(&[], None, r#"{"runtimes":{"k":{"runtimeType":"io.containerd.kata.v2"}}}"#).is_err());
    }
}
