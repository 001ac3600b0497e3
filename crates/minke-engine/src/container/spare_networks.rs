//! Network namespaces that are made ahead: the kernel takes half a millisecond for one, which a start doesn't wait for.
//!
//! A spare one is held by its descriptor alone, so that nothing of it outlives the engine, however that ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use minke_model::{Context as _, Result};
use minke_network::link::Namespace;
use minke_spec::plan::NamespacePlan;
use minke_sys::process::{CLONE_NEWNET, CLONE_NEWUSER};

/// How many are made.
const SPARE: usize = 4;
/// When fewer are left, more are made: several at once, as a thread is started for it.
const FEW: usize = 2;
/// How long after a start new ones are made, so that the started program and its client come first.
const REST: Duration = Duration::from_millis(5);

/// The namespaces that wait for a container.
#[derive(Debug, Default)]
pub struct SpareNetworks {
    waiting: Mutex<Vec<Namespace>>,
    /// Somebody makes some.
    filling: AtomicBool,
}

impl SpareNetworks {
    /// Takes one for a start by this plan, if it makes one that could be anybody's: the namespace of a container with users of its
    /// own belongs to those.
    pub fn take(&self, plan: &NamespacePlan) -> Option<Namespace> {
        fits(plan).then(|| self.waiting().pop()).flatten()
    }

    /// Takes one for a container that needs it before the plan of its start is there; makes it where none waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_now(&self) -> Result<Namespace> {
        if let Some(namespace) = self.waiting().pop() {
            return Ok(namespace);
        }
        // A thread of its own: it is in the new namespace, and nobody else must be.
        let thread = std::thread::Builder::new().name("network".into()).stack_size(128 * 1024);
        let made = thread.spawn(make).context("making a network namespace")?;
        made.join().unwrap_or_else(|_| Err(minke_model::Error::system("making a network namespace failed")))
    }

    /// Makes new ones a little later, if a start by this plan could have used one, or did.
    pub fn refill(self: &Arc<Self>, plan: &NamespacePlan, used: bool) {
        if !(used || fits(plan)) || self.waiting().len() >= FEW || self.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let spare = self.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(REST).await;
            // A thread of its own: it is in the new namespaces, and nobody else must be.
            let filling = spare.clone();
            let thread = std::thread::Builder::new().name("spare-networks".into()).stack_size(64 * 1024);
            if thread.spawn(move || filling.fill()).is_err() {
                spare.filling.store(false, Ordering::Release);
            }
        }));
    }

    fn fill(&self) {
        while self.waiting().len() < SPARE {
            match make() {
                Ok(namespace) => self.waiting().push(namespace),
                Err(error) => {
                    // The start makes its own, or says why it can't.
                    tracing::debug!("no network namespace could be made ahead: {error}");
                    break;
                }
            }
        }
        self.filling.store(false, Ordering::Release);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Namespace>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one, and leaves the calling thread in it.
fn make() -> Result<Namespace> {
    minke_sys::link::enter_new_network()
        .map_err(std::io::Error::from)
        .context("making a network namespace")?;
    Namespace::new_here()
}

fn fits(plan: &NamespacePlan) -> bool {
    let user = u64::from(CLONE_NEWUSER);
    let joins_users = plan.join.iter().any(|(kind, _)| *kind == user);
    plan.new & u64::from(CLONE_NEWNET) != 0 && plan.new & user == 0 && !joins_users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_network_of_the_hosts_users_is_taken_from_the_spare_ones() {
        let (network, user) = (u64::from(CLONE_NEWNET), u64::from(CLONE_NEWUSER));
        let plan = |new, join: &[u64]| NamespacePlan {
            new,
            join: join.iter().map(|kind| (*kind, String::new())).collect(),
            ..NamespacePlan::default()
        };
        assert!(fits(&plan(network, &[])));
        assert!(!fits(&plan(network | user, &[])));
        assert!(!fits(&plan(network, &[user])));
        assert!(!fits(&plan(0, &[network])));
    }
}
