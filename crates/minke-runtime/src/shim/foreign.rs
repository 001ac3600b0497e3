//! A container whose processes another OCI runtime starts (`--runtime`). The shim stays what it is: their parent. What calls the
//! runtime is a helper, the program of the engine that this shim came with, which reports as a child of ours would
//! (`crate::bundle`):
//!
//! ```text
//!  shim (adopts orphans)              helper, in a mount namespace of its own       runtime
//!    clone, execute --------------->  attaches the root at bundle/rootfs
//!                                     runs create, start ----------------------->   makes the container's process
//!    <- Terminal + fd / Pid / Executing / Failed --
//!    (both end: the process is ours)
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minke_sys::process::{Clone, Cloned};
use minke_sys::procfs::Procfs;
use minke_sys::text::{Strings, text_of};
use minke_sys::{AsFd, OwnedFd, channel, descriptor, process as kernel, signal};
use rustix::fd::AsRawFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;

use super::hooks::PATH;
use crate::enter::{ChildStreams, Launched};
use crate::failure::{self, Result};

/// Who starts a container's processes.
pub struct Foreign {
    program: OwnedFd,
    bundle: String,
    oom_score: Option<i32>,
}

impl Foreign {
    /// The helper with this program; `oom_score` is what processes have that say nothing. From here on orphans come to the shim.
    pub fn new(program: OwnedFd, bundle: String, oom_score: Option<i32>) -> Self {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Self { program, bundle, oom_score }
    }

    /// Starts the helper on its way to a process. `name` is the exec's, `given` what it is to attach.
    pub fn launch(
        &self,
        verb: &str,
        name: &str,
        streams: ChildStreams,
        given: &[OwnedFd],
    ) -> Result<Launched> {
        let (ours, theirs) = channel::pair().map_err(failure::setup("making a socket pair"))?;
        let terminal = match &streams {
            ChildStreams::Terminal(Some((rows, columns))) => format!("{rows}x{columns}"),
            ChildStreams::Terminal(None) => "0x0".to_string(),
            _ => "none".to_string(),
        };
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let given_numbers: Vec<String> = given.iter().map(number).collect();
        let words =
            ["minke".into(), "bundle".into(), verb.into(), self.bundle.clone(), name.into(), terminal];
        let words: Vec<String> = words.into_iter().chain([number(&theirs)]).chain(given_numbers).collect();
        let prepared = || Ok((text_of(&descriptor::magic_path(&self.program))?, Strings::new(&words)?));
        let failed = "starting the runtime's helper";
        let (program, words) = prepared().map_err(failure::setup(failed))?;
        let variables = Strings::new(&[PATH]).map_err(failure::setup(failed))?;
        match kernel::clone(Clone::default()).map_err(failure::setup(failed))? {
            Cloned::Child => {
                let _ = self
                    .prepare(&streams, &theirs, given)
                    .map(|()| kernel::execute(&program, &words, &variables));
                kernel::exit(127)
            }
            Cloned::Parent(..) => Ok(Launched { pid: None, pidfd: None, status: ours }),
        }
    }

    /// In the child: what the helper is to find.
    fn prepare(&self, streams: &ChildStreams, status: &OwnedFd, given: &[OwnedFd]) -> minke_sys::Result<()> {
        if let Some(score) = self.oom_score {
            Procfs::host()?.write("self/oom_score_adj", &score.to_string())?;
        }
        if let ChildStreams::Files(files) = streams {
            for (file, number) in files.iter().zip(0..) {
                descriptor::install_standard(file, number)?;
            }
        }
        for kept in given.iter().chain([status]) {
            rustix::io::fcntl_setfd(kept.as_fd(), FdFlags::empty())?;
        }
        signal::reset()
    }
}

/// The root of a process, with all that is mounted in it.
pub fn root_of(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()
}
