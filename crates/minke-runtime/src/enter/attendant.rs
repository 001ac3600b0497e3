//! What else happens on a process's way to its program, beside its plan. The shim's own starts have none of it ([`Alone`]); an
//! OCI bundle may ask for hooks, descriptors that are passed on, and more.

use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::ProcessPlan;

use crate::failure::Result;

/// Called by the child at the named places; every method does nothing unless it is written otherwise.
pub trait Attendant {
    /// Where the root file system is attached until it becomes `/`: a name for it in the container's mount namespace.
    fn root_path(&self) -> Option<&str> {
        None
    }

    /// Whether the caller is told ([`super::Report::Created`]) when the namespaces and mounts are there, and waited for.
    fn asks_caller(&self) -> bool {
        false
    }

    /// The mounts are there, the root is not `/` yet.
    fn before_root(&self) -> Result<()> {
        Ok(())
    }

    /// Variables that the environment gets behind its own; called inside the root, still with all privileges.
    fn variables(&self, _process: &ProcessPlan) -> Vec<String> {
        Vec::new()
    }

    /// Everything is set up and the start was waited for.
    fn before_program(&self) -> Result<()> {
        Ok(())
    }

    /// How many of the caller's descriptors from 3 on the program gets.
    fn preserved(&self) -> u32 {
        0
    }
}

/// Nothing beside the plan.
pub struct Alone;

impl Attendant for Alone {}
