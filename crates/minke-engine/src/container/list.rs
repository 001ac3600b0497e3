//! Which containers `ps` shows: Docker's filters over views. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use minke_api::container::ContainerListQuery;
use minke_api::network::EndpointSettings;
use minke_api::{Filters, StringMap};
use minke_model::{Error, Result};
use regex_lite::Regex;

use super::handle::View;
use crate::network::show;

use super::inspect::{health_word, status_word};

const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "since",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "status",
    "volume",
];
const STATUSES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// What a filter needs to know beyond the views.
pub struct Lookup<'a> {
    /// The id of the image that a name means, if there is one.
    pub image: &'a dyn Fn(&str) -> Option<String>,
    /// When the container that a name means was made.
    pub created: &'a dyn Fn(&str) -> Result<Timestamp>,
}

/// The filters of a query, understood.
struct Chosen<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    filters_nothing: bool,
    exposed: Vec<String>,
    published: Vec<String>,
    exited: Vec<i32>,
    images: Vec<String>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    all: bool,
}

/// The containers that `query` wants, newest first.
///
/// # Errors
/// A filter or one of its values that Docker refuses.
pub fn list<'a>(
    views: &'a [Arc<View>],
    query: &ContainerListQuery,
    lookup: &Lookup<'_>,
) -> Result<Vec<&'a View>> {
    let chosen = Chosen::new(query, lookup)?;
    let mut found: Vec<&View> =
        views.iter().map(|view| &**view).filter(|view| !view.removed && chosen.wants(view)).collect();
    found.sort_unstable_by(|a, b| {
        b.record.created.cmp(&a.record.created).then_with(|| a.record.id.cmp(&b.record.id))
    });
    if query.limit > 0 {
        found.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
    }
    Ok(found)
}

impl<'a> Chosen<'a> {
    fn new(query: &'a ContainerListQuery, lookup: &Lookup<'_>) -> Result<Self> {
        let filters = &query.filters;
        filters.check(&FILTERS)?;
        for status in filters.values("status") {
            if !STATUSES.contains(&status) {
                return Err(Error::invalid(format!(
                    "invalid filter 'status={status}': invalid value for state ({status}): must be one of {}",
                    STATUSES.join(", ")
                )));
            }
        }
        for health in filters.values("health") {
            if !HEALTHS.contains(&health) {
                return Err(Error::invalid(format!(
                    "invalid filter 'health={health}': invalid value for health ({health}): must be one of {}",
                    HEALTHS.join(", ")
                )));
            }
        }
        // One that is no expression matches nothing, as in Docker.
        let names = filters.values("name").filter_map(|name| Regex::new(name).ok()).collect();
        let ports = |key: &str| -> Result<Vec<String>> {
            let found = filters.values(key).map(|value| ports(key, value)).collect::<Result<Vec<_>>>()?;
            Ok(found.concat())
        };
        // Tasks are a swarm's.
        let filters_nothing = filters.boolean("is-task")? == Some(true);
        let exited = filters
            .values("exited")
            .map(|code| code.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'"))))
            .collect::<Result<_>>()?;
        let time = |key: &str| filters.values(key).map(|name| (lookup.created)(name)).next().transpose();
        // Only these show containers that don't run without being asked for all.
        let all = query.all
            || query.limit > 0
            || ["status", "exited", "before", "since"].iter().any(|key| filters.contains(key));
        Ok(Self {
            filters,
            names,
            filters_nothing,
            exposed: ports("expose")?,
            published: ports("publish")?,
            exited,
            images: filters.values("ancestor").map(|name| (lookup.image)(name).unwrap_or_default()).collect(),
            before: time("before")?,
            since: time("since")?,
            all,
        })
    }

    fn wants(&self, view: &View) -> bool {
        let record = &view.record;
        let filters = self.filters;
        let status = status_word(&view.lifecycle.state);
        if !(self.all || view.is_running() || status == "restarting") {
            return false;
        }
        if filters.is_empty() {
            return true;
        }
        let none = StringMap::new();
        let labels = record.config.labels.as_ref().unwrap_or(&none);
        filters.allows("status", status)
            && (!filters.contains("id") || filters.values("id").any(|id| record.id.starts_with(id)))
            && (!filters.contains("name")
                || self
                    .names
                    .iter()
                    .any(|name| name.is_match(&record.name) || name.is_match(&format!("/{}", record.name))))
            && filters.allows_labels("label", labels)
            && (!filters.contains("label!") || !filters.allows_labels("label!", labels))
            && (!filters.contains("exited") || self.has_exit_code(view))
            && (!filters.contains("ancestor") || self.images.contains(&record.image_id))
            && self.before.is_none_or(|time| record.created < time)
            && self.since.is_none_or(|time| record.created > time)
            && (!filters.contains("network")
                || filters.values("network").any(|name| {
                    let id = |settings: &EndpointSettings| {
                        !name.is_empty() && settings.network_id.starts_with(name)
                    };
                    record.networks().iter().any(|(network, settings)| network == name || id(settings))
                }))
            && (!filters.contains("volume") || self.has_mount(view))
            && (!filters.contains("health")
                || filters.values("health").any(|health| health == health_word(view)))
            && (!filters.contains("publish") && !filters.contains("expose") || self.exposes(view))
            && !self.filters_nothing
    }

    fn has_exit_code(&self, view: &View) -> bool {
        !view.is_running() && view.lifecycle.exit().is_some_and(|exit| self.exited.contains(&exit.code))
    }

    fn has_mount(&self, view: &View) -> bool {
        self.filters.values("volume").any(|wanted| {
            view.record
                .mounts
                .iter()
                .any(|mount| mount.destination == wanted || mount.name == wanted || mount.source == wanted)
        })
    }

    /// By Docker's rules: what is published is one of the exposed ports too.
    fn exposes(&self, view: &View) -> bool {
        let ports = show::ports(&view.record, view.live());
        let exposed = &view.record.config.exposed_ports;
        let is_published = |port: &String| ports.get(port).is_some_and(Option::is_some);
        self.published.iter().any(is_published)
            || self.exposed.iter().any(|port| exposed.contains_key(port) || ports.contains_key(port))
    }
}

/// The ports that a value such as `80`, `53/udp` or `8000-8010/tcp` means.
fn ports(key: &str, value: &str) -> Result<Vec<String>> {
    if value.contains(':') {
        return Err(Error::invalid(format!("filter for '{key}' should not contain ':': {value}")));
    }
    let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let failed = |words: String| Error::invalid(format!("error while looking up for {key} {value}: {words}"));
    let number = |text: &str| {
        text.parse::<u16>().map_err(|_| {
            let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let reason = if numeric { "value out of range" } else { "invalid syntax" };
            failed(format!("strconv.ParseUint: parsing {text:?}: {reason}"))
        })
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(failed(format!("Invalid range specified for the Port: {range}")));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_may_be_ranges_of_a_protocol() {
        assert_eq!(ports("expose", "80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("expose", "8-9/udp").unwrap(), ["8/udp", "9/udp"]);
        let words = |value| ports("publish", value).unwrap_err().to_string();
        assert_eq!(
            words("x"),
            "error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            words("70000"),
            "error while looking up for publish 70000: strconv.ParseUint: parsing \"70000\": value out of range"
        );
        assert_eq!(words("80:80"), "filter for 'publish' should not contain ':': 80:80");
        assert!(words("9-8").ends_with("Invalid range specified for the Port: 9-8"));
    }
}
