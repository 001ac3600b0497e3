//! Links: the bridge or parent of a network, and the interface of an endpoint. `plan` decides what they are, as values that
//! can be printed; `kernel` makes them so, by netlink.

pub mod address;
mod changes;
mod forwarding;
mod found;
mod host_access;
mod kernel;
mod localhost;
mod message;
mod namespace;
mod plan;
mod settings;
mod waiting;
mod watch;

pub use address::Mac;
pub use changes::Changes;
pub use forwarding::{Forwarding, ForwardingWish};
pub use found::{Found, FoundLink};
pub use kernel::Kernel;
pub(crate) use message::ENGINES;
pub use namespace::Namespace;
pub(crate) use namespace::within;
pub use plan::{
    BridgePlan, EndpointPlan, HostEnd, Interface, LinkPlan, MadeParent, ParentPlan, Port, Route,
    plan_endpoint, plan_link,
};
pub use watch::{Gone, GoneLinks};
