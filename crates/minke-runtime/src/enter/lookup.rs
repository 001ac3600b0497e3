//! Finding the program inside the root, with the words in which Docker reports what isn't there.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;

use minke_spec::plan::ProcessPlan;
use minke_spec::shim::{ErrorCode, ShimError};
use minke_sys::text::{Strings, text_of};
use minke_sys::{Errno, process as kernel};
use rustix::fs::{Access, AtFlags, CWD, FileType};

use crate::failure::{self, Result, words};

/// A program that was found, with everything that its execution needs.
pub(super) struct Program {
    path: CString,
    arguments: Strings,
    environment: Strings,
}

impl Program {
    /// Looks the program up as the process's user, in `PATH` of its environment unless the name has a slash.
    /// `variables` come behind those of its environment.
    pub fn find(process: &ProcessPlan, variables: &[String]) -> Result<Self> {
        let name = process.args.first().map_or("", String::as_str);
        let path = if name.contains('/') { find_named(name)? } else { find_in_path(name, process)? };
        let strings = |texts: &[String]| Strings::new(texts).map_err(failure::setup("exec"));
        let environment = if variables.is_empty() {
            strings(&process.env)
        } else {
            strings(&[&process.env, variables].concat())
        };
        Ok(Self {
            path: text_of(&path).map_err(failure::setup("exec"))?,
            arguments: strings(&process.args)?,
            environment: environment?,
        })
    }

    /// Replaces the process. A program that the kernel then refuses has started as far as Docker is concerned: the container says
    /// so on its standard error and ends with 255.
    pub fn execute(&self) -> ! {
        let errno = kernel::execute(&self.path, &self.arguments, &self.environment);
        let line = format!("exec {}: {}\n", self.path.to_string_lossy(), words(errno));
        let _ = minke_sys::descriptor::write(minke_sys::descriptor::standard(2), line.as_bytes());
        kernel::exit(255)
    }
}

fn find_named(name: &str) -> Result<String> {
    match check(name) {
        Ok(()) => Ok(name.into()),
        Err(Errno::ACCESS) => Err(refused(format!("exec: {name:?}: permission denied"), Errno::ACCESS)),
        Err(Errno::ISDIR) => Err(refused(format!("exec: {name:?}: is a directory"), Errno::ISDIR)),
        Err(errno) => Err(ShimError {
            code: ErrorCode::ProgramNotFound,
            errno: errno.raw_os_error(),
            message: format!("exec: {name:?}: stat {name}: {}", words(errno)),
        }),
    }
}

fn refused(message: String, errno: Errno) -> ShimError {
    ShimError { code: ErrorCode::ProgramNotExecutable, errno: errno.raw_os_error(), message }
}

fn find_in_path(name: &str, process: &ProcessPlan) -> Result<String> {
    let path = super::variable(&process.env, "PATH").unwrap_or("");
    if !name.is_empty() {
        for directory in path.split(':') {
            let candidate = format!("{}/{name}", if directory.is_empty() { "." } else { directory });
            if check(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    Err(ShimError {
        code: ErrorCode::ProgramNotFound,
        errno: Errno::NOENT.raw_os_error(),
        message: format!("exec: {name:?}: executable file not found in $PATH"),
    })
}

/// Whether the calling process may execute a file.
fn check(path: &str) -> minke_sys::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // A filter of the container's may forbid the question; then the mode must do.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        result => result,
    }
}
