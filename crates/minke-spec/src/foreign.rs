//! What the helper of a container with another OCI runtime (`--runtime`) finds in its bundle beside `config.json`. Written by the
//! engine before a start, and read by the program that came with it, so it may change freely but for what ends a run: a later
//! engine reads that too.

use serde::{Deserialize, Serialize};

/// The file's name in the bundle.
pub const FILE: &str = "runtime.json";

/// How the runtime is called for one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Foreign {
    /// The runtime's program, an absolute path.
    pub program: String,
    /// What stands before each command: the arguments that the engine was told, and where the runtime keeps its state.
    pub arguments: Vec<String>,
    /// The container's id.
    pub container_id: String,
    /// Where the descriptors of the start are attached, below the bundle, in their order; the root file system is the first.
    pub places: Vec<String>,
}
