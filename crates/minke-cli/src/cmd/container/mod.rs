//! Commands about containers.

pub mod attach;
pub mod create;
pub mod exec;
pub mod flags;
pub mod gpus;
pub mod health;
pub mod inspect;
pub mod kill;
pub mod limits;
pub mod logs;
pub mod pause;
pub mod plan;
pub mod ports;
pub mod ps;
pub mod rename;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod usage;
pub mod wait;
