//! The instructions that `import --change` takes.

use minke_model::image::ContainerConfig;
use minke_model::Result;

/// One instruction, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {}

/// Reads `--change` lines.
pub fn parse_changes(lines: &[String]) -> Result<Vec<Change>> {
    let _ = lines;
    unimplemented!()
}

impl Change {
    /// Applies the instruction to a configuration.
    pub fn apply(&self, config: &mut ContainerConfig) {
        let _ = config;
    }
}
