//! Query strings of the container's endpoints.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::{Error, Result};

use crate::query::number_message;
use crate::{Filters, FromQuery, Query, QueryWriter, ToQuery};

/// The query of `GET /containers/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerListQuery {
    pub all: bool,
    /// The newest so many, running or not; 0 or less is no limit.
    pub limit: i64,
    pub size: bool,
    pub filters: Filters,
}

impl FromQuery for ContainerListQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let mut filters = query.filters()?;
        for key in ["since", "before"] {
            if let Some(value) = query.get(key).filter(|value| !value.is_empty()) {
                filters.add(key, value);
            }
        }
        let limit = query.strict_number("limit")?.unwrap_or(0);
        Ok(Self { all: query.flag("all"), limit, size: query.flag("size"), filters })
    }
}

impl ToQuery for ContainerListQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("all", self.all)
            .number("limit", (self.limit > 0).then_some(self.limit))
            .flag("size", self.size)
            .filters(&self.filters);
    }
}

/// The query of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerCreateQuery {
    pub name: String,
    pub platform: String,
}

impl FromQuery for ContainerCreateQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { name: query.text("name"), platform: query.text("platform") })
    }
}

impl ToQuery for ContainerCreateQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("name", &self.name).text("platform", &self.platform);
    }
}

/// The query of `GET /containers/{id}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInspectQuery {
    pub size: bool,
}

impl FromQuery for ContainerInspectQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { size: query.flag("size") })
    }
}

impl ToQuery for ContainerInspectQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("size", self.size);
    }
}

/// The query of `POST /containers/{id}/start`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStartQuery {
    pub detach_keys: String,
    pub checkpoint: String,
    pub checkpoint_dir: String,
}

impl FromQuery for ContainerStartQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            detach_keys: query.text("detachKeys"),
            checkpoint: query.text("checkpoint"),
            checkpoint_dir: query.text("checkpoint-dir"),
        })
    }
}

impl ToQuery for ContainerStartQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("detachKeys", &self.detach_keys)
            .text("checkpoint", &self.checkpoint)
            .text("checkpoint-dir", &self.checkpoint_dir);
    }
}

/// The query of `POST /containers/{id}/stop` and `/restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStopQuery {
    /// Instead of the container's own stop signal.
    pub signal: String,
    /// Seconds before the kill; -1 waits for ever; none is the container's own.
    pub timeout: Option<i64>,
}

impl FromQuery for ContainerStopQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { signal: query.text("signal"), timeout: query.strict_number("t")? })
    }
}

impl ToQuery for ContainerStopQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("signal", &self.signal).number("t", self.timeout);
    }
}

/// The query of `POST /containers/{id}/kill`; an empty signal is `SIGKILL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillQuery {
    pub signal: String,
}

impl FromQuery for KillQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { signal: query.text("signal") })
    }
}

impl ToQuery for KillQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("signal", &self.signal);
    }
}

/// The query of `POST /containers/{id}/wait`: `not-running` (also the empty string), `next-exit` or `removed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitQuery {
    pub condition: String,
}

impl FromQuery for WaitQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let condition = query.text("condition");
        match condition.as_str() {
            "" | "not-running" | "next-exit" | "removed" => Ok(Self { condition }),
            _ => Err(Error::invalid(format!("invalid condition: {condition:?}"))),
        }
    }
}

impl ToQuery for WaitQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("condition", &self.condition);
    }
}

/// The query of `DELETE /containers/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRemoveQuery {
    /// Also the anonymous volumes.
    pub volumes: bool,
    pub force: bool,
    /// The legacy link, not the container.
    pub link: bool,
}

impl FromQuery for ContainerRemoveQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { volumes: query.flag("v"), force: query.flag("force"), link: query.flag("link") })
    }
}

impl ToQuery for ContainerRemoveQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("v", self.volumes).flag("force", self.force).flag("link", self.link);
    }
}

/// The query of `POST /containers/{id}/rename`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRenameQuery {
    pub name: String,
}

impl FromQuery for ContainerRenameQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { name: query.text("name") })
    }
}

impl ToQuery for ContainerRenameQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("name", &self.name);
    }
}

/// The query of `POST /containers/{id}/resize` and `/exec/{id}/resize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResizeQuery {
    pub height: u32,
    pub width: u32,
}

impl FromQuery for ResizeQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let read = |key, name: &str| {
            let text = query.get(key).unwrap_or_default();
            let number = text.parse::<u32>();
            number.map_err(|_| {
                Error::invalid(format!(
                    "invalid resize {name} {text:?}: {}",
                    number_message(text).replace("Atoi", "ParseUint")
                ))
            })
        };
        Ok(Self { height: read("h", "height")?, width: read("w", "width")? })
    }
}

impl ToQuery for ResizeQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.number("h", Some(self.height.into())).number("w", Some(self.width.into()));
    }
}

/// The query of `GET /containers/{id}/logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsQuery {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Unix seconds with decimals or RFC 3339; empty is none.
    pub since: String,
    pub until: String,
    pub timestamps: bool,
    pub details: bool,
    /// A number of lines, or `all`.
    pub tail: String,
}

impl Default for LogsQuery {
    fn default() -> Self {
        Self {
            follow: false,
            stdout: false,
            stderr: false,
            since: String::new(),
            until: String::new(),
            timestamps: false,
            details: false,
            tail: "all".into(),
        }
    }
}

impl FromQuery for LogsQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
        if !stdout && !stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let tail = query.get("tail").filter(|tail| !tail.is_empty()).unwrap_or("all").to_owned();
        Ok(Self {
            follow: query.flag("follow"),
            stdout,
            stderr,
            since: query.text("since"),
            until: query.text("until"),
            timestamps: query.flag("timestamps"),
            details: query.flag("details"),
            tail,
        })
    }
}

impl ToQuery for LogsQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("follow", self.follow).flag("stdout", self.stdout).flag("stderr", self.stderr);
        out.text("since", &self.since).text("until", &self.until).flag("timestamps", self.timestamps);
        out.flag("details", self.details).text("tail", if self.tail == "all" { "" } else { &self.tail });
    }
}

/// The query of `POST /containers/{id}/attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachQuery {
    pub detach_keys: String,
    /// Replays the log first.
    pub logs: bool,
    pub stream: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl FromQuery for AttachQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            detach_keys: query.text("detachKeys"),
            logs: query.flag("logs"),
            stream: query.flag("stream"),
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
        })
    }
}

impl ToQuery for AttachQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("detachKeys", &self.detach_keys).flag("logs", self.logs).flag("stream", self.stream);
        out.flag("stdin", self.stdin).flag("stdout", self.stdout).flag("stderr", self.stderr);
    }
}
