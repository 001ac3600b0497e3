//! What a container's probes say of it. Pure: the settings with Docker's defaults, and a state that each probe's outcome changes
//! as moby does. Who runs the probes is `probe`, when is the owner's.
//!
//! ```text
//!            a probe succeeds               `retries` failures in a row
//!  Starting -----------------> Healthy <---------------------------------> Unhealthy
//!     '---- `retries` failures after the start period -------------------------^     also when the probing ends
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use minke_api::container::{ContainerConfig, HealthConfig, HealthResult};
use minke_model::image::Healthcheck;
use minke_model::{Error, Result};
use serde::{Deserialize, Serialize};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// How many outcomes are kept.
const LOG: usize = 5;
/// The least length of time in a request, nanoseconds.
const LEAST_NS: i64 = 1_000_000;

/// How a container is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long a probe may take.
    pub timeout: Duration,
    interval: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

/// What the probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// None has succeeded, and it isn't yet time to give up.
    #[default]
    Starting,
    /// The last one succeeded, or too few in a row have failed.
    Healthy,
    /// Enough in a row have failed, or nobody looks any more.
    Unhealthy,
}

/// One probe's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit code, -1 for one that could not be started or took too long; 0 is healthy.
    pub exit_code: i32,
    /// What it wrote, cut.
    pub output: String,
}

/// A container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What the probes say.
    pub status: Status,
    /// How many in a row have failed.
    pub failing_streak: u32,
    /// The last outcomes, the oldest first.
    pub log: VecDeque<Outcome>,
}

impl Status {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// What stands in the list's status.
    pub fn remark(self) -> &'static str {
        match self {
            Self::Starting => "health: starting",
            other => other.word(),
        }
    }
}

impl Settings {
    /// The settings of a container, if it is probed at all.
    pub fn of(config: &ContainerConfig) -> Option<Self> {
        let probe = config.healthcheck.as_ref()?;
        let (kind, words) = probe.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let mut command =
                    config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default);
                command.extend_from_slice(words);
                command
            }
            _ => return None,
        };
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => default,
            Ok(length) => Duration::from_nanos(length),
        };
        let retries = u32::try_from(probe.retries).unwrap_or(0);
        (!command.is_empty()).then(|| Self {
            command,
            timeout: or(probe.timeout, TIMEOUT),
            interval: or(probe.interval, INTERVAL),
            start_period: or(probe.start_period, Duration::ZERO),
            start_interval: or(probe.start_interval, START_INTERVAL),
            retries: if retries == 0 { RETRIES } else { retries },
        })
    }

    /// How long the next probe is waited for at `now`, for a container that started at `started`.
    pub fn pause(&self, status: Status, started: Timestamp, now: Timestamp) -> Duration {
        if status == Status::Starting && self.in_start_period(started, now) {
            self.start_interval
        } else {
            self.interval
        }
    }

    fn in_start_period(&self, started: Timestamp, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(started)).unwrap_or(Duration::ZERO) < self.start_period
    }
}

impl Health {
    /// A run begins.
    pub fn begin(&mut self) {
        self.status = Status::Starting;
        self.failing_streak = 0;
    }

    /// Nobody probes any more: Docker calls that unhealthy.
    pub fn end(&mut self) {
        self.status = Status::Unhealthy;
    }

    /// Takes an outcome in; the container's run began at `started`.
    pub fn learn(&mut self, outcome: Outcome, settings: &Settings, started: Timestamp) {
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if self.status != Status::Starting || !settings.in_start_period(started, outcome.start) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= settings.retries {
                self.status = Status::Unhealthy;
            }
        }
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(outcome);
    }

    /// As inspect shows it.
    pub fn shown(&self) -> minke_api::container::Health {
        let result = |outcome: &Outcome| HealthResult {
            start: outcome.start.into(),
            end: outcome.end.into(),
            exit_code: outcome.exit_code.into(),
            output: outcome.output.clone(),
        };
        minke_api::container::Health {
            status: self.status.word().into(),
            failing_streak: self.failing_streak.into(),
            log: Some(self.log.iter().map(result).collect()),
        }
    }
}

/// Joins a request's probe with the image's; `shell` gets the image's for a probe that needs one.
pub fn merge(config: &mut ContainerConfig, image: &minke_model::image::ContainerConfig) {
    if let Some(theirs) = &image.healthcheck {
        let theirs = from_image(theirs.clone());
        match &mut config.healthcheck {
            None => config.healthcheck = Some(theirs),
            Some(own) => {
                if own.test.is_empty() {
                    own.test = theirs.test;
                }
                for (own, theirs) in [
                    (&mut own.interval, theirs.interval),
                    (&mut own.timeout, theirs.timeout),
                    (&mut own.start_period, theirs.start_period),
                    (&mut own.start_interval, theirs.start_interval),
                    (&mut own.retries, theirs.retries),
                ] {
                    if *own == 0 {
                        *own = theirs;
                    }
                }
            }
        }
    }
    let by_shell = config
        .healthcheck
        .as_ref()
        .is_some_and(|probe| probe.test.first().is_some_and(|kind| kind == "CMD-SHELL"));
    if by_shell && config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
}

