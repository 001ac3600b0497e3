//! Networks: which ones there are, which addresses they give, how their ports and names are reached. What is decided here is
//! a value; what changes the kernel takes such a value and has no opinion. Knows nothing of a container but its endpoints.

pub mod endpoint;
pub mod engine;
pub mod firewall;
pub mod ipam;
pub mod link;
pub mod names;
pub mod netd;
pub mod network;
pub mod nft;
pub mod options;
pub mod ports;

pub use endpoint::Endpoint;
pub use engine::Names;
pub use link::Mac;
pub use network::{Driver, Network, Subnet, Surroundings, plan_network};
