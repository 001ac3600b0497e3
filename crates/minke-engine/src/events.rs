//! What happened, for `events`: a ring of the latest messages and a channel to those who listen.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::broadcast;

/// How many past events `--since` can show.
const RING: usize = 512;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `volume`, `network`, `daemon`.
    pub kind: &'static str,
    /// What happened.
    pub action: String,
    /// The id of what it happened to.
    pub id: String,
    /// Facts about it.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// What a listener wants.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// From when, for those in the ring.
    pub since: Option<Timestamp>,
    /// Until when; past this the listening ends.
    pub until: Option<Timestamp>,
    /// Docker's filters by key.
    pub filters: HashMap<String, Vec<String>>,
}

/// An event that is kept: a few hundred bytes in one piece, as most are never asked for.
#[derive(Debug)]
struct Past {
    kind: &'static str,
    time: Timestamp,
    /// Action, id and attributes.
    packed: Box<[u8]>,
}

impl Past {
    fn of(event: &Event) -> Self {
        let packed = postcard::to_allocvec(&(&event.action, &event.id, &event.attributes));
        let packed = packed.expect("text has a form in bytes").into();
        Self { kind: event.kind, time: event.time, packed }
    }

    fn event(&self) -> Event {
        let (action, id, attributes) = postcard::from_bytes(&self.packed).expect("it was written by of");
        Event { kind: self.kind, action, id, attributes, time: self.time }
    }
}

/// All events of an engine.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<VecDeque<Past>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), sender: broadcast::channel(RING).0 }
    }
}

impl Events {
    /// Records an event that happens now and tells the listeners.
    pub fn emit(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let mut ring = self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let event =
            Event { kind, action: action.into(), id: id.to_owned(), attributes, time: Timestamp::now() };
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(Past::of(&event));
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(Arc::new(event));
        }
    }

    /// The past events that `filter` wants and a receiver of all later ones; none is missed or seen twice between them.
    pub fn subscribe(&self, filter: &EventFilter) -> (Vec<Event>, broadcast::Receiver<Arc<Event>>) {
        let ring = self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let past = match (filter.since, filter.until) {
            (None, None) => Vec::new(),
            _ => ring.iter().map(Past::event).filter(|event| filter.wants(event)).collect(),
        };
        (past, self.sender.subscribe())
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}

impl EventFilter {
    /// Whether the listener wants `event`.
    pub fn wants(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
            && self.filters.iter().all(|(key, values)| values.is_empty() || matches(key, values, event))
    }
}

/// Whether `event` passes one of Docker's filters: any of `values` is enough, but all labels are wanted.
fn matches(key: &str, values: &[String], event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    match key {
        "event" => values.iter().any(|value| {
            event.action == *value || event.action.split_once(':').is_some_and(|(action, _)| action == value)
        }),
        "type" => values.iter().any(|value| value == event.kind),
        "label" => values.iter().all(|value| match value.split_once('=') {
            Some((name, wanted)) => attribute(name) == Some(wanted),
            None => event.attributes.contains_key(value),
        }),
        "image" => values.iter().any(|value| {
            let name = if event.kind == "image" { attribute("name") } else { attribute("image") };
            name.is_some_and(|name| name == value || without_tag(name) == value)
                || (event.kind == "image" && event.id == *value)
        }),
        "scope" => values.iter().any(|value| value == "local"),
        "container" | "volume" | "network" | "daemon" | "plugin" => values.iter().any(|value| {
            (event.kind == key
                && (event.id.starts_with(value.as_str())
                    || attribute("name").is_some_and(|name| name.starts_with(value.as_str()))))
                || (event.kind != key && attribute(key).is_some_and(|id| id.starts_with(value.as_str())))
        }),
        _ => false,
    }
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            kind: "container",
            action: "exec_create: sh -c x".into(),
            id: "0123456789ab".into(),
            attributes: [("name", "web"), ("image", "busybox:latest"), ("tier", "front")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            time: Timestamp::from_second(100).unwrap(),
        }
    }

    #[test]
    fn filters_choose_as_docker_does() {
        for (key, value, expected) in [
            ("event", "exec_create", true),
            ("event", "die", false),
            ("type", "container", true),
            ("type", "image", false),
            ("container", "web", true),
            ("container", "0123", true),
            ("container", "we", true),
            ("container", "other", false),
            ("image", "busybox", true),
            ("image", "busybox:latest", true),
            ("image", "alpine", false),
            ("label", "tier", true),
            ("label", "tier=front", true),
            ("label", "tier=back", false),
        ] {
            let filters = [(key.to_owned(), vec![value.to_owned()])].into();
            let filter = EventFilter { filters, ..EventFilter::default() };
            assert_eq!(filter.wants(&event()), expected, "{key}={value}");
        }
    }

    #[test]
    fn the_past_is_shown_only_when_asked_for() {
        let events = Events::default();
        events.emit("container", "start", "a", BTreeMap::new());
        assert!(events.subscribe(&EventFilter::default()).0.is_empty());
        let since = EventFilter { since: Some(Timestamp::UNIX_EPOCH), ..EventFilter::default() };
        assert_eq!(events.subscribe(&since).0.len(), 1);
    }
}
