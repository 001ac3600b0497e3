//! The flags of `run` and `create` about health, and the probe that they amount to.

use clap::Args;
use minke_api::container::HealthConfig;
use minke_model::{Error, Result, duration};

use crate::grammar::parse_int;

/// Flags about health.
#[derive(Args, Clone, Debug, Default)]
pub struct HealthFlags {
    /// Line for a shell in the container that finds out whether it is healthy
    #[arg(long, value_name = "string", default_value = "")]
    health_cmd: String,
    /// Time between two probes
    #[arg(long, value_name = "duration", default_value = "0s", hide_default_value = true, value_parser = parse_duration)]
    health_interval: i64,
    /// Failures in a row that make a container unhealthy
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    health_retries: i64,
    /// Time between two probes while the container starts
    #[arg(long, value_name = "duration", default_value = "0s", hide_default_value = true, value_parser = parse_duration)]
    health_start_interval: i64,
    /// Time to start in which failures don't count
    #[arg(long, value_name = "duration", default_value = "0s", hide_default_value = true, value_parser = parse_duration)]
    health_start_period: i64,
    /// Longest time that a probe may take
    #[arg(long, value_name = "duration", default_value = "0s", hide_default_value = true, value_parser = parse_duration)]
    health_timeout: i64,
    /// Don't probe, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

fn parse_duration(text: &str) -> Result<i64, String> {
    duration::parse_nanos(text).map_err(|error| error.to_string())
}

impl HealthFlags {
    /// The probe that is asked for, if there is a word about it.
    ///
    /// # Errors
    /// Docker's words for flags that contradict each other or are negative.
    pub fn plan(&self) -> Result<Option<HealthConfig>> {
        let numbers = [
            ("interval", self.health_interval),
            ("timeout", self.health_timeout),
            ("retries", self.health_retries),
            ("start-period", self.health_start_period),
            ("start-interval", self.health_start_interval),
        ];
        let given = !self.health_cmd.is_empty() || numbers.iter().any(|(_, number)| *number != 0);
        if self.no_healthcheck {
            return match given {
                true => Err(Error::invalid("--no-healthcheck conflicts with --health-* options")),
                false => Ok(Some(HealthConfig { test: vec!["NONE".into()], ..HealthConfig::default() })),
            };
        }
        if let Some((name, _)) = numbers.iter().find(|(_, number)| *number < 0) {
            return Err(Error::invalid(format!("--health-{name} cannot be negative")));
        }
        let test = match self.health_cmd.as_str() {
            "" => Vec::new(),
            line => vec!["CMD-SHELL".into(), line.into()],
        };
        Ok(given.then_some(HealthConfig {
            test,
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
            retries: self.health_retries,
        }))
    }
}
