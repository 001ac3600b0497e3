//! Containers: what is kept of them, what they are doing, who owns them.
//!
//! | file | what it decides or does |
//! |---|---|
//! | `service`, `ending`, `pausing`, `exec_service` | the operations of the API |
//! | `point`, `claims`, `mounts` | which mounts a container gets, what it holds of volumes and images, what a run mounts |
//! | `create`, `resources`, `extra_hosts`, `devices`, `cdi`, `log_settings`, `settings`, `etc`, `user` | from a request to settings: pure but for files that are read |
//! | `security`, `namespaces` | what it may do, and what it shares with other containers |
//! | `lifecycle` | the state machine: pure |
//! | `health` | what probes say of a container: pure |
//! | `owner` | the task that owns a container and carries out effects |
//! | `launch`, `teardown`, `shims`, `spare_networks` | the effects: a start, the end of a run, of a container |
//! | `probe` | one probe of a container's health |
//! | `wish` | what was asked for, for an engine that comes after a crash |
//! | `reconcile` | what an engine finds when it starts |
//! | `update` | other limits for a container that may be running |
//! | `stats`, `usage`, `top`, `processes` | what a container uses, and its processes |
//! | `links`, `network_files` | links of the default bridge, and the files that follow a container's networks |
//! | `inspect`, `list`, `rendering` | what is shown: pure |
//! | `attach`, `exec` | clients' streams |
//! | `root`, `files`, `commit` | its files: how they are reached, archives of them, images made of them |

pub mod attach;
mod bundle;
mod cdi;
mod claims;
mod commit;
mod create;
mod devices;
mod ending;
mod etc;
pub mod exec;
mod exec_service;
mod extra_hosts;
mod files;
pub mod foreign;
pub mod handle;
mod health;
mod inspect;
mod launch;
pub mod lifecycle;
pub mod links;
mod list;
mod log_facts;
mod log_settings;
mod marks;
mod mounts;
mod names;
pub mod namespaces;
mod network_files;
mod notes;
pub mod owner;
pub mod paths;
mod pausing;
mod point;
mod probe;
mod processes;
pub mod reconcile;
pub mod record;
pub mod registry;
mod rendering;
mod resources;
pub mod root;
pub mod run;
mod scope;
pub mod security;
mod service;
mod settings;
pub mod shims;
pub mod spare_networks;
pub mod stats;
mod teardown;
mod tell;
mod top;
pub mod turnstile;
mod update;
mod usage;
mod user;
mod wish;

pub use commit::shown_config;
pub use health::from_image as probe_of_image;
pub use network_files::rewrite as rewrite_network_files;
