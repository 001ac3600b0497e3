//! Questions of containers and their answers.

mod exchange;
mod forward;
mod query;
mod serve;
#[cfg(test)]
mod tests;

pub use serve::{Names, Room, serve};
