//! What this crate does to the kernel, in network namespaces that each test makes itself: the host's own is never touched.
//! Needs root, and fails without.

mod firewall;
mod forwarding;
mod guard;
mod links;
mod localhost;
mod parents;
mod place;
