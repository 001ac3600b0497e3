//! The firewall of an engine: tables of its own, a fixed frame with sets, and the elements of what is wanted. It never touches
//! what isn't its own; what stands in its tables and isn't wanted is removed.

mod chains;
mod connections;
mod firewalld;
pub mod frame;
mod guard;
mod hosts;
mod iptables;
mod keep;
mod legacy;
mod restore;
mod sets;
mod tables;
mod ufw;
mod untouched;
mod wanted;

pub use connections::{Connections, Forget};
pub use guard::{Guard, GuardRule};
pub use keep::Keeper;
pub use tables::{Firewall, Settings};
pub use wanted::{Families, LinkRule, NetworkRules, PublishedRule, Wanted};
