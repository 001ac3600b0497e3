//! Both ends of the OCI distribution protocol, 1.1: the client that pulls and pushes ([`client`]), and the registry (`server`,
//! behind the feature of that name), which is also what the client is tested against; `testing` makes it misbehave.
//! Must never know the engine, nor what the content of a blob means.

pub mod client;
mod hash;
#[cfg(any(test, feature = "server"))]
mod query;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
