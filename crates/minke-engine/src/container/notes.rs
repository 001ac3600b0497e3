//! Notes below the exec root of what is being done to a container: what a client has asked for ([`super::wish`]), the settings of an
//! update ([`super::update`]). The next engine acts on them if this one is killed, so a note is whole or not there.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Writes a note; its folder is made if it isn't there.
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::write(&new, text) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir(path.parent().unwrap_or(path))?;
            std::fs::write(&new, text)?;
        }
        result => result?,
    }
    std::fs::rename(&new, path)
}