/// An image's probe in the terms of the API.
pub fn from_image(probe: Healthcheck) -> HealthConfig {
    HealthConfig {
        test: probe.test,
        interval: probe.interval,
        timeout: probe.timeout,
        start_period: probe.start_period,
        start_interval: probe.start_interval,
        retries: probe.retries,
    }
}

/// Checks the probe of a request.
///
/// # Errors
/// Docker's words for a length of time or a number out of its range.
pub fn check(config: &ContainerConfig) -> Result<()> {
    let Some(probe) = &config.healthcheck else { return Ok(()) };
    for (name, length) in [
        ("Interval", probe.interval),
        ("Timeout", probe.timeout),
        ("StartPeriod", probe.start_period),
        ("StartInterval", probe.start_interval),
    ] {
        if length != 0 && length < LEAST_NS {
            return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if probe.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn settings(probe: HealthConfig) -> Option<Settings> {
        Settings::of(&ContainerConfig { healthcheck: Some(probe), ..ContainerConfig::default() })
    }

    fn probe(test: &[&str]) -> HealthConfig {
        HealthConfig { test: test.iter().map(|word| (*word).to_owned()).collect(), ..HealthConfig::default() }
    }

    fn outcome(second: i64, exit_code: i32) -> Outcome {
        Outcome { start: at(second), end: at(second), exit_code, output: String::new() }
    }

    #[test]
    fn a_probe_has_dockers_defaults() {
        let found = settings(probe(&["CMD-SHELL", "true"])).unwrap();
        assert_eq!(found.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((found.interval, found.timeout, found.retries), (INTERVAL, TIMEOUT, 3));
        assert_eq!(settings(probe(&["CMD", "a", "b"])).unwrap().command, ["a", "b"]);
        for nothing in [&[][..], &["NONE"], &["CMD"], &["OTHER", "x"]] {
            assert_eq!(settings(probe(nothing)), None, "{nothing:?}");
        }
    }

    #[test]
    fn failures_count_after_the_start_period_and_a_success_ends_it() {
        let period = HealthConfig { start_period: 10_000_000_000, retries: 2, ..probe(&["CMD", "x"]) };
        let settings = settings(period).unwrap();
        let mut health = Health::default();
        for second in [1, 9] {
            health.learn(outcome(second, 1), &settings, at(0));
            assert_eq!((health.status, health.failing_streak), (Status::Starting, 0));
        }
        assert_eq!(settings.pause(health.status, at(0), at(9)), START_INTERVAL);
        health.learn(outcome(10, 1), &settings, at(0));
        assert_eq!((health.status, health.failing_streak), (Status::Starting, 1));
        assert_eq!(settings.pause(health.status, at(0), at(10)), INTERVAL);
        health.learn(outcome(11, -1), &settings, at(0));
        assert_eq!((health.status, health.failing_streak), (Status::Unhealthy, 2));
        health.learn(outcome(12, 0), &settings, at(0));
        assert_eq!((health.status, health.failing_streak), (Status::Healthy, 0));
        health.begin();
        health.learn(outcome(1, 0), &settings, at(0));
        health.learn(outcome(2, 1), &settings, at(0));
        assert_eq!((health.status, health.failing_streak), (Status::Healthy, 1), "no longer starting");
        assert_eq!(health.log.len(), LOG);
        assert_eq!(health.log[4], outcome(2, 1));
    }

    #[test]
    fn what_a_request_leaves_out_comes_from_the_image() {
        let image = minke_model::image::ContainerConfig {
            healthcheck: Some(Healthcheck {
                test: vec!["CMD-SHELL".into(), "x".into()],
                interval: 5,
                retries: 7,
                ..Healthcheck::default()
            }),
            shell: Some(vec!["/bin/ash".into(), "-c".into()]),
            ..Default::default()
        };
        let mut config = ContainerConfig {
            healthcheck: Some(HealthConfig { interval: 9, ..HealthConfig::default() }),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image);
        let found = config.healthcheck.as_ref().unwrap();
        assert_eq!((found.interval, found.retries), (9, 7));
        assert_eq!(Settings::of(&config).unwrap().command, ["/bin/ash", "-c", "x"]);
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        let check = |probe| check(&ContainerConfig { healthcheck: Some(probe), ..Default::default() });
        let short = HealthConfig { start_interval: 1, ..HealthConfig::default() };
        let words = check(short).unwrap_err();
        assert_eq!(words.message(), "StartInterval in Healthcheck cannot be less than 1ms");
        let negative = HealthConfig { retries: -1, ..HealthConfig::default() };
        assert_eq!(check(negative).unwrap_err().message(), "Retries in Healthcheck cannot be negative");
        assert!(check(HealthConfig::default()).is_ok());
    }
}
