//! A bundle's configuration file: its bytes become the specification's types, its relative host paths absolute ones.
//! Runtime specification: config.md. Never reads the file.

use std::path::{Path, PathBuf};

use minke_model::{Error, Result};
use oci_spec::runtime::Spec;
use serde_json::Value;

/// The longest configuration in bytes.
pub const CONFIG_LIMIT: usize = 16 * 1024 * 1024;

/// Words of the specification that its types spell otherwise: in the file, in the types.
const SPELLINGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// Reads a `config.json`. Unknown words, such as a namespace's kind, are errors; unknown keys aren't.
pub fn parse(text: &[u8]) -> Result<Spec> {
    if text.len() > CONFIG_LIMIT {
        return Err(Error::invalid(format!("the configuration is longer than {CONFIG_LIMIT} bytes")));
    }
    let wrong = |error: serde_json::Error| Error::invalid(format!("invalid configuration: {error}"));
    let mut json: Value = serde_json::from_slice(text).map_err(wrong)?;
    if let Some(Value::Array(flags)) = json.pointer_mut("/process/scheduler/flags") {
        for flag in flags {
            if let Some((_, spelling)) = SPELLINGS.iter().find(|(word, _)| flag == word) {
                *flag = Value::from(*spelling);
            }
        }
    }
    drop_unknown_capabilities(&mut json);
    serde_json::from_value(json).map_err(wrong)
}

/// A capability that nobody here knows counts for nothing, as one that the running kernel doesn't have.
fn drop_unknown_capabilities(json: &mut Value) {
    let Some(Value::Object(sets)) = json.pointer_mut("/process/capabilities") else { return };
    for set in sets.values_mut() {
        if let Value::Array(names) = set {
            names.retain(|name| name.as_str().is_none_or(|name| crate::capabilities::parse(name).is_some()));
        }
    }
}

/// Makes the root and the sources of bind mounts absolute; relative ones are in the bundle's directory.
pub fn make_absolute(spec: &mut Spec, bundle: &Path) {
    let absolute = |path: &Path| -> PathBuf { bundle.join(path) };
    if let Some(root) = spec.root_mut() {
        let path = absolute(root.path());
        root.set_path(path);
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let words = mount.options().as_deref().unwrap_or_default();
        let bind = mount.typ().as_deref() == Some("bind")
            || words.iter().any(|word| word == "bind" || word == "rbind");
        if bind && let Some(source) = mount.source().as_deref().map(absolute) {
            mount.set_source(Some(source));
        }
    }
}

/// The mount options that a configuration may have beside those of the file systems.
pub fn mount_options() -> &'static [&'static str] {
    crate::mounts::OPTION_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_own_spellings_are_read() {
        let text = br#"{"ociVersion": "1.3.0", "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0},
            "scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}},
            "x-unknown": 1, "linux": {}}"#;
        let spec = parse(text).expect("a configuration");
        let scheduler =
            spec.process().as_ref().and_then(|process| process.scheduler().clone()).expect("a policy");
        assert_eq!(scheduler.flags().as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn unknown_words_are_errors_that_name_them() {
        let text = br#"{"ociVersion": "1.0.0", "linux": {"namespaces": [{"type": "planet"}]}}"#;
        let error = parse(text).expect_err("refused").to_string();
        assert!(error.starts_with("invalid configuration: unknown variant `planet`"), "{error}");
        assert!(parse(b"{").is_err());
    }

    #[test]
    fn relative_paths_are_in_the_bundle() {
        let text = br#"{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "mounts": [
            {"destination": "/a", "source": "data", "options": ["rbind"]},
            {"destination": "/b", "source": "/abs", "type": "bind"},
            {"destination": "/c", "source": "proc", "type": "proc"}]}"#;
        let mut spec = parse(text).expect("a configuration");
        make_absolute(&mut spec, Path::new("/bundle"));
        assert_eq!(spec.root().as_ref().map(|root| root.path().clone()), Some("/bundle/rootfs".into()));
        let sources = spec.mounts().iter().flatten().filter_map(|mount| mount.source().clone());
        let sources: Vec<PathBuf> = sources.collect();
        assert_eq!(sources, ["/bundle/data", "/abs", "proc"].map(PathBuf::from));
    }
}
