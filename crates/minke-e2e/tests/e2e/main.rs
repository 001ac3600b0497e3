//! End-to-end tests, a file per group of commands. One program, so that a virtual machine is booted once for all of it.
//!
//! `v2` has what needs cgroup v2 and nothing else; `powercut` boots the virtual machine itself.

mod at_once;
mod attach;
mod debian;
mod differential;
mod errors;
mod events;
mod exec;
mod files;
mod health;
mod host;
mod hostile;
mod hostile_images;
mod images;
mod inspect;
mod kill9;
mod lifecycle;
mod limits;
mod logs;
mod metrics;
mod mixed;
mod mounts;
mod namespaces;
mod oci;
mod oci_engines;
mod pause;
mod places;
mod powercut;
mod prune;
mod requests;
mod robust;
mod run;
mod same_words;
mod security;
mod soak;
mod stats;
mod streams;
mod tls;
mod volumes;
mod websocket;
mod wishes;
