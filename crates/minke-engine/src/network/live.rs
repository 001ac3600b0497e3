//! What a run of a container has of networks: in memory while it runs, and in a file beside its socket, so that an engine that
//! comes after a crash knows it. The file is on a tmpfs; nothing waits for a disk.

use std::collections::BTreeMap;
use std::path::Path;

use minke_model::{Context as _, Result};
use minke_network::Endpoint;
use serde::{Deserialize, Serialize};

/// The networks of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The run.
    pub generation: u64,
    /// What inspect calls the sandbox, 64 hexadecimal digits.
    pub sandbox: String,
    /// By the network's name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The namespace is the host's.
    #[serde(default)]
    pub shared: bool,
    /// Under which name it holds ports of the host.
    #[serde(default)]
    pub holder: String,
}

impl Live {
    /// Reads what the last run of a container left.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).context("the endpoints can't be written")?;
        let partial = path.with_extension("new");
        let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
        written.with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_engine_wrote_is_read() {
        let text = r#"{"generation":1,"sandbox":"s","endpoints":{"bridge":{"id":"e","network":"n","container":"c",
            "interface":"eth0","mac":"02:42:ac:11:00:02","ipv4":"172.17.0.2/16","gateway4":"172.17.0.1"}}}"#;
        let read: Live = serde_json::from_str(text).unwrap();
        assert_eq!(read.endpoints["bridge"].addresses().count(), 1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks");
        read.write(&path).unwrap();
        assert_eq!(Live::read(&path), Some(read));
    }
}
