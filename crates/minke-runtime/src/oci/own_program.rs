//! This process's own program file, kept out of the container's reach.
//!
//! The container's init is a copy of this process until it executes its program, and a container can make that program this file once more
//! (`/proc/self/exe`, also as an interpreter). Whoever has it open then could write to the host's file as soon as nobody runs it
//! (CVE-2019-5736). So this process runs from the same file seen through a read-only mount that is attached nowhere and that nobody can make
//! writable, or from a sealed copy where such a mount can't be made.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use minke_sys::descriptor::magic_path;
use minke_sys::mount::{self, Change, Extent};
use minke_sys::spawn::{Image, Keeping};
use minke_sys::{AsFd, OwnedFd};

use super::{Failure, failed};

const OWN: &str = "/proc/self/exe";

/// Executes this program anew with the same arguments from where nobody can write to it, unless that has been done.
///
/// To be called before anything is open or changed: all begins again.
pub fn protect() -> Result<(), Failure> {
    let words = || failed("protecting this program's file");
    let link = std::fs::read_link(OWN).map_err(words())?;
    if is_out_of_reach(&link) {
        // The number of a descriptor is no name.
        minke_sys::process::set_name(c"minke");
        return Ok(());
    }
    let error = match read_only_view() {
        Ok(view) => execute(&view),
        Err(_) => {
            let bytes = std::fs::read(OWN).map_err(words())?;
            execute(Image::kept(&bytes, Path::new("/"), Keeping::Memory).map_err(words())?.as_fd())
        }
    };
    Err(words()(error))
}

/// The root of a mount that is attached nowhere is shown as `/`, which no attached program can be called.
fn is_out_of_reach(link: &Path) -> bool {
    link == Path::new("/") || link.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")
}

fn read_only_view() -> minke_sys::Result<OwnedFd> {
    let view = mount::copy_path(OWN, Extent::One)?;
    let set = mount::ATTR_RDONLY | mount::ATTR_NOSUID | mount::ATTR_NODEV;
    mount::change(&view, Change { set, propagation: mount::PRIVATE, ..Change::default() })?;
    Ok(view)
}

/// Returns only on failure.
fn execute(program: impl AsFd) -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let name = name.as_deref().unwrap_or(OsStr::new("minke"));
    Command::new(magic_path(program)).arg0(name).args(arguments).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_attached_nowhere_is_out_of_reach() {
        for (link, expected) in [
            ("/", true),
            ("/memfd:minke-shim (deleted)", true),
            ("/usr/bin/minke", false),
            ("/usr/bin/minke (deleted)", false),
        ] {
            assert_eq!(is_out_of_reach(Path::new(link)), expected, "{link}");
        }
    }
}
